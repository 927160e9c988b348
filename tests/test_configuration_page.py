"""The tables of docs/configuration.md: what the dataclasses say, and every key of the files they read."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge

from orchestrator.schema import Rule, Words
from tests.test_house import ROOT


def loaded(path: Path) -> Any:
    """A module of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks there for its own
    spec.loader.exec_module(module)
    return module


keys = loaded(ROOT / "docs" / "site" / "keys.py")


@dataclass(frozen=True)
class Oven:
    """An oven."""

    degrees: Annotated[int, Ge(0)] = 180
    """CPU and ``heat``, see
    docs/models.md#how.
    """
    name: str | None = None
    """The name."""


@dataclass(frozen=True)
class Unsaid:
    """A class with a field of which nothing is said."""

    first: int = 1
    """The first."""
    second: int = 2


def test_the_page_is_what_the_dataclasses_say() -> None:
    page = keys.PAGE.read_text(encoding="utf-8")
    assert keys.generated(page) == page, "run: PYTHONPATH=. python docs/site/keys.py"


def test_a_changed_field_changes_the_page() -> None:
    page = keys.PAGE.read_text(encoding="utf-8")
    assert keys.generated(page.replace("| copies of the policy |", "| copies |")) == page
    with pytest.raises(ValueError, match="has no marks for the keys of limits"):
        keys.generated(page.replace("<!-- keys: limits -->", ""))


@pytest.mark.parametrize("name", keys.TABLES)
def test_every_key_of_the_files_has_a_row_and_every_field_their_default(name: str) -> None:
    """What is built in Python without arguments is what a run without arguments builds."""
    table, no_keys = keys.TABLES[name], ("_target_", "defaults")
    found = keys.defaults_of(table.group)
    named = {k: v for k, v in found.items() if k not in no_keys and not isinstance(v, dict)}
    fields = table.fields
    assert named.keys() - fields.keys() == set()
    if name != "task":  # a task's file has its own numbers
        own = {k: fields[k].default for k in named if fields[k].default is not inspect.Parameter.empty}
        assert own == {k: named[k] for k in own}


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "a whole number"),
        (bool | None, "true or false, or null"),
        (Literal["a", "b"] | None, "`a`, `b`, or null"),
        (Annotated[int | None, Ge(1)], "a whole number of 1 or more, or null"),
        (Annotated[str, Words("must not be empty")], "a text, not empty"),
        (Annotated[Annotated[float, Rule(bool, "must be odd")] | None, Words("must be x")], "odd, or null"),
        (tuple[Annotated[int, Ge(1)], ...], "a list, each a whole number of 1 or more"),
    ],
)  # fmt: skip
def test_values_in_words(hint: Any, words: str) -> None:
    assert keys.values_of(hint) == words


def test_a_meaning_is_the_docstring_below_its_field() -> None:
    fields = keys.fields_of(Oven)
    assert fields["degrees"].meaning == "CPU and `heat`, see [models.md](models.md#how)"
    assert (fields["degrees"].default, fields["name"].meaning) == (180, "the name")
    with pytest.raises(ValueError, match="Unsaid has no docstring below second"):
        keys.fields_of(Unsaid)
