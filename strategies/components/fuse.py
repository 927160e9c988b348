"""Fuse: new answers, each from a prompt that shows all drafts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from orchestrator.schema import Count, NotEmpty
from orchestrator.types import ENGINE
from strategies.components.draft import Draft, Drafts
from strategies.components.stage import Stage


@dataclass(frozen=True)
class Fuse:
    """``copies`` new drafts in place of the old ones, from the drafts and their critiques.

    They are answers to the problem, so the budget counts them. Where a limit withheld all, or not
    one draft has room in the prompt, the drafts stay.
    """

    kind: ClassVar[str] = "fuse"
    roles: ClassVar[tuple[str, ...]] = ("fuse",)
    alone: ClassVar[bool] = False

    copies: Count = 1
    policy: NotEmpty = ENGINE

    @property
    def calls(self) -> tuple[str, ...]:
        return (self.policy,)

    async def run(self, stage: Stage, drafts: Drafts) -> Drafts:
        fused = await stage.fuse(drafts, self.copies, self.policy)
        shown = drafts[: fused.num_shown]
        read = tuple(draft.number for draft in shown if draft.number is not None)
        new = [Draft(text, read=read, num_dropped=fused.num_dropped) for text in fused.replies]
        return new or drafts
