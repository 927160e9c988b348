"""The protocol of a search method."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from orchestrator.search.session import Session
from orchestrator.types import Solution


@runtime_checkable
class Strategy(Protocol):
    """A search method: a frozen dataclass of knobs with one coroutine.

    Example::

        import asyncio
        from dataclasses import dataclass

        from orchestrator.testing import check_strategy
        from orchestrator.types import Sampling, Solution, Trajectory

        @dataclass(frozen=True)
        class FirstFinished:  # several samples, of which the first that finished is the answer
            num_samples: int = 4
            sampling: Sampling = Sampling(max_tokens=14)

            @property
            def readouts(self):
                return ()  # no verifier

            async def solve(self, session):
                begun = [Trajectory()] * self.num_samples
                sampled = await session.generate(begun, self.sampling, to_end=True)
                found = tuple(t for t in sampled if t.steps)  # a limit may withhold some
                best = [i for i, t in enumerate(found) if t.finished] or range(len(found))
                weights = (0.0,) * len(found)
                return Solution(best[0] if found else None, found, weights, usage=session.usage)

        asyncio.run(check_strategy(FirstFinished(), budget=4, sample_tokens=14))
    """

    @property
    def readouts(self) -> tuple[str, ...]:
        """The verifier read-outs that it can use; empty if it needs no verifier."""
        ...

    async def solve(self, session: Session) -> Solution:
        """Return the candidates for the problem of ``session``, with the answer among them.

        Raises ProblemError, which ends this problem only.
        """
        ...


@runtime_checkable
class Budgeted(Protocol):
    """A strategy that declares how it reads ``budget=N``, as all shipped strategies do."""

    budget_knob: ClassVar[str | None]
    """The knob that is N; None if the budget is not used."""

    independent_samples: ClassVar[bool]
    """Whether the candidates are independent samples: the first n of N are those of a run with N = n."""


@runtime_checkable
class Bounded(Protocol):
    """A strategy, or a part, that declares how many answers it draws, where no budget knob alone says so."""

    @property
    def num_answers(self) -> int | None:
        """How many at most, with these knobs; None where nothing bounds them."""
        ...


@runtime_checkable
class Whole(Protocol):
    """A strategy that declares whether it requests whole answers alone."""

    whole_answers: ClassVar[bool]
    """Whether every request is for a whole answer, and none for one step or for the rest of an answer."""


@runtime_checkable
class Prompting(Protocol):
    """A strategy, or a verifier, that may ask the policy something else than the task's question."""

    @property
    def prompts(self) -> bool:
        """Whether it does, with these knobs."""
        ...


@runtime_checkable
class Asking(Protocol):
    """A strategy that declares which policies it asks, where no knob ``policy`` or ``policies`` says so."""

    @property
    def policies(self) -> Collection[str]:
        """Their names; ``engine`` is the main one."""
        ...


@runtime_checkable
class Chatting(Protocol):
    """A strategy that may show the policy earlier turns of a chat."""

    @property
    def in_chat(self) -> bool:
        """Whether a prompt has earlier turns, for which the policy needs a chat template."""
        ...


@runtime_checkable
class Labelled(Protocol):
    """A strategy that may use the reference answers."""

    @property
    def knows_answers(self) -> bool:
        """Whether it does, with these knobs: its figures are then an upper bound, and the files say so."""
        ...


def knows_answers(strategy: Strategy) -> bool:
    """Return whether a strategy uses the reference answers."""
    return isinstance(strategy, Labelled) and strategy.knows_answers


def in_chat(strategy: Strategy) -> bool:
    """Return whether a strategy shows the policy earlier turns of a chat."""
    return isinstance(strategy, Chatting) and strategy.in_chat


def most_answers(part: object) -> int | None:
    """Return how many answers a strategy draws at most; None where neither it nor its budget says so."""
    if isinstance(part, Bounded):
        return part.num_answers
    knob = part.budget_knob if isinstance(part, Budgeted) else None
    return None if knob is None else int(getattr(part, knob))


def prompts(part: object) -> bool:
    """Return whether a part prompts in words, or one that it holds does, such as a checklist."""
    asks = isinstance(part, Prompting) and part.prompts is True  # an engine's ``prompts`` are a text
    return asks or any(prompts(each) for _, each in parts_of(part))


def strategies_in(part: object) -> Iterator[Strategy]:
    """Yield a strategy, and each one that it runs, at any depth."""
    if isinstance(part, Strategy):
        yield part
    for _, each in parts_of(part):
        yield from strategies_in(each)


def parts_of(part: object) -> list[tuple[Any, Any]]:
    """Return what a strategy, or a part of one, holds: each with its name, or with its place in a list."""
    if isinstance(part, Mapping):
        return list(part.items())
    if isinstance(part, list | tuple):
        return list(enumerate(part))
    if is_dataclass(part) and not isinstance(part, type):
        return [(knob.name, getattr(part, knob.name)) for knob in fields(part)]
    return []
