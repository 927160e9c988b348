"""Texts that are given up before they end: after some steps only the best are continued.

"Adaptive Inference-Time Compute" (https://arxiv.org/abs/2410.02725) gives up half to three quarters of the
texts after some tokens; here it is after some steps, by the verifier's reward so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, Any

from orchestrator.schema import Rule
from orchestrator.search.session import Session
from orchestrator.types import Finish, P, Trajectory
from strategies.parts import checks
from strategies.parts.stopping import Stop
from strategies.parts.weights import Aggregation, log_odds_of

Points = tuple[tuple[int, int], ...]
"""After which step how many are kept, by rising steps."""


def points_of(prune: Any) -> Points | None:
    """Return the points of ``{step: number kept, ...}``; None where it is something else.

    Steps are whole numbers of 1 or more, or their decimals, as in JSON. Fewer are kept at each later step.
    """
    pairs = list(prune.items()) if isinstance(prune, Mapping) else prune
    try:
        points = sorted((int(step), num) for step, num in pairs)
    except (TypeError, ValueError):
        return None
    is_whole = all(type(num) is int and num >= 1 and step >= 1 for step, num in points)
    falls = all(a[0] < b[0] and a[1] >= b[1] for a, b in pairwise(points))
    return tuple(points) if points and is_whole and falls else None


Prune = Annotated[
    Mapping[Any, Any] | Sequence[Any] | None,
    Rule(
        lambda prune: prune is None or points_of(prune) is not None,
        "must be null or {step: number kept}, such as {4: 8}; a later step keeps no more than an earlier one",
    ),
]


def check_alone(prune: object, stop: Stop, wave_size: int) -> None:
    """Raise ConfigError for waves, or a rule that stops, beside pruning: it compares all samples."""
    allowed = "compares all samples: it needs strategy.stop.rule=none and strategy.wave_size=0"
    alone = wave_size == 0 and stop.rule in ("none", "decided")  # without waves nothing is decided early
    checks.require(prune is None or alone, "prune", prune, allowed)


async def pruned(
    session: Session, params: Sequence[P], points: Points, aggregation: Aggregation
) -> list[Trajectory]:
    """Draw a sample for each of ``params``; after the steps of ``points`` continue the best alone.

    The others end there, with ``Finish.PRUNED``. A sample that ends before is not pruned, but counts among
    those that are kept, by its reward; a tie goes to the lower number.
    """
    texts, done = [Trajectory()] * len(params), 0
    for step, num_kept in points:
        for _ in range(done, step):
            if not any(t.active for t in texts):
                break
            texts = await _extend(session, texts, params)
        texts, done = await session.score(texts), step
        if session.exhausted:
            return texts
        ranked = sorted(range(len(texts)), key=lambda i: (-log_odds_of(texts[i], aggregation), i))
        kept = set(ranked[:num_kept])
        texts = [t if i in kept or not t.active else _ended(t, Finish.PRUNED) for i, t in enumerate(texts)]
    return await session.score(await _extend(session, texts, params, to_end=True))


async def _extend(
    session: Session, texts: Sequence[Trajectory], params: Sequence[P], *, to_end: bool = False
) -> list[Trajectory]:
    """Extend texts whose params bound them as wholes: what a text has used is taken from its bound."""
    rooms = [p.max_tokens - t.num_tokens for p, t in zip(params, texts, strict=True)]
    full = [t.active and room < 1 for t, room in zip(texts, rooms, strict=True)]
    texts = [_ended(t, Finish.LENGTH) if is_full else t for t, is_full in zip(texts, full, strict=True)]
    clipped = [p.clip(max(1, room)) for p, room in zip(params, rooms, strict=True)]
    return await session.generate(texts, clipped, to_end=to_end, samples=range(len(texts)))


def _ended(trajectory: Trajectory, finish: Finish) -> Trajectory:
    *before, last = trajectory.steps
    return trajectory.with_steps((*before, replace(last, finish=finish)))
