"""The response surface of a sweep in which several knobs of one strategy vary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.allocation.plans import Floats, Table
from orchestrator.allocation.response import Response, best_knobs, fit_response
from orchestrator.planning.outcomes import Candidate, Swept
from orchestrator.report.settings import flat


@dataclass(frozen=True)
class KnobSurface:
    """A fit to the settings of one strategy; ``best`` are the knobs of the greatest forecast."""

    strategy: str
    knobs: Sequence[str]
    response: Response
    best: Sequence[float]
    forecast: float


def knob_surfaces(swept: Swept, table: Table, budget: float) -> list[KnobSurface]:
    """Return a surface for each strategy with several knobs that vary; none where all vary as one."""
    rows: dict[str, list[int]] = {}
    for i, candidate in enumerate(swept.candidates):
        rows.setdefault(candidate.runs[0].strategy, []).append(i)
    found = [_surface(name, own, swept, table, budget) for name, own in rows.items() if len(own) > 3]
    return [surface for surface in found if surface is not None]


def _surface(name: str, rows: Sequence[int], swept: Swept, table: Table, budget: float) -> KnobSurface | None:
    values = [_numbers(swept.candidates[i]) for i in rows]
    varying = [k for k in values[0] if len({v.get(k) for v in values}) > 1 and all(k in v for v in values)]
    columns = {k: np.asarray([v[k] for v in values]) for k in varying}
    names = [
        k for i, k in enumerate(varying) if not any(_is_same(columns[k], columns[o]) for o in varying[:i])
    ]
    if len(names) < 2:
        return None
    knobs = np.stack([columns[k] for k in names], axis=1)
    levels = table.levels(swept.plain.ease)
    accuracy = swept.plain.accuracy[list(rows)]
    parts = [accuracy[:, levels == level].mean(axis=1) for level in np.unique(levels)]
    gains = [first_gains(knobs, part) for part in parts]
    design = np.concatenate([knobs] * len(parts))
    repeated = np.concatenate([np.tile(g, (len(rows), 1)) for g in gains])
    response = fit_response(design, repeated, np.concatenate(parts))
    mean_gains = np.mean(gains, axis=0)
    costs = swept.plain.cost[list(rows)].mean(axis=1)
    try:
        best = best_knobs(response, knobs, mean_gains, costs, budget)
    except ValueError:
        return None
    forecast = float(response.accuracy(knobs[best], mean_gains))
    return KnobSurface(name, names, response, knobs[best].tolist(), forecast)


def _numbers(candidate: Candidate) -> Mapping[str, float]:
    """Return the knobs that are numbers."""
    knobs = flat(candidate.node)
    return {k: float(v) for k, v in knobs.items() if isinstance(v, int | float) and not isinstance(v, bool)}


def _is_same(one: Floats, other: Floats) -> bool:
    """Return whether two knobs follow from each other, as all do that are set by the budget."""
    return (
        len({*zip(one.tolist(), other.tolist(), strict=True)})
        == len({*one.tolist()})
        == len({*other.tolist()})
    )


def first_gains(knobs: Floats, accuracies: Floats) -> Floats:
    """Return for each knob the mean accuracy at its second value minus that at its least."""
    gains = []
    for column in knobs.T:
        least, second, *_ = np.unique(column)
        gains.append(float(accuracies[column == second].mean() - accuracies[column == least].mean()))
    return np.asarray(gains)
