"""Ties: whether a problem's answer was one of several with the highest vote; a report counts them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Rule = Literal["majority", "weighted_majority", "best_reward", "best_weight"]


def rule_of(strategy: Mapping[str, Any]) -> Rule:
    """Return what a strategy's answer is selected by, read from its knobs.

    A tree search, which has no knob for it, selects by its log-weight: -f.
    """
    if "num_paths" in strategy and "weight" not in strategy:
        return "majority"  # HEX: a plain vote of its paths
    if "weight" in strategy:
        return "majority" if strategy["weight"] == "count" else "weighted_majority"
    selection = strategy.get("selection")
    if selection in ("majority", "weighted_majority"):
        return "majority" if selection == "majority" else "weighted_majority"
    last = strategy.get("aggregation") in ("last", "model")
    return "best_reward" if selection == "argmax" and last else "best_weight"


def is_tie(candidates: Sequence[Mapping[str, Any]], rule: Rule) -> bool:
    """Return whether two answers that differ as texts share the first place."""
    places: dict[str, float] = defaultdict(float)
    for candidate in candidates:
        answer = candidate["answer"]
        if answer is None:
            continue
        if rule == "majority":
            places[answer] += 1
        elif rule == "weighted_majority":
            places[answer] += math.exp(_number(candidate["log_weight"]) - _top(candidates))
        else:
            key = "reward" if rule == "best_reward" else "log_weight"
            places[answer] = max(places.get(answer, -math.inf), _number(candidate[key]))
    top = max(places.values(), default=0.0)
    return sum(math.isclose(place, top, rel_tol=1e-9) for place in places.values()) > 1


def _number(value: float | None) -> float:
    return -math.inf if value is None else value


def _top(candidates: Sequence[Mapping[str, Any]]) -> float:
    top = max(_number(c["log_weight"]) for c in candidates)
    return 0.0 if math.isinf(top) else top
