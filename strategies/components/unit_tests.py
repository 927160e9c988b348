"""Unit tests and evaluate: statements that a right answer fulfils, and the drafts by how many they do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from orchestrator.prompts.replies import read_marks, read_statements
from orchestrator.schema import Count, NotEmpty
from orchestrator.types import ENGINE
from strategies.components.draft import Draft, Drafts, UnitTest
from strategies.components.stage import Stage, numbered


@dataclass(frozen=True)
class UnitTests:
    """At most ``number`` statements, in one call; none where the reply holds none."""

    kind: ClassVar[str] = "unit_tests"
    roles: ClassVar[tuple[str, ...]] = ("unit_tests",)
    alone: ClassVar[bool] = True

    number: Count = 5
    policy: NotEmpty = ENGINE

    @property
    def calls(self) -> tuple[str, ...]:
        return (self.policy,)

    async def run(self, stage: Stage, drafts: Drafts) -> Drafts:
        asked, read = {"number": str(self.number)}, partial(read_statements, most=self.number)
        (statements,) = await stage.ask("unit_tests", [asked], read, self.policy)
        tests = tuple(UnitTest(statement) for statement in statements or ())
        return [replace(draft, tests=tests) for draft in drafts]


@dataclass(frozen=True)
class Evaluate:
    """The drafts by the number of tests that each passes, in one call a draft; equal ones keep their order.

    A test without a mark is not passed. Without tests there is no call.
    """

    kind: ClassVar[str] = "evaluate"
    roles: ClassVar[tuple[str, ...]] = ("evaluate",)
    alone: ClassVar[bool] = True

    policy: NotEmpty = ENGINE

    @property
    def calls(self) -> tuple[str, ...]:
        return (self.policy,)

    async def run(self, stage: Stage, drafts: Drafts) -> Drafts:
        tests = drafts[0].tests
        if not tests:
            return drafts
        statements = numbered([test.statement for test in tests])
        read = partial(read_marks, good="[Passed]", bad="[Failed]", num_items=len(tests))
        asked = [{"answer": draft.text, "statements": statements} for draft in drafts]
        marks = await stage.ask("evaluate", asked, read, self.policy)
        judged = [_evaluated(draft, own or ()) for draft, own in zip(drafts, marks, strict=True)]
        return sorted(judged, key=lambda draft: -draft.num_passed)


def _evaluated(draft: Draft, marks: tuple[bool | None, ...]) -> Draft:
    passed = marks or (None,) * len(draft.tests)
    return replace(
        draft, tests=tuple(UnitTest(t.statement, p) for t, p in zip(draft.tests, passed, strict=True))
    )
