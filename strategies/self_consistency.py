"""Sample several whole answers and take the one that most of them agree on (self-consistency).

Wang et al., "Self-Consistency Improves Chain of Thought Reasoning in Language Models",
https://arxiv.org/abs/2203.11171:

    answer = argmax_a  sum over the samples i whose answer is equivalent to a of  weight_i,

where weight_i is 1 (``count``), the sample's reward in [0, 1] (``reward``, Li et al.,
https://arxiv.org/abs/2206.02336), its likelihood a token (``likelihood``), 1 over its number of tokens
(``shortness``), the chance of being right that a logistic regression gives its text (``features``, after
"Think Deep, Think Fast", https://arxiv.org/abs/2504.14047), or exp(t C) with C the quantile of its reward
among the samples (``tilt``, InfAlign, https://arxiv.org/abs/2412.19792).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from orchestrator.schema import Count, CountOrZero, checked
from orchestrator.search.session import Session
from orchestrator.types import Sampling, Solution
from strategies.parts import checks
from strategies.parts.chooser import Chooser
from strategies.parts.features import VotePlan
from strategies.parts.majority_vote import MajorityVote, TieBreak, Tilted, VoteWeight
from strategies.parts.pruning import Prune
from strategies.parts.selection import AnswerRule, choose
from strategies.parts.stopping import DECIDED, Stop
from strategies.parts.temperatures import Temperatures, sampling_of
from strategies.parts.tilting import Tilt
from strategies.parts.weights import Aggregation, readouts_for

_NEEDS = "needs strategy.weight=features"


@dataclass(frozen=True)
@checked("strategy")
class SelfConsistency:
    """N samples and their vote, in waves of ``wave_size`` until the rule in ``stop`` holds.

    Budget N: ``num_samples`` = N; a plain vote makes no reward calls. To stop at a reward, and to prune,
    samples are rewarded: one call each, and one more at each point of ``prune``. A ``selection`` takes the
    place of the vote, with the votes as its weights.
    """

    budget_knob: ClassVar[str] = "num_samples"
    independent_samples: ClassVar[bool] = True
    whole_answers: ClassVar[bool] = True

    num_samples: Count = 8
    sampling: Sampling = Sampling()
    weight: VoteWeight | Tilted | Literal["features"] = "count"
    aggregation: Aggregation = "last"
    tie_break: TieBreak = "earliest"
    wave_size: CountOrZero = 0
    stop: Stop = DECIDED
    prune: Prune = None
    temperatures: Temperatures = "constant"
    tilt: Tilt = 3.0
    selection: Literal["mbr"] | AnswerRule | Chooser | None = None
    plan: VotePlan | None = None

    def __post_init__(self) -> None:
        by_text = self.weight == "features"
        allowed = "must be a file of python -m orchestrator.allocation features" if by_text else _NEEDS
        checks.require(by_text == (self.plan is not None), "plan", self.plan and self.plan.digest, allowed)
        object.__setattr__(self, "prune", self._vote().prune)
        fits = self.selection is None or self.wave_size == 0 or self.stop.rule != "decided"
        allowed = "must be 0 with a selection and stop.rule=decided, which is about the vote"
        checks.require(fits, "wave_size", self.wave_size, allowed)

    def _vote(self, most: int = 0) -> MajorityVote[Sampling]:
        num = max(self.num_samples, most)
        paths = [sampling_of(self.sampling, i, self.temperatures) for i in range(num)]
        how = (self.aggregation, self.tie_break, self.wave_size)
        return MajorityVote(paths, self._weight, *how, stop=self.stop, prune=self.prune, tilt=self.tilt)

    @property
    def _weight(self) -> VoteWeight | Tilted:
        if self.weight != "features":
            return self.weight
        assert self.plan is not None
        return self.plan

    @property
    def readouts(self) -> tuple[str, ...]:
        return readouts_for(self.aggregation) if self._vote().scores else ()

    async def solve(self, session: Session) -> Solution:
        solution = await self._vote(session.most).solve(session)
        if self.selection is None:
            return solution
        offered = solution.trajectories, solution.log_weights
        chosen = await choose(session, *offered, self.selection, self.aggregation)
        return replace(
            solution,
            answer_index=chosen.index,
            history=(*solution.history, *chosen.said),
            usage=session.usage,
        )
