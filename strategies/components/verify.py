"""Verify: keep the drafts that a model finds correct, after it has reasoned about each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from orchestrator.prompts.replies import read_mark
from orchestrator.schema import NotEmpty
from orchestrator.types import ENGINE
from strategies.components.draft import Drafts
from strategies.components.stage import Stage


@dataclass(frozen=True)
class Verify:
    """Two calls a draft: reasoning, then a verdict on it. All drafts stay where none is accepted.

    A verdict without either mark does not accept.
    """

    kind: ClassVar[str] = "verify"
    roles: ClassVar[tuple[str, ...]] = ("reason", "verdict")
    alone: ClassVar[bool] = True

    policy: NotEmpty = ENGINE

    @property
    def calls(self) -> tuple[str, ...]:
        return (self.policy,)

    async def run(self, stage: Stage, drafts: Drafts) -> Drafts:
        reasons = await stage.ask("reason", [{"answer": d.text} for d in drafts], _read_text, self.policy)
        asked = [{"answer": d.text, "notes": why or ""} for d, why in zip(drafts, reasons, strict=True)]
        read = partial(read_mark, good="[Correct]", bad="[Incorrect]")
        verdicts = await stage.ask("verdict", asked, read, self.policy)
        judged = [replace(d, verdict=v is True) for d, v in zip(drafts, verdicts, strict=True)]
        return [draft for draft in judged if draft.verdict] or judged


def _read_text(reply: str) -> str | None:
    return reply.strip() or None
