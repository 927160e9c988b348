"""A policy that lists the constraints of a problem, and judges texts by the list (PlanGEN).

Parmar et al., "PlanGEN: A Multi-Agent Framework for Generating Planning and Reasoning Trajectories for
Complex Problem Solving", https://arxiv.org/abs/2502.16111. Two prompts: the first lists the constraints, once
a problem; the second shows the list and a text, and requests reasons and a score s from -100 to 100:

    reward = (s + 100) / 200

The list is a reply of its own, which later requests carry: a resumed run reads it from the journal. A reply
without a score is a failure of its reward, unless ``missing`` states a reward for it. Nothing is retried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from annotated_types import Ge, Le
from msgspec import UnsetType

from orchestrator.backend import Backend, LocalVerifier
from orchestrator.prompts.replies import read_score
from orchestrator.prompts.template import Template
from orchestrator.protocols import (
    Completion,
    Engine,
    Failure,
    GenerateRequest,
    ModelInfo,
    Readout,
    Reasons,
    ScoreReply,
    ScoreRequest,
    Task,
    Verifier,
    VerifierBase,
)
from orchestrator.schema import NotEmpty, Words, checked
from orchestrator.search.requests import generate_requests
from orchestrator.seeds import derive_seed
from orchestrator.types import ENGINE, Problem, Prompt, Reward, Sampling, Trajectory, total

LOW, HIGH = -100, 100
"""The worst and the best score that a judgement may state."""


@dataclass(frozen=True)
@checked("verifier")
class ConstraintsVerifierConfig(LocalVerifier):
    """The keys of ``conf/verifier/constraints.yaml``."""

    constraints: Template
    prompt: Template
    sampling: Sampling = Sampling(temperature=0.0, max_tokens=1024)
    policy: NotEmpty = ENGINE
    missing: Annotated[
        float | None, Ge(0), Le(1), Words("must be a reward in [0, 1], or null to fail the problem")
    ] = None
    readout: Readout = "whole"

    def __post_init__(self) -> None:
        self.constraints.check("verifier.constraints", ("question",), {"question"})
        self.prompt.check("verifier.prompt", ("question", "constraints", "answer"), {"question", "answer"})

    @property
    def prompts(self) -> bool:
        """It prompts in words, which a policy that knows the characters of one task cannot read."""
        return True

    def open(self, backend: Backend, task: Task, references: Mapping[str, str]) -> Verifier:
        return ConstraintsVerifier(self, backend.policies[self.policy], task)


@dataclass(frozen=True)
class ConstraintsVerifier(VerifierBase):
    """A verifier that asks ``engine``: for the constraints of a problem, then about texts.

    With the read-out ``per_step`` each new step is judged after those before it, with ``whole`` the text so
    far.
    """

    config: ConstraintsVerifierConfig
    engine: Engine
    task: Task

    @property
    def info(self) -> ModelInfo:
        invariant, drawn = self.engine.info.batch_invariant, self.config.sampling.temperature > 0
        return ModelInfo(invariant, readout=self.config.readout, sampling=drawn, lists_constraints=True)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        """Return the rewards with their reasons; a text without a score fails its request alone."""
        asked = [self._asked(request) for request in requests]
        replies = await self.engine.generate([row for rows in asked for row in rows])
        found = iter(replies)
        return [self._reply(r, [next(found) for _ in rows]) for r, rows in zip(requests, asked, strict=True)]

    def _asked(self, request: ScoreRequest) -> list[GenerateRequest]:
        if not request.steps:
            return [self._request(request, self.config.constraints, "constraints", {})]
        num = len(request.steps)
        first = num if self.config.readout == "whole" else request.num_locked + 1
        listed = "" if isinstance(request.constraints, UnsetType) else request.constraints
        return [
            self._request(
                request,
                self.config.prompt,
                "score",
                {"constraints": listed.strip(), "answer": "".join(request.steps[:n]).strip()},
            )
            for n in range(first, num + 1)
        ]

    def _request(
        self, request: ScoreRequest, template: Template, role: str, written: Mapping[str, str]
    ) -> GenerateRequest:
        filled = template.fill({"question": request.question}, written, self.engine.info.special)
        prompt = Prompt(filled.text, template.instruction, (), "", "", role)
        run_seed = request.seed if isinstance(request.seed, int) else 0
        seed = derive_seed(role, run_seed, request.problem_id, filled.text)
        problem, start = Problem(request.problem_id, request.question, ""), Trajectory(prompt=prompt)
        made = generate_requests(problem, self.task, [start], [self.config.sampling], [seed], to_end=True)
        return replace(made[0], home=request.home, problem=request.problem)

    def _reply(self, request: ScoreRequest, replies: Sequence[Completion | Failure]) -> ScoreReply | Failure:
        said = [reply for reply in replies if isinstance(reply, Completion)]
        if len(said) < len(replies):
            return next(reply for reply in replies if isinstance(reply, Failure))
        texts = ["".join(step.text for step in reply.steps) for reply in said]
        usage = total([reply.usage.as_rewards() for reply in said])
        if not request.steps:
            return ScoreReply((), usage, (Reasons(texts[0], bool(texts[0].strip())),))
        scores = [read_score(text, LOW, HIGH) for text in texts]
        rewards = [self.config.missing if s is None else (s - LOW) / (HIGH - LOW) for s in scores]
        found = [Reward.from_value(value) for value in rewards if value is not None]
        if len(found) < len(rewards):
            return _no_score(texts[rewards.index(None)])
        reasons = (Reasons(text, s is not None) for text, s in zip(texts, scores, strict=True))
        return ScoreReply(tuple(found), usage, tuple(reasons))


def _no_score(text: str) -> Failure:
    end = f", and ends in {text.strip()[-60:]!r}" if text.strip() else ""
    message = f"a judgement of {len(text)} characters states no score of {LOW} to {HIGH}{end}"
    return Failure("VerifierError", f"{message}; verifier.missing gives such texts a reward")
