"""What a seed decides: a search, and the parts in which it is run, each with its faults and its end."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.allocation.rounds import Rounds
from orchestrator.protocols import Sampler
from orchestrator.search.account import Limits
from tests.simulation.cluster import KINDS, Troubles
from tests.simulation.fate import ERRNOS


@dataclass(frozen=True)
class Search:
    """What is searched for, and how: the same from part to part."""

    strategy: str
    sampler: Sampler = "step"
    limits: Limits = Limits()
    seed: int = 0
    rounds: Rounds | None = None


_LIMITED = ("particle_filter", "best_of_n", "beam_search", "tree_of_thoughts", "astar")
SEARCHES = (
    *(Search(name) for name in (*_LIMITED, "rebase", "parallel_tempering", "particle_gibbs")),
    *(Search(name, limits=Limits(generated_tokens=20), seed=1) for name in _LIMITED),
    *(Search(name, limits=Limits(reward_calls=9), seed=2) for name in _LIMITED),
    *(Search(name, sampler="stream", seed=3) for name in ("particle_filter", "self_consistency", "dvts")),
)
GRANTED = (
    Search("best_of_n", seed=4, rounds=Rounds(first=1, block=3, share=0.5)),
    Search("best_of_n", seed=5, rounds=Rounds(first=1, gain="improvement", prior_weight=9.0)),
    Search("best_of_n", seed=6, limits=Limits(reward_calls=3), rounds=Rounds(first=1, parcel=2)),
    Search("self_consistency", seed=7, rounds=Rounds(first=1, gain="vote", share=1.0)),
)
"""Samples that are granted across problems."""

ENDS = ("by itself", "kill", "power cut", "failed write", "failed sync", "signal")


@dataclass(frozen=True)
class Part:
    """One process of a run. ``end_at`` counts to its end: writes or syncs where one fails, else steps.

    ``keys`` are those of a ClusterConfig, ``troubles`` of Troubles; requests of the problem ``poisoned`` are
    poison. A death may be at the ``end_at``-th operation on a file instead.
    """

    concurrency: int = 2
    engines: int = 2
    verifiers: int = 1
    extra: int = 0
    keys: Mapping[str, Any] = field(default_factory=dict)
    nodes: int = 2
    latency_s: float = 0.1
    troubles: Mapping[str, Any] = field(default_factory=dict)
    poisoned: int | None = None
    end: str = "by itself"
    end_at: int = 0
    at_operation: bool = False
    code: int = 0
    for_good: bool = False


@dataclass(frozen=True)
class Schedule:
    """A search in parts. The last part is calm, and ends by itself."""

    seed: int
    search: Search
    parts: tuple[Part, ...]


def drawn(seed: int) -> Schedule:
    """The schedule of a seed."""
    rng = random.Random(f"schedule {seed}")
    parts = tuple(_part(rng) for _ in range(rng.choice((1, 1, 2, 2, 3, 4))))
    schedule = Schedule(seed, rng.choice(SEARCHES), (*parts, _part(rng, is_calm=True)))
    others = random.Random(f"granted {seed}")  # of its own: the schedules of other seeds stay as they were
    return _granting(schedule, others.choice(GRANTED)) if others.random() < 0.15 else schedule


def _granting(schedule: Schedule, search: Search) -> Schedule:
    """The same schedule, where samples are granted: a problem that failed would leave its own to others."""
    parts = (replace(p, poisoned=None, keys={**p.keys, "max_attempts": 20}) for p in schedule.parts)
    return replace(schedule, search=search, parts=tuple(parts))


def _part(rng: random.Random, *, is_calm: bool = False) -> Part:
    end = "by itself" if is_calm else rng.choice(ENDS)
    at_operation = rng.random() < 0.5
    return Part(
        concurrency=rng.choice((1, 2, 3, 8)),
        engines=rng.choice((1, 2, 2, 3)),
        verifiers=rng.choice((1, 2)),
        extra=rng.choice((0, 0, 0, 2)),
        keys={
            "max_in_flight": rng.choice((1, 4, 1024)),
            "spill_margin": rng.choice((0, 2, 32)),
            "max_attempts": rng.choice((1, 2, 3, 3)),
            "request_timeout_s": rng.choice((5.0, 60.0)),
            "start_timeout_s": rng.choice((3.0, 60.0)),
            "idle_s": rng.choice((None, 2.0)),
        },
        nodes=rng.choice((1, 2, 3)),
        latency_s=rng.choice((0.01, 0.1, 1.0)),
        troubles={} if is_calm else _troubles(rng),
        poisoned=None if is_calm or rng.random() < 0.8 else rng.randint(0, 3),
        end=end,
        end_at=_when(rng, end, at_operation),
        at_operation=at_operation,
        code=rng.choice(ERRNOS),
        for_good=rng.random() < 0.5,
    )


def _when(rng: random.Random, end: str, at_operation: bool) -> int:
    """Early ends are as likely as late ones; some come too late to be one."""
    if end == "failed sync":
        return rng.randint(1, 12)
    if end == "failed write" or (at_operation and end != "signal"):
        return rng.randint(1, 70)
    return rng.choice((rng.randint(1, 80), rng.randint(40, 900)))


def _troubles(rng: random.Random) -> dict[str, Any]:
    """A few kinds at once, rare or not."""
    kinds = rng.sample(KINDS, rng.randint(0, 4))
    chance = rng.choice((0.02, 0.1, 0.3))
    return {
        "chances": dict.fromkeys(kinds, chance / max(1, len(kinds))),
        "most": rng.choice((1, 3, 10)),
        "returns_s": rng.choice((0.1, 1.0, 10.0)),
        "broken_starts": rng.choice((0.0, 0.0, 0.3)),
    }


def troubles_of(part: Part, question: str | None) -> Troubles:
    """The troubles of a part, of which requests of one question may be poison."""

    def poison(request: Any) -> bool:
        return bool(request.question == question and len(getattr(request, "token_ids", ())) >= 2)

    return Troubles(**part.troubles, **({"poison": poison} if question else {}))
