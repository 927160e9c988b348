"""Let a draft write each step, a judge accept it, and the base rewrite the rest (speculative reasoning).

Pan et al., "SpecReason: Fast and Accurate Inference-Time Compute via Speculative Reasoning",
https://arxiv.org/abs/2504.07891. With p_d the draft, p_b the base, x a step and r its reward:

    P(x) = p_d(x) [r(x) >= accept] + p_b(x) P_d(r < accept)

Unlike speculative decoding this is not the base's distribution: what the judge lets pass stays the draft's.
With ``accept`` of 0 or less it is the draft's run, above 1 the base's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge

from orchestrator.schema import Count, CountOrZero, NotEmpty, Words, checked
from orchestrator.search.session import Session
from orchestrator.types import DraftRecord, Reward, Sampling, Solution, Trajectory
from strategies.parts.concurrent import concurrently
from strategies.parts.population import Population
from strategies.parts.selection import Selection, conclude
from strategies.parts.weights import Aggregation, log_odds_of, readouts_for

Judge = Literal["verifier", "likelihood"]
_Repeats = Annotated[int | None, Ge(2), Words("must be 2 or more, or null: no step is a repeated one")]


@dataclass(frozen=True)
@checked("strategy")
class Speculative:
    """``num_paths`` paths side by side, each of which the policies ``draft`` and ``base`` write together.

    Budget N: ``num_paths`` = N paths; refused drafts are beside it, a ``DraftRecord`` each. The judge is the
    run's verifier, or the base's ``likelihood`` of the step (the geometric mean over its tokens). The first
    ``first_base_steps`` are the base's. A path ends after ``max_steps``, at ``max_tokens``, or once its last
    ``repeats`` steps are equal. ``Solution.log_weights``: the aggregated reward's log-odds; 0 where the
    selection counts votes.
    """

    budget_knob: ClassVar[str] = "num_paths"
    independent_samples: ClassVar[bool] = False

    num_paths: Count = 1
    draft: NotEmpty = "draft"
    base: NotEmpty = "engine"
    judge: Judge = "verifier"
    accept: float = 0.7777
    first_base_steps: CountOrZero = 0
    max_steps: Count = 40
    max_tokens: Count = 8192
    repeats: _Repeats = None
    sampling: Sampling = Sampling(0.6, 0.95, 512)
    draft_sampling: Sampling = Sampling(0.6, 0.95, 512)
    selection: Selection = "majority"
    aggregation: Aggregation = "last"

    @property
    def readouts(self) -> tuple[str, ...]:
        return readouts_for(self.aggregation) if self._verifies or self._chooses else ()

    @property
    def policies(self) -> tuple[str, ...]:
        """The policies that it asks: above an ``accept`` of 1 nothing is drafted."""
        return (self.base,) if self.accept > 1 else (self.draft, self.base)

    @property
    def _verifies(self) -> bool:
        """Whether the verifier decides: at its limits every draft is accepted, or none is made."""
        return self.judge == "verifier" and 0 < self.accept <= 1

    @property
    def _chooses(self) -> bool:
        return self.selection != "majority"

    async def solve(self, session: Session) -> Solution:
        scopes = [session.fork(f"path {i}") for i in range(self.num_paths)]
        records: list[list[DraftRecord]] = [[] for _ in scopes]
        paths = await concurrently(self._write(scope, i, records[i]) for i, scope in enumerate(scopes))
        if self._chooses:
            paths = await session.score(paths)
        rewarded = all(t.steps and t.steps[-1].reward is not None for t in paths)
        weights = tuple(log_odds_of(t, self.aggregation) if rewarded else 0.0 for t in paths)
        history = [record for own in records for record in own]
        return await conclude(
            session, Population(tuple(paths), weights), history, self.selection, self.aggregation
        )

    async def _write(self, session: Session, number: int, records: list[DraftRecord]) -> Trajectory:
        """Return a path, and add a record for each of its drafts."""
        path = Trajectory()
        for step in range(1, self.max_steps + 1):
            before = len(path.steps)
            if self.accept > 1 or step <= self.first_base_steps:
                path = await self._extend(session, path, self.base, self.sampling)
            else:
                path = await self._speculate(session, path, number, records)
            if len(path.steps) == before or not path.active or session.exhausted or self._is_stuck(path):
                break
        return path

    async def _speculate(
        self, session: Session, path: Trajectory, number: int, records: list[DraftRecord]
    ) -> Trajectory:
        """Return the path with a draft that the judge accepts, or else with a step of the base."""
        drafted = await self._extend(session, path, self.draft, self.draft_sampling)
        if len(drafted.steps) == len(path.steps):
            return path
        judged, reward = await self._judged(session, path, drafted)
        accepted, last = reward is None or reward.reaches(self.accept), judged.steps[-1]
        value = None if reward is None else reward.value
        records.append(DraftRecord(number, len(judged.steps), accepted, value, len(last.token_ids)))
        if accepted:
            return judged
        # What the judge has read of the path keeps its rewards.
        kept = judged.with_steps(judged.steps[:-1])
        return await self._extend(session, kept, self.base, self.sampling)

    async def _extend(
        self, session: Session, path: Trajectory, policy: str, sampling: Sampling
    ) -> Trajectory:
        """Return the path with a step by a policy, unless a limit withholds it or the path is full."""
        room = self.max_tokens - path.num_tokens
        if room <= 0:
            return path
        (extended,) = await session.generate([path], sampling.clip(room), policy=policy)
        return extended

    async def _judged(
        self, session: Session, path: Trajectory, drafted: Trajectory
    ) -> tuple[Trajectory, Reward | None]:
        """Return the draft with what the verifier said, and its reward; None where nothing judged it."""
        if self._verifies:
            (judged,) = await session.score([drafted])
            return judged, judged.steps[-1].reward
        if self.accept <= 0:
            return drafted, None
        step = drafted.steps[-1]
        (loglik,) = await session.loglik(path, [step], policy=self.base)
        if math.isnan(loglik):
            return drafted, None
        return drafted, Reward.from_value(min(1.0, math.exp(loglik / max(1, len(step.token_ids)))))

    def _is_stuck(self, path: Trajectory) -> bool:
        if self.repeats is None or len(path.steps) < self.repeats:
            return False
        return len({step.text for step in path.steps[-self.repeats :]}) == 1
