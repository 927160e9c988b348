"""Checks that knobs share: a bad one is a ConfigError that names its key and what is allowed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from orchestrator.errors import ConfigError, nearest
from orchestrator.types import REMASKINGS, Denoising, Sampling


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


def one_of(choices: Iterable[str], **knobs: object) -> None:
    """Every knob is one of the choices; the message offers the nearest."""
    names = list(choices)
    for knob, value in knobs.items():
        if value not in names:
            hint = nearest(str(value), names)
            raise ConfigError(f"strategy.{knob}", value, f"must be one of {', '.join(names)}{hint}")


def named(choices: Iterable[str], kind: type[Any], **knobs: object) -> None:
    """Every knob is one of the choices, or a function that takes what the protocol ``kind`` does."""
    names, (_, *takes) = list(choices), inspect.signature(kind.__call__).parameters
    for knob, value in knobs.items():
        if not callable(value):
            one_of(names, **{knob: value})
        elif not _can_take(value, takes):
            allowed = f"must be one of {', '.join(names)}, or a function of ({', '.join(takes)})"
            raise ConfigError(f"strategy.{knob}", value, allowed)


def _can_take(function: Callable[..., object], arguments: Iterable[str]) -> bool:
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # one that is written in C may not tell
        return True
    return True


def sampling(params: Sampling, knob: str = "sampling") -> None:
    """Temperature 0 or more, top_p in (0, 1], at least one token."""
    temperature, top_p = params.temperature, params.top_p
    require(0 <= temperature < float("inf"), f"{knob}.temperature", temperature, "must be 0 or more")
    require(0 < top_p <= 1, f"{knob}.top_p", top_p, "must be in (0, 1]")
    at_least(1, **{f"{knob}.max_tokens": params.max_tokens})


def denoising(params: Denoising, knob: str = "denoising") -> None:
    """A canvas of one position or more, temperatures of 0 or more, thresholds in [0, 1]."""
    counts = {"gen_length": params.gen_length, "num_steps": params.num_steps}
    at_least(1, **{f"{knob}.{name}": value for name, value in counts.items()})
    for name, value in (("temperature", params.temperature), ("cfg_scale", params.cfg_scale)):
        require(0 <= value < float("inf"), f"{knob}.{name}", value, "must be 0 or more")
    one_of(REMASKINGS, **{f"{knob}.remasking": params.remasking})
    for name, bound in (("threshold", params.threshold), ("delimiter_threshold", params.delimiter_threshold)):
        require(bound is None or 0 <= bound <= 1, f"{knob}.{name}", bound, "must be in [0, 1], or null")
    bounded = params.remasking in ("low_confidence", "topk_margin")
    allowed = "needs a confidence in [0, 1]: remasking=low_confidence or topk_margin"
    require(params.threshold is None or bounded, f"{knob}.threshold", params.threshold, allowed)
