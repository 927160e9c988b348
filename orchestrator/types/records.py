"""Entries of a solution's history: what plots, drawings and the report need of a search."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What a plot of a population needs of one step; ``ancestors[i]`` is the index that slot i came from.

    ``weights[i]`` is the normalised weight of slot i before that choice.
    """

    step: int
    ess: float
    entropy: float
    tempering: float
    num_alive: int
    ancestors: tuple[int, ...]
    weights: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """What a drawing of a search tree needs of one node.

    ``parent`` is None for the root; ``text`` is the node's step; ``reward`` is a value in [0, 1], None
    where it was not scored; ``cost`` is g and ``heuristic`` h; ``closed`` counts from 0 in the order in
    which nodes first left the frontier, None for one that never did.
    """

    node: int
    parent: int | None
    text: str
    reward: float | None
    cost: float
    heuristic: float
    closed: int | None


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """What an allocator granted a problem in a round: parcels of ``cost`` samples for a bid of ``gain``.

    Round 0, where there is one, granted nothing: ``first`` are the rewards of the problem's first samples,
    which its block pooled before the first bid.
    """

    round: int
    gain: float
    cost: float
    granted: int
    first: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Granted:
    """What a finished problem was granted, round by round, and how many samples it has drawn."""

    records: tuple[RoundRecord, ...]
    num_drawn: int


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """Which attempts a candidate has seen: those at ``read``, in the order of its prompt.

    ``candidate``, and ``read``, are indices of the solution's trajectories; ``iteration`` counts from 1.
    ``num_dropped`` counts the attempts that were left out for want of room.
    """

    candidate: int
    chain: int
    iteration: int
    read: tuple[int, ...] = ()
    num_dropped: int = 0


@dataclass(frozen=True, slots=True)
class RoleRecord:
    """What a model said in a role: its text, whether it could be read, and what it cost in tokens.

    ``layer`` is the iteration, or the layer of a pipeline. ``policy`` is the model's name; "engine" is the
    main one. ``num_removed`` counts the special strings that were taken out of what its prompt quotes, and
    ``num_dropped`` the attempts that were left out for want of room.
    """

    role: str
    layer: int
    policy: str
    prompt_digest: str
    text: str
    parsed: bool
    tokens: int
    num_removed: int = 0
    num_dropped: int = 0


@dataclass(frozen=True, slots=True)
class DraftRecord:
    """What became of a draft of a step: whether it was accepted, and its reward in [0, 1].

    ``reward`` is None where no judge has read the draft. ``path`` is the number of the path, from 0, and
    ``step`` that of the step in it, from 1. ``tokens`` of a refused draft are in no candidate.
    """

    path: int
    step: int
    accepted: bool
    reward: float | None
    tokens: int


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A trial of a strategy among several: the ``number``-th, from 1, of the strategy named ``arm``.

    ``score`` is its answer's reward in [0, 1], 0 for one without an end. ``bound`` is the upper confidence
    bound by which it was chosen. ``draft`` is the candidate that its prompt has shown, None without a prompt.
    ``num_removed`` counts the special strings that were taken out of what the prompt quotes, and
    ``num_dropped`` the texts that answer the question alone for want of room.
    """

    number: int
    arm: str
    score: float
    bound: float
    draft: int | None = None
    num_removed: int = 0
    num_dropped: int = 0


Record = StepRecord | NodeRecord | RoundRecord | AttemptRecord | RoleRecord | DraftRecord | TrialRecord
"""An entry of a solution's history."""
