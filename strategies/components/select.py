"""Select: one draft, by a vote, by the verifier's rewards, or at random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from strategies.components.draft import Drafts
from strategies.components.stage import Stage
from strategies.parts.selection import SelectionName, select

By = Literal["vote", "reward", "random"]
_RULES: Mapping[By, SelectionName] = {"vote": "majority", "reward": "argmax", "random": "sample"}


@dataclass(frozen=True)
class Select:
    """One draft: that of most equivalent answers, of the greatest reward, or any (as in the original).

    It prompts no model; ``reward`` makes a reward call a draft. Only drafts with an end are chosen from.
    """

    kind: ClassVar[str] = "select"
    roles: ClassVar[tuple[str, ...]] = ()
    alone: ClassVar[bool] = True

    by: By = "vote"

    @property
    def calls(self) -> tuple[str, ...]:
        return ()

    async def run(self, stage: Stage, drafts: Drafts) -> Drafts:
        if self.by == "reward":
            drafts = await stage.score(drafts)
        texts, even = [draft.trajectory for draft in drafts], (0.0,) * len(drafts)
        chosen = await select(stage.session, texts, even, _RULES[self.by], stage.aggregation)
        return drafts if chosen is None else [drafts[chosen]]
