"""What a search may spend before a larger model costs as much (Snell et al., arXiv 2408.03314, section 7).

With N parameters, D_pre tokens of pretraining and D_inf tokens of inference a model costs
6 N D_pre + 2 N D_inf FLOPs. A model of M times the parameters that answers once costs as much as this one if
this one generates

    k = M + 3 (D_pre / D_inf) (M - 1)

times the tokens of one answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.report.equal_cost import Cell, at_budgets
from orchestrator.report.levels import is_whole
from orchestrator.report.measures import Measured
from orchestrator.report.settings import Setting

COST = "generated_tokens"
SHARES = (0.16, 0.79, 22.0)
"""D_inf / D_pre as in the paper: far less inference than pretraining, about as much, far more."""


def exchange(times_larger: float, share: float) -> float:
    """Return how many answers' tokens equal one answer of a model ``times_larger`` the parameters.

    ``share`` is D_inf / D_pre, above 0.
    """
    return times_larger + 3.0 / share * (times_larger - 1.0)


@dataclass(frozen=True, slots=True)
class Exchange:
    """By series the point that each of ``factors`` pays for; a factor counts answers of ``unit`` tokens."""

    times_larger: float
    unit: float
    factors: tuple[float, ...]
    rows: Mapping[str, tuple[Cell | None, ...]]


def exchanged(
    setting: Setting, curves: Mapping[str, Sequence[Measured]], times_larger: float
) -> Exchange | None:
    """Return the table; None where no run shows what one answer costs."""
    unit = _answer_tokens(setting)
    if not unit:
        return None
    factors = tuple(exchange(times_larger, share) for share in SHARES)
    return Exchange(times_larger, unit, factors, at_budgets(curves, COST, [unit * k for k in factors]))


def _answer_tokens(setting: Setting) -> float:
    """Return the mean tokens of an independent sample, or of a greedy answer; 0 without any."""
    runs = [run for run in setting.runs if run.strategy == "greedy" or is_whole(run)]
    num = sum(sum(run.columns.num_candidates) for run in runs)
    return sum(sum(run.columns.generated_tokens) for run in runs) / num if num else 0.0
