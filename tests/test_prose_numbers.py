"""Measured numbers in prose: each is that of a stored file, or tests/prose_numbers.py names its origin.

A number in a block that a benchmark fills is tested there (tests/bench/test_tables.py and
test_adaptive_tables.py), and one in code is not prose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.bench.adaptive_tables import PAGES as ADAPTIVE
from tests.bench.pages import stored_blocks
from tests.prose_figures import DOCS
from tests.prose_numbers import LEFT, SETTINGS, SOURCED, STATED, Numbers
from tests.test_house import ROOT

PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
PATHS = {page.name: page for page in PAGES}
FILLED = {page.rpartition("/")[2]: set(blocks) for page, blocks in stored_blocks().items()}
FILLED |= {page: FILLED.get(page, set()) | set(blocks) for page, blocks in ADAPTIVE.items()}
NUMBER = r"([+-]?(?:\d[\d,]*)?(?:\.\d+)?)"
UNITS = r"times|tokens/s|tokens a second|expansions/s|[mu]?s|seconds|min|minutes|h|hours"
# Numbers with two decimals or more, thousands, and whatever has a unit.
_MEASURED = re.compile(
    r"(?<![\w.])[+-]?\d{0,2}\.\d\d+(?!\.?\w)"
    r"|(?<![\w,.])\d{1,3}(?:,\d{3})+(?!\w)"
    rf"|(?<![\w,.])\d[\d,.]*(?:\s?%|x\b|\s(?:{UNITS})(?![\w/]))"
)
# The level of an interval, versions, the size of a cluster, and names of papers.
_NOTHING = re.compile(
    r"\b95\s%\s(?:Wilson\s)?intervals?|\(95\s%\)|\b(?:vLLM|torch|Ray|Python)\s\d+\.\d+|\b1,000\sGPUs|\bdoi\s+\S+"
)
_KNOBS = re.compile(r"^- \*\*Knobs\.\*\*.*?(?=^- |^$)", re.DOTALL | re.MULTILINE)


def written(page: Path) -> str:
    """A page without what benchmarks fill, and without the defaults that test_documentation.py holds."""
    text = page.read_text(encoding="utf-8")
    for name in FILLED.get(page.name, ()):
        text = re.sub(rf"<!-- {name} -->\n.*?<!-- /{name} -->", "", text, flags=re.DOTALL)
    return _KNOBS.sub("", text) if page.stem == "strategies" else text


def prose(text: str) -> str:
    """A text without its code."""
    return re.sub(r"^ *```.*?^ *```|`[^`\n]*`|\]\(http\S*\)", "", text, flags=re.DOTALL | re.MULTILINE)


def sections(text: str) -> Iterator[tuple[str, str]]:
    """The heading and the text of each section."""
    for part in re.split(r"^(?=##+ )", text, flags=re.MULTILINE):
        heading, _, body = part.partition("\n")
        yield heading.lstrip("# "), body


def rounding(text: str) -> float:
    """Half a unit of the last digit of a number, with some room for a figure that was rounded before."""
    decimals = len(text.partition(".")[2])
    return 0.51 * 10.0**-decimals


def as_written(words: str) -> str:
    """The pattern of words with {} for a number, however their lines are broken."""
    return re.sub(r"(?:\\ )+", r"\\s+", re.escape(words)).replace(r"\{\}", NUMBER)


def differing(text: str, words: str, numbers: Sequence[float]) -> list[str]:
    """The numbers of a text that are not those of the files, as the text has them."""
    found = re.search(as_written(words), text)
    assert found is not None, "the words have changed: change them here too"
    pairs = zip(found.groups(), numbers, strict=True)
    return [given for given, x in pairs if abs(float(given.replace(",", "")) - x) > rounding(given)]


@pytest.mark.parametrize(("page", "words", "numbers"), STATED, ids=[words for _, words, _ in STATED])
def test_a_stated_number_is_that_of_the_file(page: str, words: str, numbers: Numbers) -> None:
    assert differing(prose(written(DOCS / page)), words, numbers()) == []


def test_a_number_that_the_file_does_not_have_is_seen() -> None:
    text = "saves 26 % for -.017\n(-.037) of 1,214"
    words = "saves {} % for {} ({}) of {}"
    assert differing(text, words, [25.6, -0.0173, -0.0366, 1213.6]) == []
    assert differing(text, words, [25.4, -0.0173, -0.0378, 1214.6]) == ["26", "-.037", "1,214"]


def known(page: str) -> list[str]:
    """The words of a page whose numbers have an origin."""
    bound = [(name, words) for name, words, _ in (*STATED, *SOURCED)]
    return [*(words for name, words in bound if name == page), *SETTINGS.get(page, ())]


def unbound(page: str, text: str) -> dict[str, list[str]]:
    """The measured numbers without an origin, by the heading of their section."""
    found = {}
    for heading, body in sections(text):
        rest = prose(body)
        for words in known(page):
            rest = re.sub(as_written(words), " ", rest)
        found[heading] = _MEASURED.findall(_NOTHING.sub(" ", rest))
    return {heading: numbers for heading, numbers in found.items() if numbers}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_other_number_is_bound_or_left(page: Path) -> None:
    """Add a number to a table of tests/prose_numbers.py, or make a benchmark fill its block."""
    text = written(page)
    left = {heading: command for (name, heading), command in LEFT.items() if name == page.name}
    found, shown = unbound(page.name, text), dict(sections(text))
    assert {heading: numbers for heading, numbers in found.items() if heading not in left} == {}
    assert [heading for heading in left if heading not in found] == [], "no number is left there"
    assert [heading for heading, command in left.items() if command not in shown[heading]] == []


MEASURED = (
    "It has .817 now", "+.045", "(.70)", "of 0.817", "a median of 1.005", "of 36,405 tokens", "is 1.84x",
    "98%", "saves 26 %", "2.65 times fewer", "4 times as many", "at 20 tokens/s", "300 expansions/s",
    "in 9.8 s", "0.5 ms", "at 20 tokens a second", "83 us", "23 seconds", "1 min", "```\n.5\n```\n\n+.045",
)  # fmt: skip
OTHERS = (
    "`.817` and `36,405`", "```\n.817\n```", "N = 16, .9 and 64", "a 95 % interval", "vLLM 0.32, torch 2.11",
    "1,000 GPUs", "arXiv 2408.03314", "[a](https://doi.org/10.1111/j.1467)", "3.11.2", "4 samples", "2 x 4",
)  # fmt: skip


@pytest.mark.parametrize("text", MEASURED)
def test_a_number_from_nowhere_is_seen(text: str) -> None:
    assert unbound("page.md", f"## A\n\n{text}\n\n## B\n\nNothing.\n").keys() == {"A"}


def test_what_is_no_measured_number_is_not_seen() -> None:
    assert unbound("page.md", "\n\n".join(OTHERS)) == {}


def test_a_number_is_known_on_its_own_page_alone() -> None:
    text = "## D\n\nhalf of the samples after step 4 save 26 % of the tokens for -.017 (-.037\nto +.002)"
    assert unbound("adaptive.md", text) == {} and unbound("page.md", text).keys() == {"D"}
    text = "## E\n\nthe goal was .65, and .65 was reached"
    assert unbound("roles.md", text) == {"E": [".65"]}


def own_section(page: str, words: str) -> str:
    """The section whose prose has words, once on its page."""
    (found,) = (
        body for _, body in sections(written(PATHS[page])) if re.search(as_written(words), prose(body))
    )
    return found


@pytest.mark.parametrize(
    ("page", "words"),
    [(page, words) for page, own in SETTINGS.items() for words in own] + [each[:2] for each in SOURCED],
)
def test_a_number_that_is_not_measured_here_is_still_there(page: str, words: str) -> None:
    assert _MEASURED.search(words) and own_section(page, words)


@pytest.mark.parametrize(("page", "words", "source"), SOURCED)
def test_a_number_from_elsewhere_stands_beside_its_source(page: str, words: str, source: str) -> None:
    assert source in own_section(page, words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_block_is_filled_by_a_benchmark_or_empty(page: Path) -> None:
    """Only what a benchmark fills is left out above; tests/test_configuration_page.py has keys."""
    text = written(page)
    assert re.findall(r"<!-- (?!keys: |/)([^>]+) -->\n(?!<!-- /\1 -->)", text) == []
