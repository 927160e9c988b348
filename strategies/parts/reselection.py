"""Choose another answer among the candidates of a finished search, without any model.

This is the final choice of most strategies, so that ``python -m orchestrator.replay`` can repeat it with
other knobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.schema import Positive, checked
from orchestrator.search.session import Session
from orchestrator.types import Trajectory
from strategies.parts.selection import Selection, select
from strategies.parts.weights import Aggregation, LogWeights, log_odds_of

Weights = Literal["stored", "rewards"]


@dataclass(frozen=True)
@checked("strategy")
class Reselection:
    """One selection over finished trajectories.

    ``weights`` are the search's own (``stored``), or the log-odds of the aggregated reward over
    ``selection_temperature`` (``rewards``), as best of N weighs its samples. ``aggregation`` is of step
    rewards; it ranks candidates in ``argmax`` and in ties.
    """

    selection: Selection
    aggregation: Aggregation = "last"
    weights: Weights = "stored"
    selection_temperature: Positive = 1.0

    async def choose(
        self, session: Session, trajectories: Sequence[Trajectory], log_weights: LogWeights
    ) -> int | None:
        """Return the answer's index; None when there are no trajectories."""
        if self.weights == "rewards":
            log_odds = (log_odds_of(t, self.aggregation) for t in trajectories)
            log_weights = tuple(x / self.selection_temperature for x in log_odds)
        return await select(session, trajectories, log_weights, self.selection, self.aggregation)
