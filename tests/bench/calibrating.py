"""What calibrated rewards are worth on samples that were drawn once: bench_calibration's figures.

Every map is fitted to the samples of other problems: problem i, by its name, is in fold i mod 5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from orchestrator.allocation.calibration import Map, fit_steps, sigmoid
from orchestrator.allocation.reliability import NUM_FOLDS, Quality, held_out, last_rewards, quality
from strategies.parts.tilting import tilted
from strategies.parts.voting import vote
from tests.bench.adaptive_arrays import (
    Answered,
    Outcome,
    Problem,
    answered,
    at_once,
    best_of,
    one_by_one,
    threshold,
)
from tests.bench.adaptive_rules import estimate

MAPS = ("isotonic", "temperature")
TILTS = (0, 1, 3, 10, 30)
RANGES = ((0.6, 0.8), (0.8, 0.95))
"""Of rewards; how often those of chain are right falls from the first to the second."""
Problems = Sequence[Problem]
Weights = Callable[[Problem], Sequence[float]]


def by_reward(samples: Problem) -> Sequence[float]:
    """Return the votes of ``strategy.weight=reward``."""
    return [float(x) for x in sigmoid([s.reward for s in samples])]


def by_tilt(tilt: float) -> Weights:
    """Return the votes of ``strategy.weight=tilt``."""
    return lambda samples: [math.exp(x) for x in tilted([s.reward for s in samples], tilt)]


def weighed(weights: Weights) -> Callable[[Problem], Outcome]:
    """Return what a weighted vote over samples drawn in one call answers and costs."""

    def outcome(samples: Problem) -> Outcome:
        rewards = [s.reward for s in samples]
        winner = vote([s.key for s in samples], rewards, weights(samples))
        _, *costs = at_once(samples)
        return best_of(samples) if winner is None else samples[winner].right, *costs  # type: ignore[return-value]

    return outcome


def _until(at: float) -> Callable[[Problem], Outcome]:
    return lambda samples: one_by_one(samples, threshold(at))


RULES: dict[str, Callable[[Problem], Outcome]] = {
    "vote by reward": weighed(by_reward),
    "stop at a reward of .8": _until(0.8),
    "stop at .9": _until(0.9),
}


def joined(lists: Sequence[Problems]) -> Problems:
    """Return each problem with the samples of all lists."""
    return [[s for own in each for s in own] for each in zip(*lists, strict=True)]


def fold_maps(problems: Problems) -> list[Map]:
    """Return for each fold the isotonic map that its complement gives."""
    rest = [[s for i, p in enumerate(problems) for s in p if i % NUM_FOLDS != f] for f in range(NUM_FOLDS)]
    fits = [fit_steps("isotonic", "last", [s.log_odds for s in r], [s.right for s in r]) for r in rest]
    return [fit.of_step(0) for fit in fits]


def mapped(problems: Problems, maps: Sequence[Map]) -> Problems:
    """Return the problems with the last reward of each sample mapped by its fold's map."""
    return [[_mapped(s, maps[i % NUM_FOLDS]) for s in each] for i, each in enumerate(problems)]


def _mapped(sample: Any, calibrate: Map) -> Any:
    if not sample.log_odds:
        return sample
    *before, last = sample.log_odds
    return replace(sample, log_odds=(*before, float(calibrate(last))))


def qualities(problems: Problems) -> dict[str, Any]:
    """Return ECE, Brier score and AUC of the last reward, as it comes and held out by each map."""
    steps = [[s.log_odds for s in each] for each in problems]
    right = [np.asarray([s.right for s in each]) for each in problems]
    made = {name: quality(*held_out(name, "last", steps, right)) for name in MAPS}  # type: ignore[arg-type]
    return {
        name: _entry(q) for name, q in {"as they come": quality(*last_rewards(steps, right)), **made}.items()
    }


def _entry(found: Quality) -> dict[str, Any]:
    return {key: round(value, 6) for key, value in found.entry.items()}


def shares_right(problems: Problems) -> list[dict[str, Any]]:
    """Return how often samples are right whose last reward is in each of the ranges."""
    pairs = [(float(sigmoid(s.log_odds[-1])), s.right) for each in problems for s in each if s.log_odds]
    own = [[y for x, y in pairs if low <= x < high] for low, high in RANGES]
    return [
        {"from": low, "to": high, "num": len(y), "right": round(float(np.mean(y)), 6)}
        for (low, high), y in zip(RANGES, own, strict=True)
    ]


def weighing(lists: Sequence[Problems], maps: Sequence[Map]) -> dict[str, Any]:
    """Return each rule with rewards as they come and mapped, paired by problem and list."""
    calibrated = [mapped(each, maps) for each in lists]
    found = {}
    for name, rule in RULES.items():
        raw, own = ([answered(each, rule) for each in which] for which in (lists, calibrated))
        gains = [a.right - b.right for a, b in zip(own, raw, strict=True)]
        found[name] = {"raw": _means(raw), "mapped": _means(own), "difference": estimate(gains)}
    return found


def _means(each: Sequence[Answered]) -> dict[str, float]:
    return {
        "accuracy": round(float(np.mean([a.right for a in each])), 6),
        "samples": round(float(np.mean([a.samples for a in each])), 4),
    }


def tilts(lists: Sequence[Problems]) -> dict[str, float]:
    """Return the accuracy of the tilted vote at each t, and of the best sample."""
    rules = {f"t = {t}": weighed(by_tilt(t)) for t in TILTS} | {"best of N": at_once}
    return {
        name: _means([answered(each, rule) for each in lists])["accuracy"] for name, rule in rules.items()
    }


def figures(lists: Sequence[Problems]) -> dict[str, Any]:
    """Return all figures of a task, from disjoint lists of N samples for each problem."""
    problems = joined(lists)
    return {
        "quality": qualities(problems),
        "right": shares_right(problems),
        "weighing": weighing(lists, fold_maps(problems)),
        "tilt": tilts(lists),
    }
