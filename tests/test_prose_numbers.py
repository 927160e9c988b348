"""Measured numbers in prose: those of a stored file, or of a section that says what measured them.

A number with three decimals and nothing before the point, such as .817 or +.045, is a measured share. Inside
a block that a benchmark fills it is tested there (tests/bench/test_tables.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.test_house import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NUMBER = r"[+-]?\.\d{3}(?!\d)"
_SHARE = re.compile(rf"(?<![\w.]){NUMBER}")
# A page, its words with {} for a number, and where the numbers are: a file of docs/data, and a path in it.
STATED = (
    (
        "adaptive.md",
        "Rounds at a mean of 6 gain {} ({} to {}) on Countdown and {} ({} to {}) on chain",
        "adaptive",
        ("tasks/countdown/rounds/1/difference", "tasks/chain/rounds/1/difference"),
    ),
    (
        "adaptive.md",
        "half of the samples after step 4 save 26 % of the tokens for {} ({} to {})",
        "adaptive",
        ("tasks/chain/rules/20/difference",),
    ),
    (
        "adaptive.md",
        "on the test problems (ECE {}) than",
        "adaptive",
        ("tasks/chain/calibration/0/ece",),
    ),
)
# Sections whose runs are not kept in docs/data and that do not show the command themselves: where it is said.
SOURCES = {
    (
        "adaptive.md",
        "Budgets across problems",
    ): "orchestrator.replay run budget=4,6,8 allocator=uniform,rounds",
    ("calibration.md", "What it gains here"): "orchestrator.calibrate",
    ("roles.md", "The refine loop"): "Four trials with a model of 1 M parameters are not shipped",
    ("saturation.md", "Bounds"): "orchestrator.saturation",
    ("saturation.md", "The surface of k and T"): "orchestrator.saturation",
}
_COMMAND = re.compile(
    r"^(?:make bench|python run\.py|python -m (?:tests\.bench|actors\.embedded|orchestrator)\.)", re.MULTILINE
)


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


@cache
def stored(name: str) -> Any:
    return json.loads((ROOT / "docs" / "data" / f"{name}.json").read_text())


def values(name: str, path: str) -> list[float]:
    """The numbers at a path of a stored file: one, or those of a list."""
    found = stored(name)
    for key in path.split("/"):
        found = found[int(key) if isinstance(found, list) else key]
    return [float(x) for x in found] if isinstance(found, list) else [float(found)]


@pytest.mark.parametrize(("page", "words", "name", "paths"), STATED)
def test_a_stated_number_is_that_of_the_file(
    page: str, words: str, name: str, paths: tuple[str, ...]
) -> None:
    pattern = re.escape(words).replace(r"\{\}", f"({NUMBER})").replace(r"\ ", r"\s+")
    found = re.search(pattern, prose(written(ROOT / "docs" / page)))
    assert found is not None, "the words have changed: change them here too"
    numbers = [value for path in paths for value in values(name, path)]
    assert [float(text) for text in found.groups()] == pytest.approx(numbers, abs=0.00051)


def unexplained(page: str, text: str) -> list[str]:
    """The sections with a measured number that neither show a command nor are in SOURCES."""
    found = []
    for heading, body in sections(text):
        source = SOURCES.get((page, heading))
        known = bool(_COMMAND.search(body)) or (source is not None and source in text)
        if _SHARE.search(prose(body)) and not known:
            found.append(heading)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_other_number_has_a_source(page: Path) -> None:
    """The section shows what measures it, or SOURCES says where the page does."""
    assert unexplained(page.name, written(page)) == []


def test_a_number_from_nowhere_is_seen() -> None:
    text = "## A\n\nIt has .817 now.\n\n## B\n\n`.817` and 1.817\n\n## C\n\n```\nmake bench-x\n```\n\n+.045\n"
    assert unexplained("page.md", text) == ["A"]
