"""Rank: the drafts by quality, in one listwise call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from orchestrator.prompts.replies import read_order
from orchestrator.schema import Count, NotEmpty
from orchestrator.types import ENGINE
from strategies.components.draft import Drafts
from strategies.components.stage import Stage


@dataclass(frozen=True)
class Rank:
    """The best ``top_k``; drafts that the reply does not name follow in their order.

    The order is kept where the reply names none. One draft needs no call.
    """

    kind: ClassVar[str] = "rank"
    roles: ClassVar[tuple[str, ...]] = ("rank",)
    alone: ClassVar[bool] = True

    top_k: Count = 5
    policy: NotEmpty = ENGINE

    @property
    def calls(self) -> tuple[str, ...]:
        return (self.policy,)

    async def run(self, stage: Stage, drafts: Drafts) -> Drafts:
        if len(drafts) == 1:
            return drafts
        order = await stage.ask_of_all("rank", drafts, read_order, self.policy) or ()
        ranked = [drafts[i] for i in order]
        return [*ranked, *drafts[len(ranked) :]][: self.top_k]
