"""The points of a sweep: every combination of the values that a command line gives its keys."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from orchestrator.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Point:
    """One combination: its overrides as on a command line, and which of them the sweep varies.

    ``number`` is its index among the combinations, from 0; the last key varies fastest.
    """

    number: int
    overrides: tuple[str, ...]
    varied: tuple[str, ...]

    @property
    def name(self) -> str:
        return " ".join(self.varied or self.overrides).replace("\n", "\\n")


def expand(overrides: Sequence[str], loader: ConfigLoader | None = None) -> list[Point]:
    """Return every combination of the values, in all of Hydra's syntax for values that can be listed.

    Of a key that is given twice the last value counts. ``loader`` resolves globs. Raises ConfigError for a
    range that cannot be listed or holds nothing, and Hydra's error for what it cannot parse.
    """
    choices: dict[str, list[str]] = {}
    varied: dict[str, bool] = {}
    for override in OverridesParser.create(config_loader=loader).parse_overrides(list(overrides)):
        key = str(override.get_key_element())
        choices[key], varied[key] = _values(key, override), override.is_sweep_override()
    rows = itertools.product(*choices.values())
    return [Point(i, row, tuple(itertools.compress(row, varied.values()))) for i, row in enumerate(rows)]


def _values(key: str, override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.input_line)]
    written = str(override.input_line).partition("=")[2]
    if not override.is_discrete_sweep():
        raise ConfigError(key, written, "cannot be listed: use choice(...) or range(...)")
    values = [f"{key}={value}" for value in override.sweep_string_iterator()]
    if not values:
        raise ConfigError(key, written, "must have at least one value, and has none")
    return values


def shared(overrides: Sequence[str]) -> list[str]:
    """Return the overrides that are the same for all points of a sweep.

    Nested keys are left out, since they may belong to a choice that varies.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return [
        str(o.input_line)
        for o in parsed
        if not o.is_sweep_override() and (o.is_hydra_override() or "." not in o.key_or_group)
    ]
