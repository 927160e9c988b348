"""Fuse: new answers, each from a prompt that shows all drafts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from orchestrator.schema import Count
from orchestrator.types import Prompt, Trajectory
from strategies.components.draft import Draft, Drafts
from strategies.components.stage import Stage


@dataclass(frozen=True)
class Fuse:
    """``copies`` new drafts in place of the old ones, from the drafts and their critiques.

    They are answers to the problem, so the budget counts them. Where a limit withheld all, the drafts stay.
    """

    kind: ClassVar[str] = "fuse"
    roles: ClassVar[tuple[str, ...]] = ("fuse",)
    alone: ClassVar[bool] = False

    copies: Count = 1

    async def run(self, stage: Stage, drafts: Drafts) -> Drafts:
        template, fields = stage.templates.of("fuse"), stage.about_all(drafts)
        filled = template.fill(fields.given, fields.written, stage.session.special)
        start = Trajectory(prompt=Prompt(filled.text, template.instruction, role="fuse"))
        fused = await stage.session.generate([start] * self.copies, stage.sampling, to_end=True)
        read = tuple(draft.number for draft in drafts if draft.number is not None)
        return [Draft(trajectory, read=read) for trajectory in fused if trajectory.steps] or drafts
