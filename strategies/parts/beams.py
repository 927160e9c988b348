"""Search by reward without randomness: the best slots survive and share the slots of the next step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from orchestrator.search.session import Session
from orchestrator.types import Sampling, StepRecord, Trajectory
from strategies.parts.population import Choose, Population, by_one_step, fresh, pick, propagate
from strategies.parts.weighting import Absolute
from strategies.parts.weights import Aggregation, LogWeights, log_odds_of


def distinct(trajectories: Sequence[Trajectory]) -> list[int]:
    """Return the first index of each token sequence."""
    first: dict[tuple[int, ...], int] = {}
    for i, trajectory in enumerate(trajectories):
        first.setdefault(trajectory.token_ids, i)
    return list(first.values())


def survivors(
    particles: Sequence[Trajectory], scores: Sequence[float], slots: Sequence[int], keep: int
) -> list[int]:
    """Return the ``keep`` best distinct ones among ``slots``, best first; a tie goes to the first slot.

    Truncated trajectories cannot become an answer: they survive only where there are no others.
    """
    different = [slots[i] for i in distinct([particles[i] for i in slots])]
    useful = [i for i in different if not particles[i].truncated] or different
    return sorted(useful, key=lambda i: -scores[i])[:keep]


def shared(particles: Sequence[Trajectory], kept: Sequence[int], num_slots: int) -> list[int]:
    """Return ``num_slots`` ancestors: one slot for each ended one, the rest evenly for those still active.

    The best come first and take the remainder. Where none is active the ended ones fill all slots.
    """
    ended = [i for i in kept if not particles[i].active]
    active = [i for i in kept if particles[i].active]
    if not active:
        return [ended[i % len(ended)] for i in range(num_slots)]
    ended = ended[: num_slots - 1]
    each, rest = divmod(num_slots - len(ended), len(active))
    return ended + [i for rank, i in enumerate(active) for _ in range(each + (rank < rest))]


def split_slots(num_slots: int, num_groups: int) -> list[range]:
    """Return consecutive groups of slots, as even as possible."""
    each, rest = divmod(num_slots, num_groups)
    starts = [g * each + min(g, rest) for g in range(num_groups + 1)]
    return [range(a, b) for a, b in pairwise(starts)]


@dataclass
class LastRounds:
    """The beams of each group in its last round: that after which no surviving beam is active."""

    groups: list[range]
    _last: dict[range, Population] = field(default_factory=dict)

    def note(self, slots: range, kept: Sequence[int], population: Population) -> None:
        """Note the round where it is the group's last: later ones hold copies of the survivors."""
        if not any(population.particles[i].active for i in kept):
            self._last.setdefault(slots, pick(population, slots).population)

    def beams(self, population: Population) -> Population:
        """Return the beams of all groups; ``population`` is the last of those still active."""
        last = [self._last.get(slots, pick(population, slots).population) for slots in self.groups]
        particles = tuple(t for p in last for t in p.particles)
        return Population(particles, tuple(w for p in last for w in p.log_weights))


def without_copies(population: Population) -> Population:
    """Return one slot for each token sequence."""
    indices = distinct(population.particles)
    particles = tuple(population.particles[i] for i in indices)
    return Population(particles, tuple(population.log_weights[i] for i in indices))


async def rewards_ahead(
    session: Session, population: Population, sampling: Sampling, num_steps: int, aggregation: Aggregation
) -> LogWeights:
    """Return log-odds after ``num_steps`` more greedy steps, which are then discarded; 0: current ones."""
    if num_steps == 0:
        return population.log_weights
    greedy = Sampling(temperature=0.0, max_tokens=sampling.max_tokens)
    ahead: Sequence[Trajectory] = population.particles
    for _ in range(num_steps):
        ahead = await session.generate(ahead, greedy)
    return tuple(log_odds_of(t, aggregation) for t in await session.score(ahead))


async def search_by_reward(
    session: Session,
    num_slots: int,
    *,
    max_steps: int,
    sampling: Sampling,
    aggregation: Aggregation,
    choose: Choose,
) -> tuple[Population, tuple[StepRecord, ...]]:
    """Search from empty slots; log-weights are the log-odds of the aggregated reward of now, unclipped."""
    return await propagate(
        session,
        fresh(num_slots),
        max_steps=max_steps,
        extend=by_one_step(session, sampling),
        weigh=Absolute(aggregation, epsilon=0.0).weigh,
        choose=choose,
    )
