"""Votes over equivalent answers, and which trajectories may be answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from orchestrator.types import Trajectory


def argmax(scores: Sequence[float]) -> int:
    """Return the index of the greatest; a tie goes to the first. Raises ValueError when there are none."""
    return max(range(len(scores)), key=lambda i: (scores[i], -i))


def vote(
    keys: Sequence[str | None], scores: Sequence[float], weights: Sequence[float] | None = None
) -> int | None:
    """Return the index of the winning candidate; None when no key is known.

    The key with the most votes wins: one per candidate, or its weight (finite, 0 or more; a weight of 0
    votes too, with 0). A tie goes to the key with more candidates, then to the one with the greatest
    score, then to the earliest. Of its candidates the one with the greatest score wins, then the earliest.
    """
    members = _by_key(keys)
    if not members:
        return None
    votes = _votes(members, weights)
    most = max(votes.values())
    # Sums of the same weights in another order may differ in the last digit: that is a tie.
    tied = [m for k, m in members.items() if math.isclose(votes[k], most, rel_tol=1e-9)]
    winner = max(tied, key=lambda m: (len(m), max(scores[i] for i in m), -m[0]))
    return max(winner, key=lambda i: (scores[i], -i))


def lead(keys: Sequence[str | None], weights: Sequence[float] | None = None) -> float:
    """Return by how many votes the first key leads the second; 0.0 when no key is known."""
    votes = sorted(_votes(_by_key(keys), weights).values(), reverse=True)
    return votes[0] - (votes[1] if len(votes) > 1 else 0.0) if votes else 0.0


def _by_key(keys: Sequence[str | None]) -> dict[str, list[int]]:
    members: dict[str, list[int]] = {}
    for i, key in enumerate(keys):
        if key is not None:
            members.setdefault(key, []).append(i)
    return members


def _votes(members: Mapping[str, Sequence[int]], weights: Sequence[float] | None) -> dict[str, float]:
    return {k: math.fsum(1.0 if weights is None else weights[i] for i in m) for k, m in members.items()}


def candidates(trajectories: Sequence[Trajectory]) -> list[int]:
    """Return the indices of the finished ones; where there is none, of all."""
    finished = [i for i, t in enumerate(trajectories) if t.finished]
    return finished or list(range(len(trajectories)))
