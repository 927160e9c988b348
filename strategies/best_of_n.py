"""Sample whole answers, let the verifier score them, and take the best (best of N).

Cobbe et al., "Training Verifiers to Solve Math Word Problems", https://arxiv.org/abs/2110.14168. With R_i the
aggregated step rewards of answer i, the answer is

    argmax_i R_i,    or drawn from softmax(logit(R) / selection_temperature).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from orchestrator.schema import Count, Positive, checked
from orchestrator.search.session import Session
from orchestrator.types import Sampling, Solution
from strategies.parts.population import Population, fresh
from strategies.parts.selection import AnswerRule, conclude
from strategies.parts.weights import Aggregation, log_odds_of, readouts_for


@dataclass(frozen=True)
@checked("strategy")
class BestOfN:
    """N independent samples in one call, with one reward call per sample.

    Budget N: ``num_samples`` = N. ``Solution.log_weights``: the aggregated reward's log-odds over the
    selection temperature; -inf where a limit left a sample unscored.
    """

    budget_knob: ClassVar[str] = "num_samples"
    independent_samples: ClassVar[bool] = True
    whole_answers: ClassVar[bool] = True

    num_samples: Count
    sampling: Sampling
    aggregation: Aggregation = "last"
    selection: Literal["argmax", "sample"] | AnswerRule = "argmax"
    selection_temperature: Positive = 1.0

    @property
    def readouts(self) -> tuple[str, ...]:
        return readouts_for(self.aggregation)

    async def solve(self, session: Session) -> Solution:
        starts = fresh(self.num_samples).particles
        sampled = await session.generate(starts, self.sampling, to_end=True)
        scored = tuple(await session.score(sampled))
        log_odds = (log_odds_of(t, self.aggregation) for t in scored)
        log_weights = tuple(x / self.selection_temperature for x in log_odds)
        return await conclude(session, Population(scored, log_weights), (), self.selection, self.aggregation)
