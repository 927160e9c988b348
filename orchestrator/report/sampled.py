"""What independent samples show: where accuracy saturates, its bounds, and how reliable rewards are.

Read from the largest run of independent samples (best_of_n, votes) of the setting, with 8 samples or more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.allocation.bounds import Interval, bounds
from orchestrator.allocation.calibration import sigmoid
from orchestrator.allocation.reliability import Bin, Quality, bins, by_step, last_rewards
from orchestrator.allocation.saturation_study import Study, study
from orchestrator.allocation.surface import Surface, surface
from orchestrator.errors import ConfigError
from orchestrator.report.figures import Drawing
from orchestrator.report.levels import is_whole
from orchestrator.report.sample_figures import draw_reliability, draw_saturation, draw_surface
from orchestrator.report.settings import Setting
from orchestrator.samples.stored import StoredSamples, read_stored

PILOT, EPSILON = 8, 0.005
_FEW = 0.01  # of the samples: steps that fewer have reached are left out


@dataclass(frozen=True)
class Sampled:
    """The tables and figures; ``surface``, ``bins`` and ``steps`` are empty without rewards."""

    source: str
    num_samples: int
    study: Study
    bounds: Mapping[str, Interval]
    surface: Surface | None
    bins: Sequence[Bin]
    steps: Sequence[Quality]
    drawings: Sequence[Drawing]


def sampled(setting: Setting, prefix: str) -> Sampled | None:
    """Return what the largest run of independent samples shows; None where there is none of 8 samples."""
    runs = [
        (run.budget, series.name, run)
        for series in setting.series
        for point in series.points
        for run in point.runs[:1]
        if run.budget >= PILOT and is_whole(run)
    ]
    if not runs:
        return None
    budget, name, run = max(runs, key=lambda each: each[0])
    try:
        return _measured(read_stored(run.folder), f"{name} N={budget} seed {run.seed}", prefix)
    except ConfigError:  # no problem has ended with a candidate
        return None


def _measured(stored: StoredSamples, source: str, prefix: str) -> Sampled | None:
    samples = stored.samples.with_at_least(PILOT)
    if len(samples.right) < 2:
        return None
    most = min(len(right) for right in samples.right)
    found = study(samples, PILOT, EPSILON)
    has_rewards = stored.has_rewards
    rewards, right = last_rewards(stored.steps, stored.samples.right)
    reliable = bins(sigmoid(rewards), right) if has_rewards else []
    shape = surface(samples.right, samples.log_odds, most) if has_rewards else None
    drawings = [draw_saturation(found, prefix)]
    if shape:
        drawings.append(draw_surface(shape, prefix))
    if reliable:
        drawings.append(draw_reliability(reliable, prefix))
    steps = by_step(stored.steps, stored.samples.right) if has_rewards else []
    return Sampled(
        source=source,
        num_samples=most,
        study=found,
        bounds=bounds(samples.right, samples.log_odds, samples.keys, most),
        surface=shape,
        bins=reliable,
        steps=[q for q in steps if q.num >= _FEW * len(right)],
        drawings=drawings,
    )
