"""What a command line of the search requests: axes, bounds, and keys of run.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from orchestrator.architectures.grid import LASTS, Architecture, grid
from orchestrator.config.arguments import read_arguments
from orchestrator.errors import ConfigError
from orchestrator.suggest import nearest
from orchestrator.types import ENGINE

AXES = {
    "policies": ENGINE,
    "samples": "1,4,8",
    "fusions": "0,1",
    "fusers": "1,4",
    "ranked": "false,true",
    "last": "vote,fuse",
}
DEFAULTS = {
    "to": "",
    **AXES,
    "top_k": "5",
    "judge": ENGINE,
    "first": "8",
    "problems": "64",
    "tokens": "",
    "cost": "",
}
OWNED = (
    "strategy",
    "strategy.layers",
    "budget",
    "cassette",
    "cassette_only",
    "run_dir",
    "resume",
    "task.limit",
)
T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """What a command line requests."""

    folder: Path
    to: Path
    architectures: Sequence[Architecture]
    first: int
    num_problems: int
    most: float
    priced: bool
    overrides: Sequence[str]


def read_request(arguments: Sequence[str]) -> Request:
    """Read the arguments. Raises ConfigError for one that cannot be read."""
    own = [a for a in arguments if "=" not in a or a.partition("=")[0] in DEFAULTS]
    overrides = [a for a in arguments if a not in own]
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~")
        if key in OWNED:
            raise ConfigError(key, override.partition("=")[2], "is set by the search: leave it out")
    folder, options = read_arguments(own, DEFAULTS, "DIR")
    if not options["to"].endswith(".yaml"):
        raise ConfigError("to", options["to"] or None, "must be the file to write, and end in .yaml")
    return Request(
        folder,
        Path(options["to"]),
        _grid(options),
        _number("first", options["first"], 1),
        _number("problems", options["problems"], 1),
        *_bound(options),
        overrides,
    )


def _bound(options: Mapping[str, str]) -> tuple[float, bool]:
    """Return the most to spend, and whether that is at prices."""
    given = [key for key in ("tokens", "cost") if options[key]]
    if len(given) == 2:
        raise ConfigError("cost", options["cost"], "is another unit of tokens=: give one of them")
    if given == ["tokens"]:
        return float(_number("tokens", options["tokens"], 1)), False
    if not given:
        return math.inf, False
    try:
        most = float(options["cost"])
    except ValueError:
        most = math.nan
    if not 0 < most < math.inf:
        raise ConfigError("cost", options["cost"], "must be above 0 and finite")
    return most, True


def _grid(options: Mapping[str, str]) -> list[Architecture]:
    def values(key: str, read: Callable[[str], T]) -> list[T]:
        return [read(text.strip()) for text in options[key].split(",")]

    return grid(
        policies=values("policies", lambda text: tuple(text.split("+"))),
        samples=values("samples", lambda text: _number("samples", text, 1)),
        fusions=values("fusions", lambda text: _number("fusions", text, 0)),
        fusers=values("fusers", lambda text: _number("fusers", text, 1)),
        ranked=values("ranked", lambda text: _one_of("ranked", text, {"false": False, "true": True})),
        last=values("last", lambda text: _one_of("last", text, {name: name for name in LASTS})),
        top_k=_number("top_k", options["top_k"], 1),
        judge=options["judge"],
    )


def _number(key: str, text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise ConfigError(key, text or None, f"must be a whole number of {least} or more")
    return int(text)


def _one_of(key: str, text: str, values: Mapping[str, T]) -> T:
    if text not in values:
        raise ConfigError(key, text, f"must be one of {', '.join(values)}{nearest(text, values)}")
    return values[text]
