"""The constraints of Countdown, checked exactly: each number once, and the target. No model, no answer key.

What ``verifier=constraints`` asks a model for is carried out here, since a question of Countdown states it
all. The scale is that of PlanGEN (https://arxiv.org/abs/2502.16111), the scores are Murmuration's:

    reward = (s + 100) / 200,    s =  100  a solution meets both constraints
                                      -50  a solution breaks one of them
                                     -100  a solution breaks both, or a step before the answer is wrong
                                        0  there is no answer yet, and nothing is broken
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from orchestrator.backend import Backend, LocalVerifier
from orchestrator.protocols import (
    Failure,
    ModelInfo,
    Readout,
    Reasons,
    ScoreReply,
    ScoreRequest,
    Task,
    Verifier,
    VerifierBase,
)
from orchestrator.schema import checked
from orchestrator.tasks.countdown import Puzzle, parse_question
from orchestrator.tasks.countdown_steps import is_valid, read_answer, read_step, take
from orchestrator.types import Reward, Usage


@dataclass(frozen=True)
@checked("verifier")
class CountdownConstraintsConfig(LocalVerifier):
    """The keys of ``conf/verifier/countdown_constraints.yaml``."""

    knows_task: ClassVar[str | None] = "countdown"

    readout: Readout = "per_step"

    def open(self, backend: Backend, task: Task, references: Mapping[str, str]) -> Verifier:
        return CountdownConstraints(self.readout)


@dataclass(frozen=True)
class CountdownConstraints(VerifierBase):
    """A verifier that carries a solution out, and says which constraint it meets or breaks."""

    readout: Readout = "per_step"

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(batch_invariant=True, readout=self.readout, lists_constraints=True)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        return [self._reply(request) for request in requests]

    def _reply(self, request: ScoreRequest) -> ScoreReply | Failure:
        try:
            puzzle = parse_question(request.question)
        except ValueError:
            return Failure("VerifierError", f"{request.question!r} is no question of Countdown")
        if not request.steps:
            return ScoreReply((), Usage(), (Reasons(constraints_of(puzzle)),))
        num = len(request.steps)
        first = num if self.readout == "whole" else request.num_locked + 1
        judged = [judge(puzzle, "".join(request.steps[:n])) for n in range(first, num + 1)]
        rewards = tuple(Reward.from_value((score + 100) / 200) for score, _ in judged)
        return ScoreReply(rewards, Usage(), tuple(Reasons(said) for _, said in judged))


def constraints_of(puzzle: Puzzle) -> str:
    """Return the constraints of a puzzle, one a line."""
    numbers = ", ".join(map(str, puzzle.numbers))
    return f"1. Use each of {numbers} exactly once.\n2. Reach {puzzle.target}."


def judge(puzzle: Puzzle, text: str) -> tuple[int, str]:
    """Return the score of a text so far, from -100 to 100, and a reason for each constraint."""
    lines = [line for line in text.split("\n") if line.strip()]
    answer = read_answer(lines[-1]) if lines else None
    numbers, wrong = _carried_out(puzzle, lines if answer is None else lines[:-1])
    if answer is None:
        score = -100 if wrong else 0
        return score, _said(_broken(wrong) if wrong else "not broken so far", "no answer yet", score)
    if not wrong and numbers != (answer,):
        wrong = f"{', '.join(map(str, numbers))} are left, and the answer is {answer}"
    met = (not wrong) + (answer == puzzle.target)
    score = {2: 100, 1: -50, 0: -100}[met]
    target = "met" if answer == puzzle.target else f"broken: the answer is {answer}"
    return score, _said(_broken(wrong) if wrong else "met", target, score)


def _carried_out(puzzle: Puzzle, lines: Sequence[str]) -> tuple[tuple[int, ...], str]:
    """Return the numbers that are left after the lines, and what is wrong with the first wrong one."""
    numbers = puzzle.numbers
    for place, line in enumerate(lines, start=1):
        step = read_step(line)
        if step is None:
            return numbers, f"line {place} is no step"
        if not is_valid(numbers, step):
            return numbers, f"line {place}, {line}, {_fault(numbers, line)}"
        numbers = step.left
    return numbers, ""


def _fault(numbers: Sequence[int], line: str) -> str:
    step = read_step(line)
    assert step is not None
    used = Counter((step.move.value, step.move.operation.operand))
    if missing := sorted((used - Counter(numbers)).elements()):
        return f"uses {', '.join(map(str, missing))}, which is not left"
    right = take(tuple(numbers), step.move)
    if right is None:
        return f"is wrong: {step.move.text} has no result that is allowed"
    if right.result != step.result:
        return f"is wrong: {step.move.text} is {step.move.result}"
    return f"states wrong numbers as left: they are {', '.join(map(str, right.left))}"


def _broken(wrong: str) -> str:
    return f"broken: {wrong}"


def _said(numbers: str, target: str, score: int) -> str:
    return f"1. Each number once: {numbers}.\n2. The target: {target}.\nScore: {score}"
