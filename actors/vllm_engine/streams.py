"""Texts that vLLM continues while their last step is still being scored.

A stream is a text that is sampled by position (``positions``): it depends on its seed and what came before,
not on when it is requested. So a stream may run ahead of its search. A trajectory that survives takes what is
there already and costs no new prompt; one that is killed is stopped, and its unused tokens are counted.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from actors.text.generation import Generation, logprobs_of
from actors.text.tokens import TokenIds
from orchestrator.errors import EngineDeadError, EngineError

Ask = Callable[[Generation], AsyncGenerator[Any, None]]
"""From a generation to vLLM's outputs for the text that follows it, a few tokens each."""


@dataclass(eq=False, slots=True)
class Stream:
    """A text being generated. ``tokens`` follow ``prefix``; the first ``num_taken`` were given to a search.

    Without a reader it runs ``lookahead`` tokens ahead and then ends; a later reader begins another.
    """

    home: str
    seed: int
    prefix: TokenIds
    temperature: float
    top_p: float
    lookahead: int
    siblings: list[Stream]
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    num_taken: int = 0
    num_cached: int = 0
    _has_ended: bool = False
    _reader: Generation | None = None
    _done: asyncio.Future[None] | None = None
    _task: asyncio.Task[None] | None = None

    def begin(self, answers: AsyncGenerator[Any, None]) -> None:
        """Read vLLM's outputs, from the next turn of the event loop on."""
        self._task = asyncio.create_task(self._run(answers))

    async def read(self, generation: Generation) -> None:
        """Pass tokens on until the generation is done or the stream has ended. Raises EngineError."""
        self._reader, self._done = generation, asyncio.get_running_loop().create_future()
        try:
            self._hand_over()
            if not (generation.is_done or self._has_ended):
                await self._done
        finally:
            self._reader = self._done = None

    def continues(self, generation: Generation) -> bool:
        """Return whether ``generation`` requests what follows the tokens that were taken."""
        params: Any = generation.request.params
        same = (params.temperature, params.top_p) == (self.temperature, self.top_p)
        return same and (*generation.token_ids,) == (*self.prefix, *self.tokens[: self.num_taken])

    def stop(self) -> int:
        """Remove the request from vLLM; return the number of unused tokens."""
        if self._task is not None:
            self._task.cancel()
        return len(self.tokens) - self.num_taken

    async def _run(self, answers: AsyncGenerator[Any, None]) -> None:
        failure: EngineError | None = None
        try:
            async with aclosing(answers):
                async for output in answers:
                    self._add(output)
                    if self._is_far_ahead:
                        break
        except EngineError as error:
            failure = error
        finally:
            self._has_ended = True
            self._settle(failure)

    @property
    def _is_far_ahead(self) -> bool:
        return self._reader is None and len(self.tokens) - self.num_taken >= self.lookahead

    def _add(self, output: Any) -> None:
        (choice,) = output.outputs
        if not self.tokens:
            self.num_cached = output.num_cached_tokens or 0
        if choice.finish_reason not in (None, "stop", "length"):
            raise EngineError(f"vLLM ended the request: {choice.finish_reason}")
        self.tokens += choice.token_ids
        self.logprobs += logprobs_of(choice)
        self._hand_over()

    def _hand_over(self) -> None:
        reader = self._reader
        if reader is None:
            return
        num_taken = reader.add(self.tokens[self.num_taken :], self.logprobs[self.num_taken :])
        self.num_taken += num_taken
        if reader.is_done:
            self._reader = None
            self._settle()

    def _settle(self, failure: EngineError | None = None) -> None:
        """Wake the reader: there is nothing more to wait for."""
        if self._done is None or self._done.done():
            return
        if failure is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(failure)


class Streams:
    """The streams of one engine: those that are read, and those that run ahead."""

    def __init__(self, ask: Ask, lookahead: int) -> None:
        """Generate at most ``lookahead`` tokens of a text before they are requested."""
        self._ask = ask
        self._lookahead = lookahead
        self._kept: defaultdict[str, dict[int, Stream]] = defaultdict(dict)
        self._wasted: Counter[str] = Counter()

    async def complete(
        self, generations: Sequence[Generation], runs_on: Callable[[Generation], bool]
    ) -> list[EngineError | None]:
        """Complete each; return what failed in its place, else None. Cancelling it stops the texts.

        One that ``runs_on`` continues ahead of the search. It is stopped when the search continues a sibling,
        of the same call and problem, and not it.
        """
        claimed = [self._claim(g) for g in generations]
        for stream in claimed:
            if stream is not None:
                self._stop_siblings(stream)
        families: defaultdict[str, list[Stream]] = defaultdict(list)
        outcomes = await asyncio.gather(
            *(
                self._complete(generation, stream, families[generation.request.home], runs_on)
                for generation, stream in zip(generations, claimed, strict=True)
            )
        )
        return list(outcomes)

    def release(self, home: str) -> int:
        """Stop what runs ahead for a problem that has ended; return the number of its unused tokens."""
        for stream in self._kept.pop(home, {}).values():
            self._wasted[home] += stream.stop()
        return self._wasted.pop(home, 0)

    def close(self) -> None:
        for home in list(self._kept):
            self.release(home)

    def _claim(self, generation: Generation) -> Stream | None:
        """Return the stream that has, or is about to have, what a generation requests."""
        home = generation.request.home
        stream = self._kept[home].pop(generation.request.seed, None)
        if stream is not None and not stream.continues(generation):
            self._wasted[home] += stream.stop()
            return None
        return stream

    def _stop_siblings(self, stream: Stream) -> None:
        kept = self._kept[stream.home]
        for sibling in stream.siblings:
            if kept.get(sibling.seed) is sibling:
                del kept[sibling.seed]
                self._wasted[stream.home] += sibling.stop()

    async def _complete(
        self,
        generation: Generation,
        stream: Stream | None,
        siblings: list[Stream],
        runs_on: Callable[[Generation], bool],
    ) -> EngineError | None:
        try:
            stream = await self._read(generation, stream, siblings)
        except EngineDeadError:
            raise
        except EngineError as error:
            return error
        home, seed = stream.home, stream.seed
        if runs_on(generation):
            stream.siblings = siblings
            siblings.append(stream)
            self._release_older(home, seed)
            self._kept[home][seed] = stream
        else:
            self._wasted[home] += stream.stop()
        return None

    async def _read(self, generation: Generation, stream: Stream | None, siblings: list[Stream]) -> Stream:
        """Read until the generation is done: from the stream it claimed, and from new ones after that."""
        while True:
            is_new = stream is None
            if stream is None:
                stream = self._begin(generation, siblings)
            num_before = len(generation.generated)
            try:
                await stream.read(generation)
            except BaseException:
                stream.stop()
                raise
            num_read = len(generation.generated) - num_before
            if is_new:
                generation.count(num_read, stream.num_cached, num_known=num_before)
            else:
                generation.count_found(num_read)
            if generation.is_done:
                return stream
            if is_new:
                raise EngineError(f"vLLM ended a text that is not at its end, after {num_read} tokens")
            stream = None

    def _begin(self, generation: Generation, siblings: list[Stream]) -> Stream:
        params: Any = generation.request.params
        stream = Stream(
            home=generation.request.home,
            seed=generation.request.seed,
            prefix=tuple(generation.token_ids),
            temperature=params.temperature,
            top_p=params.top_p,
            lookahead=self._lookahead,
            siblings=siblings,
        )
        stream.begin(self._ask(generation))
        return stream

    def _release_older(self, home: str, seed: int) -> None:
        """Stop an older stream of the same seed: of two equal requests one runs ahead."""
        older = self._kept[home].pop(seed, None)
        if older is not None:
            self._wasted[home] += older.stop()
