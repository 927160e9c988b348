"""Numbered samples in waves, until a rule stops them, or all at once with the worst ones pruned."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

from orchestrator.allocation.bids import Bid
from orchestrator.allocation.rounds import Rounds
from orchestrator.search.session import Session
from orchestrator.types import P, Trajectory
from strategies.parts.pruning import Points, pruned
from strategies.parts.stopping import NEVER, Stop, confidence_of
from strategies.parts.weights import Aggregation, reward_of

Drawn = Mapping[int, Trajectory]
"""Samples by their numbers, in their order; without those that a limit withheld."""

Decided = Callable[[Session, Drawn, int], Awaitable[bool]]
"""Whether no sample still to come can change the answer: for the samples so far, and how many are left."""


@dataclass(frozen=True)
class Drawing(Generic[P]):
    """How samples are drawn: number i with the parameters ``paths[i]``, scored where ``scores``.

    Where samples are granted, there is a path for each one that a problem may have.
    """

    paths: Sequence[P]
    scores: bool
    aggregation: Aggregation
    stop: Stop = NEVER
    wave_size: int = 0
    prune: Points | None = None

    async def draw(self, session: Session, decided: Decided) -> dict[int, Trajectory]:
        """Return the samples that the rule lets be drawn."""
        if self.prune is not None:
            texts = await pruned(session, self.paths, self.prune, self.aggregation)
            return {i: t for i, t in enumerate(texts) if t.steps}
        if session.rounds is not None:
            return await self._granted(session, session.rounds)
        drawn: dict[int, Trajectory] = {}
        num, size = len(self.paths), self.stop.wave_size(self.wave_size, len(self.paths))
        for start in range(0, num, size):
            drawn |= await self.sample(session, range(start, min(start + size, num)))
            num_left = num - start - size
            if session.exhausted or (num_left > 0 and await self._stops(session, drawn, num_left, decided)):
                break
        return drawn

    async def _granted(self, session: Session, rounds: Rounds) -> dict[int, Trajectory]:
        """Draw the first samples, then what the problem is granted for its bids."""
        drawn = await self.sample(session, range(session.num_first))
        prior: Sequence[float] = ()
        if rounds.pools and not session.exhausted:
            prior = await session.prior(self._rewards(drawn))
        while not session.exhausted and session.num_left >= rounds.parcel:
            if not self._reaches(drawn, rounds.floor(len(drawn))):
                break
            bid = Bid(await self._gain(session, drawn, rounds, prior), rounds.parcel)
            num_more = rounds.parcel * await session.grant(bid)
            if not num_more:
                break
            drawn |= await self.sample(session, range(len(drawn), len(drawn) + num_more))
        return drawn

    async def _gain(self, session: Session, drawn: Drawn, rounds: Rounds, prior: Sequence[float]) -> float:
        if rounds.gain == "vote":
            return 1.0 - confidence_of(await session.answers(list(drawn.values())))
        return rounds.worth(self._rewards(drawn), prior)

    def _rewards(self, drawn: Drawn) -> list[float]:
        """Return the reward of each sample, as a value."""
        return [reward_of(t, self.aggregation).value for t in drawn.values()]

    def _reaches(self, drawn: Drawn, level: float) -> bool:
        """Return whether a sample's reward is the level or more; at 0 any sample is enough."""
        return any(reward_of(t, self.aggregation).reaches(level) for t in drawn.values())

    async def sample(self, session: Session, wave: range) -> dict[int, Trajectory]:
        """Return some samples by number, without those that a limit withheld."""
        ahead = range(wave.stop, min(wave.stop + self.stop.ahead, len(self.paths)))
        if ahead and session.rounds is None:
            session.expect([self.paths[i] for i in ahead], samples=ahead)
        starts, paths = [Trajectory()] * len(wave), [self.paths[i] for i in wave]
        sampled = await session.generate(starts, paths, to_end=True, samples=wave)
        if self.scores:
            sampled = await session.score(sampled)
        return {i: t for i, t in zip(wave, sampled, strict=True) if t.steps}

    async def _stops(self, session: Session, drawn: Drawn, num_left: int, decided: Decided) -> bool:
        if self.stop.rule == "none":
            return False
        if self.stop.rule == "decided":
            return await decided(session, drawn, num_left)
        if self.stop.rule == "threshold":
            return self._reaches(drawn, self.stop.level)
        return confidence_of(await session.answers(list(drawn.values()))) >= self.stop.level
