"""Populations of trajectories, and the one loop of all stepwise methods: extend, score, weigh, choose.

A method is what it passes to ``propagate``: how slots are extended, weighed, and chosen for the next step.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from orchestrator.search.session import Session
from orchestrator.types import Params, StepRecord, Trajectory
from strategies.parts.weights import LogWeights, effective_sample_size, normalise, normalised_entropy


@dataclass(frozen=True, slots=True)
class Population:
    """N particles and their log-weights, slot by slot."""

    particles: tuple[Trajectory, ...]
    log_weights: LogWeights

    @property
    def num_active(self) -> int:
        return sum(t.active for t in self.particles)


@dataclass(frozen=True, slots=True)
class Choice:
    """The population that takes the next step; ``ancestors[i]`` is the slot that slot i came from."""

    population: Population
    ancestors: tuple[int, ...]
    tempering: float = 1.0


Extend = Callable[[int, Population], Awaitable[Sequence[Trajectory]]]
Weigh = Callable[[Population, Sequence[Trajectory]], LogWeights]
Choose = Callable[[int, Population], Awaitable[Choice]]


def fresh(num_particles: int) -> Population:
    """Return empty trajectories of equal weight 1."""
    return Population((Trajectory(),) * num_particles, (0.0,) * num_particles)


def keep(population: Population) -> Choice:
    """Return every slot unchanged."""
    return Choice(population, tuple(range(len(population.particles))))


def pick(population: Population, ancestors: Sequence[int]) -> Choice:
    """Return slots by index, each with its log-weight."""
    particles = tuple(population.particles[i] for i in ancestors)
    log_weights = tuple(population.log_weights[i] for i in ancestors)
    return Choice(Population(particles, log_weights), tuple(ancestors))


async def extend_and_score(
    session: Session, trajectories: Sequence[Trajectory], params: Params | Sequence[Params]
) -> tuple[Trajectory, ...]:
    """Extend each trajectory by its next step, with that step's reward.

    One that has ended is returned unchanged, without a request to policy or verifier. Under a limit a
    step may be missing or unscored.
    """
    extended = await session.generate(trajectories, params)
    return tuple(await session.score(extended))


def by_one_step(session: Session, params: Params) -> Extend:
    """Extend every active slot by one scored step: the usual way."""

    async def extend(_: int, parents: Population) -> Sequence[Trajectory]:
        return await extend_and_score(session, parents.particles, params)

    return extend


async def propagate(
    session: Session,
    population: Population,
    *,
    max_steps: int,
    extend: Extend,
    weigh: Weigh,
    choose: Choose,
    final_choice: bool = False,
) -> tuple[Population, tuple[StepRecord, ...]]:
    """Take at most ``max_steps`` steps, until no particle is active or a limit is reached.

    Nothing is chosen after the last step, unless ``final_choice``: the best finished particle cannot be
    lost between its last reward and the answer.
    """
    history: list[StepRecord] = []
    for step in range(1, max_steps + 1):
        children = tuple(await extend(step, population))
        population = Population(children, weigh(population, children))
        last = session.exhausted or step == max_steps or not population.num_active
        choice = keep(population) if last and not final_choice else await choose(step, population)
        history.append(_record(step, population, choice))
        session.note(lambda: history, begins=step == 1)
        population = choice.population
        if last:
            break
    return population, tuple(history)


def _record(step: int, population: Population, choice: Choice) -> StepRecord:
    weights = normalise(population.log_weights)
    return StepRecord(
        step=step,
        ess=effective_sample_size(weights),
        entropy=normalised_entropy(weights),
        tempering=choice.tempering,
        num_alive=population.num_active,
        ancestors=choice.ancestors,
        weights=tuple(weights.tolist()),
    )
