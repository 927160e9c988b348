"""Many solutions from an in-process engine and verifier: rollouts for training and evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from actors.embedded.family import MAX_TOKENS, Posed
from orchestrator.protocols import (
    Completion,
    Engine,
    Failure,
    GenerateRequest,
    ScoreReply,
    ScoreRequest,
    Verifier,
)
from orchestrator.seeds import derive_seed
from orchestrator.tasks.drawn import ANSWER_MARKER, DELIMITER
from orchestrator.types import Sampling, Step

Sample = tuple[Step, ...]


async def sample_solutions(
    engine: Engine,
    problems: Sequence[Posed],
    num_samples: int,
    temperature: float,
    seed: int = 0,
    max_tokens: int = MAX_TOKENS,
) -> list[list[Sample]]:
    """Return ``[problems][num_samples]`` solutions, each a tuple of steps up to its answer."""
    requests = [
        GenerateRequest(
            home=problem.question,
            question=problem.question,
            instruction="",
            token_ids=(),
            params=Sampling(temperature=temperature, max_tokens=max_tokens),
            seed=derive_seed(seed, problem.question, temperature, i),
            delimiter=DELIMITER,
            answer_marker=ANSWER_MARKER,
            to_end=True,
        )
        for problem in problems
        for i in range(num_samples)
    ]
    replies = [_completion(reply).steps for reply in await engine.generate(requests)]
    return [replies[i : i + num_samples] for i in range(0, len(replies), num_samples)]


async def score_solutions(
    verifier: Verifier, problems: Sequence[Posed], samples: Sequence[Sequence[Sample]]
) -> list[list[Sample]]:
    """Return the solutions with a reward in every step."""
    rows = [(problem, steps) for problem, group in zip(problems, samples, strict=True) for steps in group]
    requests = [ScoreRequest(p.question, p.question, tuple(s.text for s in steps), 0) for p, steps in rows]
    scored = iter(
        tuple(replace(s, reward=r) for s, r in zip(steps, _score(reply).rewards, strict=True))
        for (_, steps), reply in zip(rows, await verifier.score(requests), strict=True)
    )
    return [list(_take(scored, len(group))) for group in samples]


def _take(items: Iterator[Sample], num_items: int) -> Iterator[Sample]:
    return (next(items) for _ in range(num_items))


def _completion(reply: Completion | Failure) -> Completion:
    if isinstance(reply, Failure):
        raise RuntimeError(f"{reply.type}: {reply.message}")
    return reply


def _score(reply: ScoreReply | Failure) -> ScoreReply:
    if isinstance(reply, Failure):
        raise RuntimeError(f"{reply.type}: {reply.message}")
    return reply
