"""Spend compute by difficulty: probe a problem, and solve it as a plan says for problems of its level.

Snell et al., "Scaling LLM Test-Time Compute Optimally can be More Effective than Scaling Model Parameters",
https://arxiv.org/abs/2408.03314. The level is predicted from the mean final reward of a few samples:

    theta = plan(mean reward of the probes),    the answer is that of theta

The paper predicts from 2,048 samples and does not charge them. Here the probes are the first samples of the
problem's list and are charged; a setting that samples (best_of_n, votes) continues the list, so that they are
not in addition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import ClassVar, cast

from orchestrator.schema import Count, checked
from orchestrator.search.session import Session
from orchestrator.search.strategy import Budgeted, Strategy
from orchestrator.types import Sampling, Solution, Trajectory
from strategies.parts.nested import Nested
from strategies.parts.plan import Continued, Plan
from strategies.parts.population import Population, fresh
from strategies.parts.selection import conclude
from strategies.parts.weights import log_odds_of, reward_of


@dataclass(frozen=True)
@checked("strategy")
class ComputeOptimal:
    """A plan's setting for each problem, chosen by ``probes`` samples; ``otherwise`` without a plan.

    Budget N: that of the plan, a mean over problems. ``Solution.log_weights``: those of the setting. A plan
    with one setting for all levels draws no probes.
    """

    budget_knob: ClassVar[str | None] = None
    independent_samples: ClassVar[bool] = False

    sampling: Sampling
    otherwise: Strategy
    plan: Plan | None = None
    probes: Count = 4

    @property
    def readouts(self) -> tuple[str, ...]:
        """Those that every setting can use; the probes take either."""
        needs_rewards = self.plan is not None or self._nested.needs_rewards
        return self._nested.readouts(("per_step", "whole")) if needs_rewards else ()

    @property
    def whole_answers(self) -> bool:
        """Whether every setting requests whole answers alone, as the probes are."""
        return self._nested.whole_answers

    @property
    def prompts(self) -> bool:
        """Whether a setting asks anything else than the task's question."""
        return self._nested.prompts

    @property
    def in_chat(self) -> bool:
        """Whether a setting shows earlier turns of a chat."""
        return self._nested.in_chat

    @property
    def knows_answers(self) -> bool:
        """Whether a setting uses the reference answers."""
        return self._nested.knows_answers

    @property
    def num_answers(self) -> int | None:
        """Those of the setting that draws most, and the probes, which not every setting continues."""
        own = self._nested.num_answers
        has_probes = self.plan is not None and not self.plan.is_one_setting
        return None if own is None else own + has_probes * self.probes

    @property
    def _nested(self) -> Nested:
        return Nested(self.plan.settings if self.plan else (self.otherwise,))

    async def solve(self, session: Session) -> Solution:
        if self.plan is None:
            return await self.otherwise.solve(session)
        if self.plan.is_one_setting:
            return await self.plan.setting(0.0).solve(session)
        return await self._by_level(session, self.plan)

    async def _by_level(self, session: Session, plan: Plan) -> Solution:
        starts, numbers = fresh(self.probes).particles, range(self.probes)
        sampled = await session.generate(starts, self.sampling, to_end=True, samples=numbers)
        drawn = await session.score(sampled)
        if session.exhausted:
            log_weights = tuple(log_odds_of(t, "last") for t in drawn)
            return await conclude(session, Population(tuple(drawn), log_weights), (), "argmax", "last")
        setting = plan.setting(mean_reward(drawn))
        if isinstance(setting, Budgeted) and setting.independent_samples:
            return await setting.solve(cast(Session, Continued(session, drawn, self.sampling)))
        return await setting.solve(session)


def mean_reward(samples: Sequence[Trajectory]) -> float:
    """Return the mean of the last rewards in [0, 1]; a sample without an end or a reward counts as 0."""
    return fmean(reward_of(t, "last").value for t in samples)
