"""The candidate that a model picks by a checklist which it has written for the question.

Khairi et al., "When Life Gives You Samples", https://arxiv.org/abs/2506.20544 (CHOPS: one call that sees all
candidates; its prompts are not published here, and conf/prompts has others).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.prompts.replies import read_choice
from orchestrator.prompts.template import Template
from orchestrator.schema import checked
from orchestrator.search.session import Session
from orchestrator.types import Prompt, RoleRecord, Sampling, Trajectory
from strategies.parts.chooser import Chooser, Chosen, Offered

_PICK = {"question", "answers", "notes"}


@dataclass(frozen=True)
@checked("strategy.selection")
class Checklist(Chooser):
    """Two calls: ``listing`` asks for a checklist, ``pick`` for the number of the best candidate by it.

    Where a reply cannot be read the vote decides, without a further call. One candidate needs no call.
    """

    listing: Template
    pick: Template
    sampling: Sampling = Sampling(temperature=0.0, max_tokens=1024)

    def __post_init__(self) -> None:
        self.listing.check("strategy.selection.listing", ("question",), {"question"})
        self.pick.check("strategy.selection.pick", tuple(sorted(_PICK)), {"answers"})

    @property
    def prompts(self) -> bool:
        return True

    async def choose(self, session: Session, offered: Offered) -> Chosen:
        if len(offered.trajectories) == 1:
            return Chosen(0)
        points, listed = await self._ask(session, "checklist", self.listing, {})
        if not points:
            return Chosen(offered.elected(), listed)
        texts = enumerate((t.text.strip() for t in offered.trajectories), start=1)
        answers = "\n\n".join(f"[{number}] {text}" for number, text in texts)
        written = {"answers": answers, "notes": points}
        reply, picked = await self._ask(
            session, "pick", self.pick, written, num_items=len(offered.trajectories)
        )
        index = read_choice(reply, len(offered.trajectories))
        return Chosen(offered.elected() if index is None else index, (*listed, *picked))

    async def _ask(
        self,
        session: Session,
        role: str,
        template: Template,
        written: Mapping[str, str],
        num_items: int | None = None,
    ) -> tuple[str, tuple[RoleRecord, ...]]:
        """Return the reply, empty where a limit withheld it, and its record."""
        filled = template.fill({"question": session.question}, written, session.special)
        start = Trajectory(prompt=Prompt(filled.text, template.instruction, (), "", "", role))
        (said,) = await session.generate([start], self.sampling, to_end=True)
        if not said.steps:
            return "", ()
        text = said.text.strip()
        parsed = bool(text) if num_items is None else read_choice(text, num_items) is not None
        digest = hashlib.sha256(filled.text.encode()).hexdigest()[:16]
        record = RoleRecord(role, 0, "engine", digest, said.text, parsed, said.num_tokens, filled.num_removed)
        return text, (record,)
