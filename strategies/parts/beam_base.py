"""What beam searches share: their knobs, and the search that these describe."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from orchestrator.schema import Count, CountOrZero, checked
from orchestrator.search.session import Session
from orchestrator.types import Sampling, Solution
from strategies.parts.beams import (
    LastRounds,
    rewards_ahead,
    search_by_reward,
    shared,
    split_slots,
    survivors,
    without_copies,
)
from strategies.parts.population import Choice, Choose, Population, pick
from strategies.parts.selection import Selection, conclude
from strategies.parts.weights import Aggregation, readouts_for


@dataclass(frozen=True)
@checked("strategy")
class BeamBase(ABC):
    """N slots in one group or several, of which the best distinct ones of each group survive each step.

    Beams are distinct token sequences, those that have ended compete with the others and keep one slot, and
    the results are distinct too. Each step of ``look_ahead`` costs up to the same again.
    ``Solution.log_weights``: the log-odds of the aggregated reward.
    """

    budget_knob: ClassVar[str] = "num_beams"
    independent_samples: ClassVar[bool] = False

    num_beams: Count = 8
    max_steps: Count = 40
    sampling: Sampling = Sampling()
    branching: Count = 4
    look_ahead: CountOrZero = 0
    aggregation: Aggregation = "last"
    selection: Selection = "argmax"

    def __post_init__(self) -> None:
        self.check_own()

    @abstractmethod
    def check_own(self) -> None:
        """Raise ConfigError for a knob of this search alone."""

    @property
    def readouts(self) -> tuple[str, ...]:
        return readouts_for(self.aggregation)

    @abstractmethod
    async def solve(self, session: Session) -> Solution: ...

    async def search(
        self, session: Session, *, branching: int, num_subtrees: int, offers_rounds: bool = False
    ) -> Solution:
        """Search with 1 / ``branching`` of each group's slots surviving a step, at least one slot.

        ``offers_rounds`` offers every beam of each group's last round, drawn copies included.
        """
        rounds = LastRounds(split_slots(self.num_beams, num_subtrees))
        population, history = await search_by_reward(
            session,
            self.num_beams,
            max_steps=self.max_steps,
            sampling=self.sampling,
            aggregation=self.aggregation,
            choose=self._choose(session, branching, rounds),
        )
        offered = rounds.beams(population) if offers_rounds else without_copies(population)
        return await conclude(session, offered, history, self.selection, self.aggregation)

    def _choose(self, session: Session, branching: int, rounds: LastRounds) -> Choose:
        async def choose(step: int, population: Population) -> Choice:
            # No step follows the last one.
            num_ahead = min(self.look_ahead, self.max_steps - step)
            scores = await rewards_ahead(session, population, self.sampling, num_ahead, self.aggregation)
            ancestors: list[int] = []
            for slots in rounds.groups:
                keep = max(1, len(slots) // branching)
                kept = survivors(population.particles, scores, slots, keep)
                rounds.note(slots, kept, population)
                ancestors += shared(population.particles, kept, len(slots))
            return pick(population, ancestors)

        return choose
