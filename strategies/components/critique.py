"""Critique: strengths and weaknesses of every draft, in one call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from orchestrator.prompts.replies import read_sections
from orchestrator.schema import NotEmpty
from orchestrator.types import ENGINE
from strategies.components.draft import Drafts
from strategies.components.stage import Stage


@dataclass(frozen=True)
class Critique:
    """Notes on each draft, which a later layer's prompt shows.

    A draft that the reply does not number has none, nor has one that its prompt had no room for.
    """

    kind: ClassVar[str] = "critique"
    roles: ClassVar[tuple[str, ...]] = ("critique", "critiqued")
    alone: ClassVar[bool] = True

    policy: NotEmpty = ENGINE

    @property
    def calls(self) -> tuple[str, ...]:
        return (self.policy,)

    async def run(self, stage: Stage, drafts: Drafts) -> Drafts:
        bare = [replace(draft, critique="") for draft in drafts]
        sections = await stage.ask_of_all("critique", bare, read_sections, self.policy) or ()
        noted = [replace(draft, critique=text) for draft, text in zip(bare, sections, strict=False)]
        return [*noted, *bare[len(noted) :]]
