"""The task's grader as a verifier: an upper bound, since it knows the reference answers.

It runs in the controller, where the answers are, and calls no replica. Its numbers are not the result of a
method: summary.json, each line of results.jsonl and the table of a run mark them with ``oracle``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.backend import Backend, LocalVerifier
from orchestrator.protocols import (
    Failure,
    ModelInfo,
    Readout,
    ScoreReply,
    ScoreRequest,
    Task,
    Verifier,
    VerifierBase,
)
from orchestrator.types import Reward, Usage

UNDECIDED = Reward(0.0)
"""The reward of a step that states no answer yet: even odds, the same for every trajectory."""


@dataclass(frozen=True)
class OracleConfig(LocalVerifier):
    """The keys of ``conf/verifier/oracle.yaml``."""

    readout: Readout = "per_step"

    @property
    def knows_answers(self) -> bool:
        return True

    def open(self, backend: Backend, task: Task, references: Mapping[str, str]) -> Verifier:
        return Oracle(task, references, self.readout)


@dataclass(frozen=True)
class Oracle(VerifierBase):
    """A verifier that rewards a right answer with 1, a wrong one with 0, and other steps with even odds.

    ``references`` are the reference answers by problem id.
    """

    task: Task
    references: Mapping[str, str]
    readout: Readout = "per_step"

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(batch_invariant=True, readout=self.readout)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        return [await self._reply(r) for r in requests]

    async def _reply(self, request: ScoreRequest) -> ScoreReply | Failure:
        reference = self.references.get(request.problem_id)
        if reference is None:
            return Failure(
                "VerifierError", f"the oracle has no reference answer for problem {request.problem_id}"
            )
        num_steps = len(request.steps)
        first = num_steps if self.readout == "whole" else request.num_locked + 1
        rewards = [
            await self._reward("".join(request.steps[:n]), reference) for n in range(first, num_steps + 1)
        ]
        return ScoreReply(tuple(rewards), Usage())

    async def _reward(self, text: str, reference: str) -> Reward:
        answer = self.task.extract(text)
        if answer is None:
            return UNDECIDED
        return Reward.from_value(float(await self.task.grade(answer, reference)))
