"""A scripted reviser whose rates are known, and a verifier that is sometimes wrong about it.

A problem has a difficulty: its pass@1 ``a``. A sample is right with probability ``a``; a revision makes a
wrong attempt right with f = ``ratio`` x ``a`` (1 at most), and a right one wrong with ``b``. Wrong answers
are drawn from five, so that a vote has something to find.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

from orchestrator.protocols import Completion, EngineBase, Failure, GenerateRequest, ModelInfo
from orchestrator.testing import FakeTask, FakeVerifier
from orchestrator.types import Finish, Reward, Step, Usage

RIGHT = "=right\n"
NUM_TOKENS = 100
"""Of an attempt: all are equally long, so that tokens count attempts."""
SEPARATION = 2.0
"""Between the mean log-odds of right and wrong attempts, in standard deviations: AUC .92."""


@dataclass(frozen=True)
class Rates:
    """How well a model revises: f over the pass@1 of a fresh sample, and b."""

    ratio: float
    b: float

    def f(self, fresh: float) -> float:
        return min(1.0, self.ratio * fresh)


@dataclass
class ScriptedReviser(EngineBase):
    """Write a number that no other attempt has, then an answer."""

    fresh: float
    rates: Rates
    requests: list[GenerateRequest] = field(default_factory=list)

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(batch_invariant=True, takes_history=True)

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        return [self._reply(request) for request in requests]

    def _reply(self, request: GenerateRequest) -> Completion:
        random_, shown = random.Random(request.seed), request.question.rpartition("=")
        chance = self.fresh
        if shown[1]:
            chance = 1 - self.rates.b if shown[2].startswith("right") else self.rates.f(self.fresh)
        answer = RIGHT if random_.random() < chance else f"=wrong{random_.randrange(5)}\n"
        texts = (f"{random_.getrandbits(48)}\n", answer)
        steps = tuple(Step(text, tuple(map(ord, text))) for text in texts)
        last = Step(answer, steps[1].token_ids, finish=Finish.EOS)
        return Completion((steps[0], last), Usage(generated_tokens=NUM_TOKENS))


def noisy(_: str, steps: Sequence[str]) -> float:
    """Return the reward of the last step: log-odds around +1 for a right answer and -1 for a wrong one."""
    centre = SEPARATION / 2 if steps[-1] == RIGHT else -SEPARATION / 2
    drawn = NormalDist().inv_cdf(random.Random("".join(steps)).uniform(1e-9, 1 - 1e-9))
    return Reward(centre + drawn).value


def verifier() -> FakeVerifier:
    return FakeVerifier(noisy)


TASK = FakeTask()
