"""A verifier from a function of text, such as a call of a reward model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from orchestrator.errors import VerifierError
from orchestrator.protocols import Failure, ModelInfo, Readout, ScoreReply, ScoreRequest, VerifierBase
from orchestrator.schema import converted
from orchestrator.text.calling import Function, FunctionRaised, check_function, raised
from orchestrator.text.tokens import encoded
from orchestrator.types import Reward, Usage

_MOST_SHOWN = 200  # characters of a bad reward in a message


class RewardOf(Protocol):
    """A function that rewards a partial solution with a number in [0, 1], plain or async."""

    def __call__(self, question: str, steps: tuple[str, ...]) -> float | Awaitable[float]: ...


class TextVerifier(VerifierBase):
    """A verifier that calls ``reward(question, steps)``, a number in [0, 1], for each new step.

    ``steps`` are the texts up to and with the step that is rewarded, without empty ones, or the whole
    solution with ``readout="whole"``: then there is one call a solution. A plain function is called in up to
    ``max_threads`` threads, so it may block; give 1 for a model that is not safe for threads.

    What the function raises ends that problem alone: ``result.error.__cause__`` is the exception itself.

    Example::

        from orchestrator import TextEngine, TextVerifier, solve_sync
        from strategies import BestOfN

        def propose(question, written, *, seed, params):
            return str(seed % 100)

        def reward(question, steps):
            return int(steps[-1]) / 100

        result = solve_sync("A large number?", strategy=BestOfN(8), engine=TextEngine(propose),
                            verifier=TextVerifier(reward))
        assert result.answer == max((c.answer for c in result.candidates), key=int)
    """

    def __init__(
        self,
        reward: RewardOf | Callable[..., float | Awaitable[float]],
        *,
        readout: Readout = "per_step",
        max_threads: int = 32,
    ) -> None:
        check_function("verifier.reward", reward, "question", "steps")
        self._reward = Function(reward, max_threads)
        self._info = ModelInfo(readout=converted("verifier.readout", readout, Readout))

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def run_description(self) -> Mapping[str, Any]:
        """What the files of a run hold of it."""
        return {"reward": self._reward.reference, "readout": self._info.readout}

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        return list(await asyncio.gather(*map(self._reply, requests)))

    async def close(self) -> None:
        self._reward.close()

    async def _reply(self, request: ScoreRequest) -> ScoreReply:
        num = len(request.steps)
        ends = range(request.num_locked + 1, num + 1) if self._info.readout == "per_step" else (num,)
        rewards = await asyncio.gather(*(self._of(request.question, request.steps[:end]) for end in ends))
        num_tokens = sum(len(encoded(step)) for step in request.steps[request.num_locked :])
        return ScoreReply(tuple(rewards), Usage(reward_calls=1, reward_tokens=num_tokens))

    async def _of(self, question: str, steps: tuple[str, ...]) -> Reward:
        said = tuple(filter(None, steps)) or steps  # an engine may end a text by an empty step
        try:
            value = await self._reward(question, said)
        except FunctionRaised as call:
            raise VerifierError(raised(self._reward.name, call.failure)) from call.failure
        number = _number(value)
        if number is None or not 0 <= number <= 1:
            allowed = "it must return a number in [0, 1]"
            raise VerifierError(f"{self._reward.name} returned {_shown(value)}; {allowed}")
        return Reward.from_value(number)


def _number(value: Any) -> float | None:
    """Return a number of Python, numpy or torch as a float; None for anything else, a text included."""
    try:
        return None if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # RuntimeError: a tensor of several numbers
        return None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
