"""A policy from a function of text, such as a call of a model's own library."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from msgspec import UnsetType

from orchestrator.errors import EngineError
from orchestrator.protocols import Completion, EngineBase, Failure, GenerateRequest, ModelInfo
from orchestrator.schema import converted
from orchestrator.seeds import derive_seed
from orchestrator.steps.rule import BY_DELIMITER, MODES, Mode, StepRule
from orchestrator.text.calling import Function, FunctionRaised, check_function, raised
from orchestrator.text.pieces import all_of, ends_in, first_of
from orchestrator.text.tokens import cut, decoded, encoded
from orchestrator.types import Finish, Sampling, Step, Usage


@dataclass(frozen=True, slots=True)
class TextParams:
    """How a ``propose`` function should write.

    ``temperature`` 0 means the most likely text. ``max_tokens`` bounds the returned text: a token is four
    bytes of UTF-8, and what is longer is cut off. With ``to_end`` the function returns all that remains;
    without it, text up to ``delimiter``. ``answer_marker`` is the text that a final answer holds, and
    ``instruction`` the task's, which precedes the question; either may be missing. Where steps end otherwise,
    ``step`` says how, ``delimiter`` is empty unless it ends steps too, and a text that holds more than one
    step is split: what follows the first is not requested again.
    """

    temperature: float
    top_p: float
    max_tokens: int
    delimiter: str
    to_end: bool = False
    answer_marker: str | None = None
    instruction: str = ""
    step: StepRule = BY_DELIMITER


class LastStep(str):
    """The last step of a text: what a ``propose`` function returns where its model has ended.

    Where a function never returns it, a text ends at an empty step, or at a step with the answer marker.
    """

    __slots__ = ()


class Propose(Protocol):
    """A function that continues a text, plain or async."""

    def __call__(
        self, question: str, written: str, *, seed: int, params: TextParams
    ) -> str | Awaitable[str]: ...


class TextEngine(EngineBase):
    r"""A policy that calls ``propose(question, written, *, seed, params)`` for each next step.

    ``written`` holds the steps so far; the function returns the text that follows: one step, or with
    ``params.to_end`` everything to the end. A step without its delimiter gets it, as most libraries remove
    the text that they stop at. An empty text, or a ``LastStep``, ends the solution. With ``by_steps`` the
    function is only ever asked for the next step, and the engine repeats it where a method samples whole
    answers. With ``ends_steps`` it reads ``params.step``, and tasks may say what ends a step. A plain
    function is called in up to ``max_threads`` threads, so it may block; give 1 for a model that is not
    safe for threads.

    What the function raises ends that problem alone: ``result.error.__cause__`` is the exception itself.

    Example::

        import random

        from orchestrator import TextEngine, TextTask, solve_sync
        from strategies import SelfConsistency

        def propose(question, written, *, seed, params):
            return f"#{random.Random(seed).randint(1, 3)}"

        result = solve_sync("Roll!", strategy=SelfConsistency(9), engine=TextEngine(propose),
                            task=TextTask(answer_marker="#"))
        assert result.answer in {"1", "2", "3"} and len(result.candidates) == 9
    """

    def __init__(
        self,
        propose: Propose | Callable[..., str | Awaitable[str]],
        *,
        by_steps: bool = False,
        ends_steps: bool = False,
        max_threads: int = 32,
    ) -> None:
        check_function("engine.propose", propose, "question", "written", seed="seed", params="params")
        self._propose = Function(propose, max_threads)
        self._by_steps: bool = converted("engine.by_steps", by_steps, bool)
        self._modes: tuple[Mode, ...] = MODES if ends_steps else ("delimiter",)

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(step_modes=self._modes, tokenizer="utf-8")

    @property
    def run_description(self) -> Mapping[str, Any]:
        """What the files of a run hold of it."""
        return {"propose": self._propose.reference, "by_steps": self._by_steps}

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        return list(await asyncio.gather(*map(self._complete, requests)))

    async def encode(self, texts: Sequence[str]) -> list[tuple[int, ...] | Failure]:
        return [encoded(text) for text in texts]

    async def close(self) -> None:
        self._propose.close()

    async def _complete(self, request: GenerateRequest) -> Completion | Failure:
        if not isinstance(request.params, Sampling):
            kind = type(request.params).__name__
            return Failure("EngineError", f"a TextEngine takes Sampling, not {kind}")
        params = _text_params(request, request.params)
        if params.step.mode != "delimiter":
            return await self._by_rule(request, params)
        if params.to_end and self._by_steps:
            steps = await self._step_by_step(request, replace(params, to_end=False))
        else:
            written = decoded(request.token_ids)
            steps = list(_steps(await self._text(request.question, written, request.seed, params), params))
        num_read = len(encoded(request.question)) + len(request.token_ids)
        used = Usage(generated_tokens=sum(len(s.token_ids) for s in steps), prompt_tokens=num_read)
        return Completion(tuple(steps), used)

    async def _step_by_step(self, request: GenerateRequest, params: TextParams) -> list[Step]:
        """Return the rest of a text, each step from a call with a seed derived from the request's."""
        steps: list[Step] = []
        written, left = decoded(request.token_ids), params.max_tokens
        while not steps or _goes_on(request, steps):
            seed = derive_seed(request.seed, len(steps))
            params = replace(params, max_tokens=left)
            text = await self._text(request.question, written, seed, params) if left else params.delimiter
            (step,) = _steps(text, params)
            steps.append(step)
            written, left = written + step.text, left - len(step.token_ids)
        return steps

    async def _by_rule(self, request: GenerateRequest, params: TextParams) -> Completion:
        """Return the steps of a request whose steps do not end at the delimiter alone."""
        num_begun = len(request.begun.token_ids)
        if not params.to_end:
            begun = decoded(request.begun.token_ids)
            steps = [await self._next(request, decoded(request.token_ids), begun, request.seed, params)]
        elif self._by_steps:
            steps = await self._rest(request, replace(params, to_end=False))
        else:
            steps = list(all_of(await self._whole(request, params), request.ends, params.max_tokens))
        num_made = sum(len(s.token_ids) for s in steps) + len(encoded(_carried(steps))) - num_begun
        num_read = len(encoded(request.question)) + len(request.token_ids) + num_begun
        return Completion(tuple(steps), Usage(generated_tokens=num_made, prompt_tokens=num_read))

    async def _whole(self, request: GenerateRequest, params: TextParams) -> str:
        """Return the rest of a text, with what the request carries of it."""
        begun, left = decoded(request.begun.token_ids), params.max_tokens - len(request.begun.token_ids)
        if left <= 0:
            return begun
        written = decoded(request.token_ids) + begun
        asked = replace(params, max_tokens=left)
        return begun + await self._text(request.question, written, request.seed, asked)

    async def _rest(self, request: GenerateRequest, params: TextParams) -> list[Step]:
        """Return the rest of a text, each step from a call with a seed derived from the request's."""
        steps: list[Step] = []
        written, carried, left = (
            decoded(request.token_ids),
            decoded(request.begun.token_ids),
            params.max_tokens,
        )
        while left > 0 and (not steps or _goes_on(request, steps)):
            seed, params = derive_seed(request.seed, len(steps)), replace(params, max_tokens=left)
            step = await self._next(request, written, carried, seed, params)
            steps.append(replace(step, carried=None))
            carried = _carried([step])
            written, left = written + step.text, left - len(step.token_ids)
        if steps and left <= 0 and _goes_on(request, steps):
            steps[-1] = replace(steps[-1], finish=Finish.LENGTH)
        return steps

    async def _next(
        self, request: GenerateRequest, written: str, carried: str, seed: int, params: TextParams
    ) -> Step:
        """Return the step that begins with ``carried``, from as many calls as it takes: none or one."""
        left, ends = params.max_tokens - len(encoded(carried)), request.ends
        if left <= 0 or ends_in(carried, ends):
            step = first_of(carried, ends, params.max_tokens, ended=False)
            return step if left > 0 or step.carried else replace(step, finish=Finish.LENGTH)
        most = left if ends.tokens is None else min(left, ends.tokens)
        new = await self._text(request.question, written + carried, seed, replace(params, max_tokens=most))
        ended = not new or isinstance(new, LastStep)
        return first_of(carried + new, ends, params.max_tokens, ended=ended)

    async def _text(self, question: str, written: str, seed: int, params: TextParams) -> str:
        try:
            text = await self._propose(question, written, seed=seed, params=params)
        except FunctionRaised as call:
            raise EngineError(raised(self._propose.name, call.failure)) from call.failure
        if not isinstance(text, str):
            raise EngineError(f"{self._propose.name} returned {text!r}; it must return a str")
        return text


def _text_params(request: GenerateRequest, params: Sampling) -> TextParams:
    return TextParams(
        temperature=params.temperature,
        top_p=params.top_p,
        max_tokens=params.max_tokens,
        delimiter=request.ends.delimiter or "",
        to_end=request.to_end,
        answer_marker=request.answer_marker,
        instruction=request.instruction,
        step=BY_DELIMITER if isinstance(request.step, UnsetType) else request.step,
    )


def _carried(steps: Sequence[Step]) -> str:
    carried = steps[-1].carried
    return "" if carried is None else decoded(carried.token_ids)


def _goes_on(request: GenerateRequest, steps: Sequence[Step]) -> bool:
    *before, last = steps
    after = "".join(step.text for step in before)
    return last.finish is Finish.STEP and not request.answered_by(last.text, after)


def _steps(text: str, params: TextParams) -> Iterator[Step]:
    """Yield the steps of a reply, no more than ``max_tokens`` of them all together."""
    left = params.max_tokens
    for piece, finish in _pieces(text, params):
        token_ids = encoded(piece)
        if len(token_ids) > left:
            kept = cut(piece, left)
            yield Step(kept, encoded(kept), finish=Finish.LENGTH)
            return
        yield Step(piece, token_ids, finish=finish)
        left -= len(token_ids)


def _pieces(text: str, params: TextParams) -> Iterator[tuple[str, Finish]]:
    """Yield each step's text and how it ends: one step, or with ``to_end`` all."""
    delimiter = params.delimiter
    first, found, rest = text.partition(delimiter)
    if not params.to_end:
        ends = not text or (isinstance(text, LastStep) and not rest)
        yield (text, Finish.EOS) if ends else (first + delimiter, Finish.STEP)
        return
    while found and rest:
        yield first + delimiter, Finish.STEP
        first, found, rest = rest.partition(delimiter)
    yield first + found, Finish.EOS
