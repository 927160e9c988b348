"""Rank: the drafts by quality, in one listwise call."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from orchestrator.prompts.replies import read_order
from orchestrator.schema import Count
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

    async def run(self, stage: Stage, drafts: Drafts) -> Drafts:
        if len(drafts) == 1:
            return drafts
        read = partial(read_order, num_items=len(drafts))
        (order,) = await stage.ask("rank", [stage.about_all(drafts)], read)
        return [drafts[i] for i in (order or range(len(drafts)))[: self.top_k]]
