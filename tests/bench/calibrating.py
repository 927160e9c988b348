"""What calibrated rewards are worth on samples that were drawn once: bench_calibration's figures.

Every map is fitted to the samples of other problems, in five folds. What held-out rewards give depends on
which problem is in which fold, so it is a mean over random splits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from orchestrator.allocation.calibration import Map, MapName, fit_steps, sigmoid
from orchestrator.allocation.reliability import NUM_FOLDS, Quality, held_out, last_rewards, quality
from orchestrator.allocation.subsets import Ints
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

MAPS: tuple[MapName, ...] = ("isotonic", "temperature")
NUM_SPLITS = 10
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
    """Return the problems with the last reward of each sample mapped, by one map a problem."""
    return [[_mapped(s, own) for s in each] for each, own in zip(problems, maps, strict=True)]


def _mapped(sample: Any, calibrate: Map) -> Any:
    if not sample.log_odds:
        return sample
    *before, last = sample.log_odds
    return replace(sample, log_odds=(*before, float(calibrate(last))))


def splits(num_problems: int) -> list[Ints]:
    """Return random orders of the problems; in an order, place i is in fold i mod 5."""
    rng = np.random.default_rng(0)
    return [rng.permutation(num_problems) for _ in range(NUM_SPLITS)]


def qualities(problems: Problems) -> dict[str, Any]:
    """Return ECE, Brier score and AUC of the last reward, as it comes and held out by each map."""
    orders = splits(len(problems))
    whole = {"as they come": _entry([quality(*last_rewards(*_columns(problems)))])}
    return whole | {
        name: _entry(
            [quality(*held_out(name, "last", *_columns([problems[i] for i in order]))) for order in orders]
        )
        for name in MAPS
    }


def _columns(problems: Problems) -> tuple[list[Any], list[Any]]:
    steps = [[s.log_odds for s in each] for each in problems]
    return steps, [np.asarray([s.right for s in each]) for each in problems]


def _entry(found: Sequence[Quality]) -> dict[str, Any]:
    """Return the means over splits."""
    entries = [each.entry for each in found]
    means = {key: round(float(np.mean([e[key] for e in entries])), 6) for key in ("ece", "brier", "auc")}
    return {"num": found[0].num, **means}


def shares_right(problems: Problems) -> list[dict[str, Any]]:
    """Return how often samples are right whose last reward is in each of the ranges."""
    pairs = [(float(sigmoid(s.log_odds[-1])), s.right) for each in problems for s in each if s.log_odds]
    own = [[y for x, y in pairs if low <= x < high] for low, high in RANGES]
    return [
        {"from": low, "to": high, "num": len(y), "right": round(float(np.mean(y)), 6)}
        for (low, high), y in zip(RANGES, own, strict=True)
    ]


def weighing(lists: Sequence[Problems]) -> dict[str, Any]:
    """Return each rule with rewards as they come and mapped, paired by problem and list."""
    calibrated = [_calibrated(lists, order) for order in splits(len(lists[0]))]
    found = {}
    for name, rule in RULES.items():
        raw, *own = ([answered(each, rule) for each in which] for which in (lists, *calibrated))
        right = np.mean([[a.right for a in each] for each in own], axis=0)
        gains = [b - a.right for a, b in zip(raw, right, strict=True)]
        means = _means([a for each in own for a in each])
        found[name] = {"raw": _means(raw), "mapped": means, "difference": estimate(gains)}
    return found


def _calibrated(lists: Sequence[Problems], order: Ints) -> list[Problems]:
    """Return the lists with each problem's rewards mapped by a fit to the other folds of an order."""
    problems = joined(lists)
    maps = fold_maps([problems[i] for i in order])
    places = np.argsort(order)
    return [mapped(each, [maps[place % NUM_FOLDS] for place in places]) for each in lists]


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
        "weighing": weighing(lists),
        "tilt": tilts(lists),
    }
