"""One vote over sampled answers, for any kind of sampling: self-consistency, and HEX of masked diffusion.

Votes are counted over equivalent answers, never over raw strings; weighted by reward, an answer's votes
are the sum of its samples' rewards (Li et al., arXiv 2206.02336); weighted by likelihood, the sum of their
likelihoods under the policy, each to the power of 1 / length (the "normalised" sum of Wang et al.,
arXiv 2203.11171); weighted by shortness, the sum of 1 / length, since right answers are the shorter ones in
"Think Deep, Think Fast" (arXiv 2504.14047; the form of the weight is ours).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, runtime_checkable

from orchestrator.schema import CountOrZero, checked
from orchestrator.search.session import Session
from orchestrator.types import P, Solution, Trajectory
from strategies.parts import checks
from strategies.parts.drawing import Drawing
from strategies.parts.pruning import Prune, check_alone, points_of
from strategies.parts.stopping import DECIDED, Stop
from strategies.parts.tilting import Tilt, tilted
from strategies.parts.voting import argmax, candidates, lead, vote
from strategies.parts.weights import Aggregation, log_odds_of, log_sigmoid

VoteWeightName = Literal["count", "reward", "likelihood", "shortness"]
VOTE_WEIGHTS: tuple[VoteWeightName, ...] = ("count", "reward", "likelihood", "shortness")
TieBreakName = Literal["earliest", "likelihood"]


@runtime_checkable
class Measure(Protocol):
    """Return a number for a sampled trajectory: its vote in [0, 1], or its preference in a tie.

    The trajectory has texts, tokens and log-probabilities; it has rewards where votes are weighted by them.
    """

    def __call__(self, trajectory: Trajectory, /) -> float: ...


VoteWeight = VoteWeightName | Measure
Tilted = Literal["tilt"]
TieBreak = TieBreakName | Measure


@dataclass(frozen=True)
@checked("strategy")
class MajorityVote(Generic[P]):
    """One sampled answer for each of ``paths``, the decoding parameters of any kind of engine; then a vote.

    Ties: the answer with more samples, then the one with the path of greatest preference (``preferences``
    hold one number a path), the greatest reward where there are none, or the greatest likelihood
    (``tie_break="likelihood"``) or number that a function gives it, then the earliest path.
    ``Solution.log_weights``: the log of each sample's vote, 0 for a plain vote, else the log of its reward in
    [0, 1], of its likelihood a token, of 1 over its tokens, or of its tilted quantile over the greatest one.

    ``tilt`` t weighs a vote by exp(t C), C the share of the problem's samples with a lower reward: 0 counts
    votes, and with a great t the best sample decides. C is known once all samples are: it takes no waves.

    With a ``wave_size`` above 0 the paths are sampled in waves of that many, until the rule in ``stop``
    holds: by default, until no remaining vote could change the answer (a vote is 1 at most); 0 samples all in
    one call, or one by one for a rule with a level. With ``prune`` all are begun, and the worst are given up
    on the way.
    """

    paths: Sequence[P]
    weight: VoteWeight | Tilted = "count"
    aggregation: Aggregation = "last"
    tie_break: TieBreak = "earliest"
    wave_size: CountOrZero = 0
    preferences: Sequence[float] = ()
    stop: Stop = DECIDED
    prune: Prune = None
    tilt: Tilt = 3.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", tuple(self.paths))
        object.__setattr__(self, "preferences", tuple(self.preferences))
        checks.require(len(self.paths) > 0, "paths", self.paths, "must hold one path or more")
        whole = self.weight != "tilt" or self.wave_size == 0 or self.stop.rule != "decided"
        allowed = "must be 0 with weight=tilt and stop.rule=decided: a sample to come may change every vote"
        checks.require(whole, "wave_size", self.wave_size, allowed)
        fits = len(self.preferences) in (0, len(self.paths))
        checks.require(fits, "preferences", self.preferences, "must hold one number a path, or none")
        check_alone(self.prune, self.stop, self.wave_size)
        object.__setattr__(self, "prune", None if self.prune is None else points_of(self.prune))

    @property
    def scores(self) -> bool:
        """Whether samples are rewarded: for their votes, to stop at a reward, or to prune."""
        return self.weight in ("reward", "tilt") or self.stop.rule == "threshold" or self.prune is not None

    async def solve(self, session: Session) -> Solution:
        points = None if self.prune is None else points_of(self.prune)
        drawing = Drawing(self.paths, self.scores, self.aggregation, self.stop, self.wave_size, points)
        drawn = await drawing.draw(session, self._decided)
        return Solution(
            answer_index=await self._elect(session, drawn),
            trajectories=tuple(drawn.values()),
            log_weights=tuple(self._log_votes(list(drawn.values()))),
            usage=session.usage,
            params=tuple(self.paths[i] for i in drawn),
        )

    async def _decided(self, session: Session, drawn: Mapping[int, Trajectory], num_left: int) -> bool:
        votes = [math.exp(self._log_vote(t)) for t in drawn.values()]
        return lead(await session.answers(list(drawn.values())), votes) > num_left

    async def _elect(self, session: Session, drawn: Mapping[int, Trajectory]) -> int | None:
        if not drawn:
            return None
        trajectories = list(drawn.values())
        keys = await session.answers(trajectories)
        priorities = [self._priority(i, t) for i, t in drawn.items()]
        elected = vote(keys, priorities, [math.exp(x) for x in self._log_votes(trajectories)])
        if elected is not None:
            return elected
        offered = candidates(trajectories)
        return offered[argmax([priorities[i] for i in offered])]

    def _log_votes(self, trajectories: Sequence[Trajectory]) -> Sequence[float]:
        if self.weight == "tilt":
            return tilted([log_odds_of(t, self.aggregation) for t in trajectories], self.tilt)
        return [self._log_vote(t) for t in trajectories]

    def _log_vote(self, trajectory: Trajectory) -> float:
        if not isinstance(self.weight, str):
            return _log_of_vote(self.weight(trajectory))
        if self.weight == "count":
            return 0.0
        if self.weight == "likelihood":
            return log_likelihood(trajectory) / max(1, trajectory.num_tokens)
        if self.weight == "shortness":
            return -math.log(max(1, trajectory.num_tokens))
        return log_sigmoid(log_odds_of(trajectory, self.aggregation))

    def _priority(self, path: int, trajectory: Trajectory) -> float:
        if not isinstance(self.tie_break, str):
            return self.tie_break(trajectory)
        if self.tie_break == "likelihood":
            return log_likelihood(trajectory)
        return self.preferences[path] if self.preferences else log_odds_of(trajectory, self.aggregation)


def _log_of_vote(vote: float) -> float:
    if not 0 <= vote <= 1:  # else a vote that is decided early could change
        raise ValueError(f"a vote must be in [0, 1], and is {vote}")
    return math.log(vote) if vote else -math.inf


def log_likelihood(trajectory: Trajectory) -> float:
    """Return the sum of log p of a trajectory's tokens; -inf where the engine does not report it."""
    return math.fsum(-math.inf if s.logprob is None else s.logprob for s in trajectory.steps)
