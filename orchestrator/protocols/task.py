"""The interface of a task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from msgspec import UNSET, UnsetType

from orchestrator.steps.rule import StepRule
from orchestrator.types import Problem


class Task(Protocol):
    r"""Where problems come from, how an answer is read, and when two answers are the same.

    Example::

        import asyncio
        from dataclasses import dataclass

        from orchestrator.testing import check_task
        from orchestrator.types import Problem

        @dataclass(frozen=True)
        class DoublingTask:  # numbers to double; an answer is the number after the last #
            delimiter: str = "\n"
            answer_marker: str | None = "#"
            instruction: str = "End with # and the number."
            num_problems: int = 100

            def problems(self, offset, limit):
                end = self.num_problems if limit is None else min(self.num_problems, offset + limit)
                return (Problem(f"double-{i}", f"What is 2 x {i}?", str(2 * i)) for i in range(offset, end))

            def extract(self, text):
                answer = text.rpartition("#")[2].strip() if "#" in text else ""
                return answer if answer.isdecimal() else None

            async def keys(self, answers):
                return [None if answer is None else str(int(answer)) for answer in answers]

            async def grade(self, answer, reference):
                return answer is not None and int(answer) == int(reference)

        asyncio.run(check_task(DoublingTask(), solution=lambda p: f"Two of them.\n#{p.answer}\n"))
    """

    @property
    def delimiter(self) -> str:
        """The text that ends a step, and stays in it."""
        ...

    @property
    def answer_marker(self) -> str | None:
        """A text that every step with the final answer holds; None: only end of text ends a trajectory.

        A step that holds it in an empty box, or as the instruction does, states no answer.
        """
        ...

    @property
    def instruction(self) -> str:
        """The instruction that the policy gets with the question; may be empty."""
        ...

    @property
    def num_problems(self) -> int: ...

    def problems(self, offset: int, limit: int | None) -> Iterator[Problem]:
        """Yield problems ``offset .. offset + limit``; a task and a split fix them, whatever the seed."""
        ...

    def extract(self, text: str) -> str | None:
        """Return the final answer of a trajectory's text, or None where it states none."""
        ...

    async def keys(self, answers: Sequence[str | None]) -> list[str | None]:
        """Return one key an answer; equivalent answers have equal keys, None stays None."""
        ...

    async def grade(self, answer: str | None, reference: str) -> bool: ...


@runtime_checkable
class EndsSteps(Protocol):
    """A task whose steps may end in another way than at its delimiter."""

    @property
    def step(self) -> StepRule: ...


def step_rule_of(task: Task) -> StepRule | UnsetType:
    """Return how a task's steps end; UNSET where they end at its delimiter."""
    step: StepRule | None = getattr(task, "step", None)  # a check of the protocol takes 50 times as long
    return UNSET if step is None or step.mode == "delimiter" else step
