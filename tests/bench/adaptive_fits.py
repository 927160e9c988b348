"""What is fitted to development problems, on problems it has not seen: calibration, saturation, plans."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from orchestrator.allocation.calibration import MAPS, Map, fit_steps
from orchestrator.allocation.reliability import last_rewards, quality
from orchestrator.allocation.saturation import saturation_point
from orchestrator.allocation.saturation_study import Samples, fit_all
from orchestrator.planning.fitting import FittedPlan, fit_plan, gain_of
from orchestrator.planning.outcomes import read_swept
from orchestrator.samples.stored import StoredSamples
from tests.bench.adaptive_arrays import Answered, Floats, Problem
from tests.bench.adaptive_rounds import Value, as_it_is, uniform_at_tokens
from tests.bench.adaptive_rules import Row, row
from tests.bench.adaptive_samples import List

PILOT, EPSILON, NUM_RESAMPLES, PROBES = 8, 0.005, 500, 4


def fitted_maps(dev: StoredSamples) -> dict[str, Map]:
    """Return each map of the last reward, fitted to every sample of the development problems."""
    steps = [s for each in dev.steps for s in each]
    right = [bool(r) for each in dev.samples.right for r in each]
    return {name: fit_steps(name, "last", steps, right).of_step(0) for name in MAPS if name != "quantile"}


def values_of(maps: Mapping[str, Map]) -> dict[str, Value]:
    """Return what a bid may read: rewards as they are, or calibrated."""
    calibrated = maps["isotonic"]
    return {
        "rewards as they are": as_it_is,
        "calibrated rewards": lambda log_odds: as_it_is(float(calibrated(log_odds))),
    }


def calibrated(maps: Mapping[str, Map], test: Sequence[StoredSamples]) -> list[Row]:
    """Return ECE and Brier score on test problems, and by how much each map changes them."""
    pairs = _by_problem(test)
    rng = np.random.default_rng(0)
    rows = rng.integers(len(pairs), size=(NUM_RESAMPLES, len(pairs)))
    before = _quality(pairs)
    found: list[Row] = [{"map": "none", "ece": before[0], "brier": before[1], "auc": before[2]}]
    for name, mapped in maps.items():
        own = [(mapped(x), y) for x, y in pairs]
        after = _quality(own)
        drawn = [
            np.subtract(_quality([own[i] for i in r])[:2], _quality([pairs[i] for i in r])[:2]) for r in rows
        ]
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
        change = [[round(float(v), 4) for v in (after[i] - before[i], low[i], high[i])] for i in range(2)]
        found.append(
            {"map": name, "ece": after[0], "brier": after[1], "auc": after[2],
             "ece change": change[0], "brier change": change[1]}
        )  # fmt: skip
    return found


def _by_problem(test: Sequence[StoredSamples]) -> list[tuple[Floats, Floats]]:
    """Return log-odds and labels of each problem's samples, over all seeds."""
    places: dict[str, list[tuple[Floats, Floats]]] = {}
    for each in test:
        for name, steps, right in zip(each.problem_ids, each.steps, each.samples.right, strict=True):
            x, y = last_rewards([steps], [right])
            places.setdefault(name, []).append((x, y.astype(float)))
    return [tuple(np.concatenate(c) for c in zip(*own, strict=True)) for own in places.values()]  # type: ignore[misc]


def _quality(pairs: Sequence[tuple[Floats, Floats]]) -> tuple[float, float, float]:
    found = quality(np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs]))
    return round(found.ece, 4), round(found.brier, 4), round(found.auc or math.nan, 3)


def saturated(dev: Samples) -> list[Row]:
    """Return each family's error at the last N over all disjoint pilots, and N* of each."""
    most = min(len(r) for r in dev.right)
    truth = dev.curves("pass", most).mean(axis=0)
    gains = np.diff(truth) < EPSILON
    point = int(np.argmax(gains)) + 1 if gains.any() else None
    found: dict[str, list[tuple[float, float]]] = {}
    for start in range(0, most - PILOT + 1, PILOT):
        own = [r[start : start + PILOT] for r in dev.right]
        pilot = Samples(own, own, own)  # type: ignore[arg-type]
        counts = np.asarray([r.sum() for r in own], dtype=np.int64)
        for name, curve in fit_all("pass", pilot.curves("pass", PILOT), counts).items():
            error = float(curve.at([most])[0]) - float(truth[-1])
            found.setdefault(name, []).append((error, float(saturation_point(curve, EPSILON))))
    return [
        {"family": name, "truth": round(float(truth[-1]), 4), "N* of the truth": point, "at": most,
         "errors": [round(e, 3) for e, _ in own], "N*": [round(n) for _, n in own]}
        for name, own in found.items()
    ]  # fmt: skip


def planned(sweep: Path, reference: Path, test: Sequence[List], budgets: Sequence[int]) -> list[Row]:
    """Return each plan: its gains on development problems, and what it gets on test problems, by replay.

    A plan whose settings are not all best of N needs a run: its row has no ``deployed``.
    """
    swept = read_swept(sweep, reference, "predicted", PROBES)
    rows: list[Row] = []
    plans: set[tuple[int, tuple[int, ...]]] = set()
    for budget in budgets:
        for across in (False, True):
            fitted = fit_plan(
                swept, "predicted", levels=5, folds=2, budget=budget, probes=PROBES, across=across
            )
            if (budget, fitted.table.chosen) in plans:
                continue  # across gave the same plan
            plans.add((budget, fitted.table.chosen))
            rows.append({"budget": budget, "across": across, **_gains(fitted), **_deployed(fitted, test)})
    return rows


def _gains(fitted: FittedPlan) -> Row:
    held = gain_of(fitted.held_out)
    names = [fitted.swept.candidates[s].name for s in fitted.table.chosen]
    return {
        "plan": names, "single": fitted.swept.candidates[fitted.single].name,
        "in sample": round(fitted.own.gain, 4),
        "cross-validated": [round(x, 4) for x in (held.value, held.low, held.high)],
    }  # fmt: skip


def _deployed(fitted: FittedPlan, test: Sequence[List]) -> Row:
    nodes = [fitted.swept.candidates[s].node for s in fitted.table.chosen]
    if any(not str(node["_target_"]).endswith("BestOfN") for node in nodes):
        return {}
    numbers = [int(node["num_samples"]) for node in nodes]
    own = [_follow(each, fitted.table.cuts, numbers) for each in test]
    reference = [uniform_at_tokens(each, float(a.tokens.mean())) for each, a in zip(test, own, strict=True)]
    return {"deployed": row("plan", "", own, reference)}


def _follow(samples: List, cuts: Sequence[float], numbers: Sequence[int]) -> Answered:
    """Return what strategy=compute_optimal answers and costs: its settings continue the probes."""
    probes = 0 if len({*numbers}) == 1 else PROBES
    under = {n: samples.first(n) for n in {*numbers, *([probes] if probes else [])}}
    eases = [_ease(each[:PROBES]) for each in samples.problems]
    chosen = [numbers[sum(ease < cut for cut in cuts)] for ease in eases]
    paid = [max(n, probes) for n in chosen]

    def column(name: str, of: Sequence[int]) -> Floats:
        return np.asarray([getattr(under[n], name)[i] for i, n in enumerate(of)])

    return Answered(
        column("right", chosen), *(column(c, paid) for c in ("samples", "tokens", "sequential", "calls"))
    )


def _ease(probes: Problem) -> float:
    """Return the mean reward of the probes, as strategies/compute_optimal.py has it."""
    return float(np.mean([as_it_is(s.reward) if s.finished else 0.0 for s in probes]))
