"""Select: one draft, by a vote, the verifier's rewards, likeness, a checklist, or at random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from orchestrator.types import ENGINE
from strategies.components.draft import Drafts
from strategies.components.stage import Stage
from strategies.parts.checklist import Checklist
from strategies.parts.selection import Selection, SelectionName, choose

By = Literal["vote", "reward", "random", "mbr", "checklist"]
_RULES: Mapping[By, SelectionName] = {
    "vote": "majority",
    "reward": "argmax",
    "random": "sample",
    "mbr": "mbr",
}


@dataclass(frozen=True)
class Select:
    """One draft: of most equivalent answers, of the greatest reward, that is most like all others, or any.

    ``checklist`` has ``policy`` write a checklist and pick a draft by it; ``reward`` makes a reward call a
    draft; the others call no model. Only drafts with an end are chosen from.
    """

    kind: ClassVar[str] = "select"
    alone: ClassVar[bool] = True

    by: By = "vote"
    policy: str = ENGINE

    @property
    def roles(self) -> tuple[str, ...]:
        return ("checklist", "pick") if self.by == "checklist" else ()

    @property
    def calls(self) -> tuple[str, ...]:
        return (self.policy,) if self.by == "checklist" else ()

    async def run(self, stage: Stage, drafts: Drafts) -> Drafts:
        if self.by == "reward":
            drafts = await stage.score(drafts)
        texts, even = [draft.trajectory for draft in drafts], (0.0,) * len(drafts)
        chosen = await choose(stage.session, texts, even, self._rule(stage), stage.aggregation)
        stage.said += [replace(record, layer=stage.layer) for record in chosen.said]
        return drafts if chosen.index is None else [drafts[chosen.index]]

    def _rule(self, stage: Stage) -> Selection:
        if self.by != "checklist":
            return _RULES[self.by]
        of = stage.templates.of
        return Checklist(of("checklist"), of("pick"), stage.role_sampling, self.policy)
