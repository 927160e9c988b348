"""Checks that knobs share: a bad one is a ConfigError that names its key and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.errors import ConfigError, nearest
from orchestrator.types import Sampling


def require(holds: bool, knob: str, value: object, allowed: str) -> None:
    """Raise ConfigError for ``strategy.<knob>`` unless the condition holds."""
    if not holds:
        raise ConfigError(f"strategy.{knob}", value, allowed)


def at_least(minimum: int, **knobs: object) -> None:
    """Every knob is an integer of at least ``minimum``."""
    for knob, value in knobs.items():
        counts = isinstance(value, int) and not isinstance(value, bool) and value >= minimum
        require(counts, knob, value, f"must be an integer of {minimum} or more")


def positive(**knobs: float) -> None:
    """Every knob is a finite number above 0."""
    for knob, value in knobs.items():
        require(0 < value < float("inf"), knob, value, "must be a finite number above 0")


def fraction(**knobs: float) -> None:
    """Every knob lies in [0, 1]."""
    for knob, value in knobs.items():
        require(0 <= value <= 1, knob, value, "must be in [0, 1]")


def one_of(choices: Iterable[str], **knobs: str) -> None:
    """Every knob is one of the choices; the message offers the nearest."""
    names = list(choices)
    for knob, value in knobs.items():
        if value not in names:
            hint = nearest(str(value), names)
            raise ConfigError(f"strategy.{knob}", value, f"must be one of {', '.join(names)}{hint}")


def sampling(params: Sampling, knob: str = "sampling") -> None:
    """Temperature 0 or more, top_p in (0, 1], at least one token."""
    temperature, top_p = params.temperature, params.top_p
    require(0 <= temperature < float("inf"), f"{knob}.temperature", temperature, "must be 0 or more")
    require(0 < top_p <= 1, f"{knob}.top_p", top_p, "must be in (0, 1]")
    at_least(1, **{f"{knob}.max_tokens": params.max_tokens})
