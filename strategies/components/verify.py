"""Verify: keep the drafts that a model finds correct, after it has reasoned about each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from orchestrator.prompts.replies import read_mark
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

    async def run(self, stage: Stage, drafts: Drafts) -> Drafts:
        reasons = await stage.ask("reason", [stage.about(d) for d in drafts], _read_text)
        asked = [stage.about(d, notes=why or "") for d, why in zip(drafts, reasons, strict=True)]
        read = partial(read_mark, good="[Correct]", bad="[Incorrect]")
        verdicts = await stage.ask("verdict", asked, read)
        judged = [replace(d, verdict=v is True) for d, v in zip(drafts, verdicts, strict=True)]
        return [draft for draft in judged if draft.verdict] or judged


def _read_text(reply: str) -> str | None:
    return reply.strip() or None
