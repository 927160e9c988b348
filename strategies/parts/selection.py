"""From candidates to one answer: best reward, votes over equivalent answers, likeness, or a draw.

Only finished trajectories are candidates; where none finished, the best unfinished one is returned to show
how far the search came (it has no answer).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from orchestrator.search.session import Session
from orchestrator.types import Record, Solution, Trajectory
from strategies.parts.chooser import Chooser, Chosen, Offered
from strategies.parts.mbr import Mbr
from strategies.parts.population import Population
from strategies.parts.voting import argmax, candidates, vote
from strategies.parts.weights import Aggregation, LogWeights, log_odds_of, normalise

SelectionName = Literal["argmax", "majority", "weighted_majority", "sample", "mbr"]
_MBR = Mbr()


@runtime_checkable
class AnswerRule(Protocol):
    """Return the index of the answer among M candidates, at least one.

    It takes the problem's random numbers, and of each candidate: its answer as a key (equivalent answers have
    equal keys; None where none can be read), its aggregated reward as log-odds, and its log-weight.
    """

    def __call__(
        self,
        rng: np.random.Generator,
        keys: Sequence[str | None],
        scores: Sequence[float],
        log_weights: Sequence[float],
        /,
    ) -> int: ...


Selection = SelectionName | AnswerRule | Chooser


def reads_rewards(selection: Selection) -> bool:
    """Return whether a selection needs rewards; votes and likeness read them in ties alone."""
    return not isinstance(selection, Chooser) and selection not in ("majority", "mbr")


def draw(rng: np.random.Generator, log_weights: Sequence[float]) -> int:
    """Draw one index, with probability proportional to exp(log_weights)."""
    return int(rng.choice(len(log_weights), p=normalise(log_weights)))


async def select(
    session: Session,
    trajectories: Sequence[Trajectory],
    log_weights: LogWeights,
    selection: Selection,
    aggregation: Aggregation,
) -> int | None:
    """Return the answer's index; None when there are no trajectories. What models say for it is dropped."""
    return (await choose(session, trajectories, log_weights, selection, aggregation)).index


async def choose(
    session: Session,
    trajectories: Sequence[Trajectory],
    log_weights: LogWeights,
    selection: Selection,
    aggregation: Aggregation,
) -> Chosen:
    """Return the answer's index, None when there are no trajectories, and what models said for it.

    ``argmax`` takes the greatest aggregated reward, ``sample`` draws by weight, ``majority`` counts
    equivalent answers and ``weighted_majority`` sums their normalised weights; votes without any parsed
    answer fall back to ``argmax``. ``mbr`` takes the text that is most like all others (``Mbr()``). A
    function, or a ``Chooser``, chooses for itself.
    """
    if not trajectories:
        return Chosen(None)
    offered = candidates(trajectories)
    if isinstance(selection, Chooser) or selection == "mbr":
        chooser = _MBR if isinstance(selection, str) else selection
        texts = [trajectories[i] for i in offered]
        scores = [log_odds_of(t, aggregation) for t in texts]
        keys = await session.answers(texts)
        found = await chooser.choose(session, Offered(texts, keys, scores, [log_weights[i] for i in offered]))
        return replace(found, index=None if found.index is None else offered[found.index])
    return Chosen(await _simple(session, trajectories, log_weights, offered, selection, aggregation))


async def _simple(
    session: Session,
    trajectories: Sequence[Trajectory],
    log_weights: LogWeights,
    offered: Sequence[int],
    selection: SelectionName | AnswerRule,
    aggregation: Aggregation,
) -> int:
    scores = [log_odds_of(trajectories[i], aggregation) for i in offered]
    offered_weights = [log_weights[i] for i in offered]
    if not isinstance(selection, str):
        keys = await session.answers([trajectories[i] for i in offered])
        return offered[selection(session.rng, keys, scores, offered_weights)]
    if selection == "sample":
        return offered[draw(session.rng, offered_weights)]
    winner = None
    if selection != "argmax":
        keys = await session.answers([trajectories[i] for i in offered])
        shares = normalise(offered_weights).tolist() if selection == "weighted_majority" else None
        winner = vote(keys, scores, shares)
    return offered[argmax(scores) if winner is None else winner]


async def conclude(
    session: Session,
    population: Population,
    history: Sequence[Record],
    selection: Selection,
    aggregation: Aggregation,
) -> Solution:
    """Return the solution of a population, without slots that never took a step."""
    started = [i for i, t in enumerate(population.particles) if t.steps]
    trajectories = tuple(population.particles[i] for i in started)
    log_weights = tuple(population.log_weights[i] for i in started)
    chosen = await choose(session, trajectories, log_weights, selection, aggregation)
    return Solution(
        answer_index=chosen.index,
        trajectories=trajectories,
        log_weights=log_weights,
        history=(*history, *chosen.said),
        usage=session.usage,
    )
