"""docs/strategies.md tells of every strategy and of every knob, with the defaults that the files hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.toy import STRATEGIES, knobs_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "strategies.md"
pytestmark = pytest.mark.parametrize("name", STRATEGIES)


@cache
def sections() -> Mapping[str, str]:
    """The text under each heading of the second level."""
    _, *parts = re.split(r"^## ", DOCUMENT.read_text(), flags=re.MULTILINE)
    return {title: body for title, _, body in (part.partition("\n") for part in parts)}


@cache
def shared_defaults() -> Mapping[str, str]:
    """The first two columns of the table of shared knobs."""
    section, _, _ = sections()["Knobs that many share"].partition("\n### ")
    rows = re.findall(r"^\| (`.+?) \| (.+?) \|", section, flags=re.MULTILINE)
    pairs = (
        zip(re.findall(r"`(.+?)`", knobs), re.split(r", ", values), strict=True) for knobs, values in rows
    )
    return {knob: value for row in pairs for knob, value in row}


def knobs(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every knob but those that are the budget, with its default as the document writes it.

    A template is a file of ``conf/prompts``: its text is not a default that a document states.
    """
    for key, value in node.items():
        if isinstance(value, dict) and value.get("_target_") == "orchestrator.Template":
            continue
        if isinstance(value, dict):
            yield from knobs(value, f"{prefix}{key}.")
        elif key != "_target_" and value != "${budget}":
            yield f"{prefix}{key}", written(value)


def written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "`null`"
    if isinstance(value, list):
        return f"`{yaml.safe_dump(value, default_flow_style=True, width=1000).strip()}`"
    if isinstance(value, str):
        return "the task's" if "${task." in value or ":task." in value else f"`{value}`"
    return "1e-7" if value == 1e-7 else str(value)


def defaults_of(name: str) -> dict[str, str]:
    return dict(knobs(knobs_of(name)))


def test_it_has_a_section_with_a_place_for_what_is_measured(name: str) -> None:
    assert f"<!-- measured {name} -->" in sections()[name]
    assert f"<!-- /measured {name} -->" in sections()[name]
    for part in ("**Knobs.**", "**Cost.**", "```"):
        assert part in sections()[name]


def test_its_knobs_are_named_with_their_defaults(name: str) -> None:
    text = " ".join(sections()[name].split())
    for knob, default in defaults_of(name).items():
        group = f"`{knob.partition('.')[0]}.*`"
        stated = f"`{knob}` ({default}" in text
        shared = shared_defaults().get(knob) == default and (f"`{knob}`" in text or group in text)
        assert stated or shared, f"{knob} = {default}"
