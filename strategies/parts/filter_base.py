"""What particle filters share: their knobs, and the search that these describe."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Lt

from orchestrator.schema import Count, Probability, checked
from orchestrator.search.session import Session
from orchestrator.types import Sampling, Solution
from strategies.parts import checks
from strategies.parts.choosing import LookAhead, now_only, resample_by
from strategies.parts.population import by_one_step, fresh, propagate
from strategies.parts.resampling import Scheme
from strategies.parts.selection import Selection, conclude
from strategies.parts.tempering import Tempering
from strategies.parts.weighting import Weighting, WeightingName, weighting
from strategies.parts.weights import Aggregation, readouts_for


@dataclass(frozen=True)
@checked("strategy")
class FilterBase(ABC):
    """N particles, weighed and resampled step by step; a filter adds its tempering and look-ahead."""

    budget_knob: ClassVar[str] = "num_particles"
    independent_samples: ClassVar[bool] = False

    num_particles: Count = 8
    max_steps: Count = 40
    sampling: Sampling = Sampling()
    weighting: WeightingName | Weighting = "absolute"
    aggregation: Aggregation = "last"
    resampling: Scheme = "multinomial"
    ess_threshold: Probability = 1.0
    epsilon: Annotated[float, Ge(0), Lt(0.5)] = 1e-7
    selection: Selection = "argmax"

    def __post_init__(self) -> None:
        gated = self.weighting == "absolute" and self.ess_threshold < 1
        allowed = "must be 1.0 with absolute weighting, which forgets what a skipped resampling would do"
        checks.require(not gated, "ess_threshold", self.ess_threshold, allowed)
        self.check_own()

    @abstractmethod
    def check_own(self) -> None:
        """Raise ConfigError for a knob of this filter alone."""

    @property
    def readouts(self) -> tuple[str, ...]:
        return readouts_for(self.aggregation)

    @abstractmethod
    async def solve(self, session: Session) -> Solution: ...

    async def search(
        self,
        session: Session,
        tempering: Tempering,
        look_ahead: LookAhead = now_only,
        *,
        final_resample: bool = False,
    ) -> Solution:
        """Filter to the end; ``final_resample`` resamples after the last step too."""
        weighed_by = weighting(self.weighting, self.aggregation, self.epsilon)
        population, history = await propagate(
            session,
            fresh(self.num_particles),
            max_steps=self.max_steps,
            extend=by_one_step(session, self.sampling),
            weigh=weighed_by.weigh,
            choose=resample_by(
                session.rng,
                weighed_by,
                self.resampling,
                tempering=tempering,
                ess_threshold=self.ess_threshold,
                look_ahead=look_ahead,
            ),
            final_choice=final_resample,
        )
        return await conclude(session, population, history, self.selection, self.aggregation)
