"""Critique: strengths and weaknesses of every draft, in one call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from orchestrator.prompts.replies import read_sections
from strategies.components.draft import Drafts
from strategies.components.stage import Stage


@dataclass(frozen=True)
class Critique:
    """Notes on each draft, which a later layer's prompt shows.

    A draft that the reply does not number has none.
    """

    kind: ClassVar[str] = "critique"
    roles: ClassVar[tuple[str, ...]] = ("critique", "critiqued")
    alone: ClassVar[bool] = True

    async def run(self, stage: Stage, drafts: Drafts) -> Drafts:
        bare = [replace(draft, critique="") for draft in drafts]
        read = partial(read_sections, num_items=len(drafts))
        (sections,) = await stage.ask("critique", [stage.about_all(bare)], read)
        if sections is None:
            return bare
        return [replace(draft, critique=text) for draft, text in zip(bare, sections, strict=True)]
