"""The candidate that a model picks by a checklist which it has written for the question.

Khairi et al., "When Life Gives You Samples", https://arxiv.org/abs/2506.20544 (CHOPS: one call that sees all
candidates). The prompts are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.prompts.replies import read_choice
from orchestrator.prompts.template import Template
from orchestrator.schema import checked
from orchestrator.search.session import Session
from orchestrator.types import ENGINE, Prompt, RoleRecord, Sampling
from strategies.parts.chooser import Chooser, Chosen, Offered
from strategies.parts.prompted import Shown, reply_to

_PICK = ("answers", "notes", "question")


@dataclass(frozen=True)
@checked("strategy.selection")
class Checklist(Chooser):
    """Two calls of ``policy``: ``listing`` for a checklist, ``pick`` for the number of the best candidate.

    Where a reply cannot be read the vote decides, without a further call. One candidate needs no call. Where
    the context has no room for all candidates, those of the least rewards are not shown.
    """

    listing: Template
    pick: Template
    sampling: Sampling = Sampling(temperature=0.0, max_tokens=1024)
    policy: str = ENGINE

    def __post_init__(self) -> None:
        self.listing.check("strategy.selection.listing", ("question",), {"question"})
        self.pick.check("strategy.selection.pick", _PICK, {"answers"})

    @property
    def prompts(self) -> bool:
        return self.policy == ENGINE

    async def choose(self, session: Session, offered: Offered) -> Chosen:
        if len(offered.trajectories) == 1:
            return Chosen(0)
        points, said = await self._points(session)
        index = None
        if points:
            index, record = await self._picked(session, offered, points)
            said = (*said, record)
        return Chosen(offered.elected() if index is None else index, said)

    async def _points(self, session: Session) -> tuple[str, tuple[RoleRecord, ...]]:
        """Return the checklist, empty where a limit withheld it, and the record of its reply."""
        prompt = self.listing.fill({"question": session.question}, {}).text
        shown = Shown(Prompt(prompt, self.listing.instruction, (), "", "", "checklist"))
        replied = await reply_to(session, lambda _: shown, 1, self.sampling, policy=self.policy)
        text = "".join(reply.text for reply in replied.replies).strip()
        return text, (replied.record(0, bool(text)),)

    async def _picked(self, session: Session, offered: Offered, points: str) -> tuple[int | None, RoleRecord]:
        """Return the index that a model names, None where it names none, and the record of its reply."""
        ranking = sorted(range(len(offered.scores)), key=lambda i: -offered.scores[i])

        def show(num: int) -> Shown:
            texts = enumerate((offered.trajectories[i].text.strip() for i in ranking[:num]), start=1)
            answers = "\n\n".join(f"[{number}] {text}" for number, text in texts)
            written = {"answers": answers, "notes": points}
            filled = self.pick.fill({"question": session.question}, written, session.special)
            prompt = Prompt(filled.text, self.pick.instruction, (), "", "", "pick")
            return Shown(prompt, filled.num_removed)

        replied = await reply_to(session, show, len(ranking), self.sampling, policy=self.policy)
        place = read_choice("".join(reply.text for reply in replied.replies), replied.num_shown)
        record = replied.record(0, place is not None)
        return None if place is None else ranking[place], record
