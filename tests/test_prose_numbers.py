"""Measured numbers in prose: each is that of a stored file, or of one of the few sections in LEFT.

A number with three decimals and nothing before the point, such as .817 or +.045, is a measured share. Inside
a block that a benchmark fills it is tested there (tests/bench/test_tables.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.test_house import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_SHARE = re.compile(r"(?<![\w.])[+-]?\.\d{3}(?!\d)")
NUMBER = r"([+-]?(?:\d[\d,]*)?(?:\.\d+)?)"


@cache
def stored(name: str) -> Any:
    """What docs/data/NAME.json holds."""
    return json.loads((ROOT / "docs" / "data" / f"{name}.json").read_text())


def rule(task: str, family: str, level: str) -> Mapping[str, Any]:
    """A line of the rules of docs/adaptive.md."""
    rows = stored("adaptive")["tasks"][task]["rules"]
    (found,) = (r for r in rows if (r["family"], r["level"]) == (family, level))
    return dict(found)


def saved(task: str, family: str, level: str, cost: str = "tokens") -> float:
    """The share of what all samples cost that a rule saves, in percent."""
    whole = "vote, all" if family.startswith("vote") else "all"
    return 100 * (1 - float(rule(task, family, level)[cost]) / float(rule(task, whole, "N = 16")[cost]))


def default_rounds(task: str) -> Sequence[float]:
    """What the default settings of rounds gain over uniform at equal tokens."""
    return list(stored("adaptive")["tasks"][task]["rounds"][1]["difference"])


def within(task: str) -> int:
    """How many of eight pilots the zero-inflated Beta forecasts within .06."""
    rows = stored("adaptive")["tasks"][task]["saturation"]
    (errors,) = (r["errors"] for r in rows if r["family"] == "zero-inflated Beta")
    return sum(abs(e) <= 0.06 for e in errors)


def ece(task: str) -> float:
    """The ECE of rewards as they come on test problems."""
    return float(stored("adaptive")["tasks"][task]["calibration"][0]["ece"])


def annealed(budget: int) -> Sequence[float]:
    """By how much the entropic filter is ahead of its control on long chains."""
    points = stored("long_chain")["curves"]["entropic_particle_filter"]
    (found,) = (point["difference"] for point in points if point["budget"] == budget)
    return [found[name] for name in ("value", "low", "high")]


def card(model: str, pattern: str) -> float:
    """A number of a model's card, by what is around it."""
    text = (ROOT / "actors" / "embedded" / "weights" / model / "README.md").read_text(encoding="utf-8")
    (found,) = re.findall(pattern.replace(" ", r"\s+"), text)
    return float(found)


# A page, its words with {} for a number, and the numbers, from files of docs/data.
STATED: tuple[tuple[str, str, Callable[[], Sequence[float]]], ...] = (
    (
        "adaptive.md",
        "on both tasks, chain saves {} % of the tokens and Countdown {} % of the samples",
        lambda: [saved("chain", "threshold", "at 0.9"), saved("countdown", "threshold", "at 0.9", "samples")],
    ),
    (
        "adaptive.md",
        "on chain at .9 it saves {} % of the tokens of a vote over 16",
        lambda: [saved("chain", "vote, beta", "at 0.9")],
    ),
    ("adaptive.md", "and saves {} % on chain", lambda: [saved("chain", "vote, decided", "")]),
    (
        "adaptive.md",
        "half of the samples after step 4 save {} % of the tokens for {} ({} to {})",
        lambda: [
            saved("chain", "prune", "after step 4 keep 8"),
            *rule("chain", "prune", "after step 4 keep 8")["difference"],
        ],
    ),
    (
        "adaptive.md",
        "so there is little to save ({} %)",
        lambda: [saved("countdown", "prune", "after step 3 keep 2")],
    ),
    (
        "adaptive.md",
        "Rounds at a mean of 6 gain {} ({} to {}) on Countdown and {} ({} to {}) on chain",
        lambda: [*default_rounds("countdown"), *default_rounds("chain")],
    ),
    (
        "adaptive.md",
        "at most .06 at 64 for {} pilots on chain, and for {} on Countdown",
        lambda: [within("chain"), within("countdown")],
    ),
    (
        "adaptive.md",
        "on the test problems (ECE {}) than on those that the map was fitted to ({})",
        lambda: [ece("chain"), stored("calibration")["tasks"]["chain"]["quality"]["as they come"]["ece"]],
    ),
    (
        "performance.md",
        "greedy accuracy is {}; the policy's own likelihood as the judge of 16 samples gives {}",
        lambda: [
            card("chain-policy", r"\|---\|---\| \| (\.\d+) \|"),
            card("chain-verifier", r"likelihood as the judge gives(?: \.\d+,){3} (\.\d+),"),
        ],
    ),
    (
        "performance.md",
        "the verifier's backbone solves {} of the problems",
        lambda: [card("chain-verifier", r"is right in (\.\d+) of them by greedy")],
    ),
    (
        "saturation.md",
        "at most .06 for {} of 8 pilots on chain, and for {} of 8 on Countdown",
        lambda: [within("chain"), within("countdown")],
    ),
    (
        "strategies.md",
        "the entropic filter is ahead of its control by {} ({} to {}), and at N = 16 by {} ({} to {})",
        lambda: [*annealed(8), *annealed(16)],
    ),
)
# Sections with measured numbers that no file of docs/data holds, and the command there that measures them.
LEFT = {
    ("performance.md", "What orchestration costs"): "python -m tests.bench.bench_overhead",
    ("roles.md", "Mixture"): "python -m tests.bench.bench_chain_roles --work DIR",
}


def written(page: Path) -> str:
    """A page without what benchmarks fill."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"<!-- ([\w ,]+) -->\n.*?<!-- /\1 -->", "", text, flags=re.DOTALL)


def prose(text: str) -> str:
    """A text without its code."""
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)


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
    return re.escape(words).replace(r"\{\}", NUMBER).replace(r"\ ", r"\s+")


def differing(text: str, words: str, numbers: Sequence[float]) -> list[str]:
    """The numbers of a text that are not those of the files, as the text has them."""
    found = re.search(as_written(words), text)
    assert found is not None, "the words have changed: change them here too"
    pairs = zip(found.groups(), numbers, strict=True)
    return [given for given, x in pairs if abs(float(given.replace(",", "")) - x) > rounding(given)]


@pytest.mark.parametrize(("page", "words", "numbers"), STATED, ids=[words for _, words, _ in STATED])
def test_a_stated_number_is_that_of_the_file(
    page: str, words: str, numbers: Callable[[], Sequence[float]]
) -> None:
    assert differing(prose(written(ROOT / "docs" / page)), words, numbers()) == []


def test_a_number_that_the_file_does_not_have_is_seen() -> None:
    text = "saves 26 % for -.017\n(-.037) of 1,214"
    words = "saves {} % for {} ({}) of {}"
    assert differing(text, words, [25.6, -0.0173, -0.0366, 1213.6]) == []
    assert differing(text, words, [25.4, -0.0173, -0.0378, 1214.6]) == ["26", "-.037", "1,214"]


def unbound(page: str, text: str) -> set[str]:
    """The headings of sections with a measured number that STATED does not hold to a file."""
    for own in (words for name, words, _ in STATED if name == page):
        text = re.sub(as_written(own), "", text)
    return {heading for heading, body in sections(text) if _SHARE.search(prose(body))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_other_number_is_bound_or_left(page: Path) -> None:
    """Add a number to STATED, or make a benchmark fill its block; a section of LEFT shows its command."""
    text = written(page)
    left = {heading: command for (name, heading), command in LEFT.items() if name == page.name}
    assert unbound(page.name, text) == left.keys()
    shown = dict(sections(text))
    assert [heading for heading, command in left.items() if command not in shown[heading]] == []


def test_a_number_from_nowhere_is_seen() -> None:
    text = "## A\n\nIt has .817 now.\n\n## B\n\n`.817` and 1.817\n\n## C\n\n```\n.5\n```\n\n+.045\n"
    assert unbound("page.md", text) == {"A", "C"}
    text = "## D\n\nhalf of the samples after step 4 save 26 % of the tokens for -.017 (-.037\nto +.002)"
    assert unbound("adaptive.md", text) == set() and unbound("page.md", text) == {"D"}
