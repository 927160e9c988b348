"""docs/architecture.md names what there is: its floors are the house's, and every name in it exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests.named import defined, everywhere, is_public, keys
from tests.test_house import FLOORS, PACKAGES, ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
_PATH = re.compile(r"[\w.-]+(/[\w.-]*)+|[\w-]+\.(?:py|md|yaml)")
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_NAME = re.compile(r"[A-Za-z_]\w*")
# Files that a run writes, and what belongs to Python and its libraries.
OTHERS = {
    "journal/",
    "results.jsonl",
    "events.jsonl",
    "summary.json",
    "Annotated",
    "Literal",
    "_target_",
    "__post_init__",
}


def spans() -> Iterator[str]:
    """Each code span, and in fenced blocks each path, dotted name and name of a class of two words."""
    prose = re.sub(r"^```.*?^```", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"`([^`]+)`", prose)
    for block in re.findall(r"^```\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL):
        for word in block.split():
            if "/" in word or word.endswith(".py") or re.fullmatch(r"([A-Z][a-z]+){2,}", word):
                yield word.rstrip(":,")


@cache
def known() -> frozenset[str]:
    """What a span without a path and a package may be: a name of the source, a key, a part."""
    parts = {part for package in FLOORS.values() for floor in package for part in floor}
    return everywhere() | keys() | parts | {f"{key}=" for key in keys()}


def exists(span: str) -> bool:
    """Whether a span of the page names something that there is."""
    if span in OTHERS:
        return True
    if _PATH.fullmatch(span):
        return (ROOT / span).exists()
    if _DOTTED.fullmatch(span) and span.split(".", maxsplit=1)[0] in PACKAGES:
        return is_public(span)
    return span in known()


def is_a_name(span: str) -> bool:
    """A command, a piece of YAML or of Python is none."""
    return any(kind.fullmatch(span) for kind in (_PATH, _DOTTED, _NAME))


NAMES = sorted({span for span in spans() if is_a_name(span)})


def test_every_name_exists() -> None:
    assert len(NAMES) > 100
    assert [name for name in NAMES if not exists(name)] == []


@pytest.mark.parametrize(
    "name", ["actors/configs.py", "Session.sample", "orchestrator.results", "GatedEngine", "engine.maximum"]
)
def test_a_name_that_is_gone_is_seen(name: str) -> None:
    assert is_a_name(name)
    assert not exists(name)


def test_every_function_is_in_its_file() -> None:
    """A row of a table that names a function and its file: the one is defined in the other."""
    rows = re.findall(r"^\| `([\w.]+)` \| `([\w./]+\.py)` \|", PAGE, flags=re.MULTILINE)
    assert len(rows) > 40
    assert [(name, file) for name, file in rows if name not in defined()[ROOT / file]] == []


@pytest.mark.parametrize("package", FLOORS)
def test_the_floors_are_those_of_the_house(package: str) -> None:
    section = PAGE.split(f"\n### `{package}/`\n")[1].split("\n#")[0]
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", section, flags=re.MULTILINE)
    drawn = {int(floor): set(re.findall(r"`(\w+)`", parts)) for floor, parts in rows}
    assert drawn == {number: set(parts) for number, parts in enumerate(FLOORS[package], start=1)}
    assert list(drawn) == sorted(drawn, reverse=True)
