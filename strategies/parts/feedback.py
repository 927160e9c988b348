"""What the next prompt says of earlier attempts: nothing, a reward, reasons, a critique or a hint.

A critique (self-refine) names errors. A hint ("Inference-Time Scaling for Complex Tasks",
https://arxiv.org/abs/2504.00294) must not hold the solution: one that holds the reference answer is dropped,
and its record says that it was not used. A run with hints is marked, since it knows the answers for that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.prompts.template import Template
from orchestrator.search.session import Session
from orchestrator.types import Params, Prompt
from strategies.parts.attempts import Chain, show
from strategies.parts.prompted import Shown, reply_to

Feedback = Literal["none", "score", "reasons", "critique", "hint"]
PROMPTED: tuple[Feedback, ...] = ("critique", "hint")
"""The kinds that a model writes."""


@dataclass(frozen=True, slots=True)
class Notes:
    """How the notes on a chain are made: by a prompt to ``teacher`` where a model writes them."""

    kind: Feedback
    template: Template | None
    params: Params
    teacher: str
    keep: Callable[[Sequence[int], int], Sequence[int]]

    async def of(self, session: Session, chain: Chain, shown: Sequence[int], iteration: int) -> str:
        """Return what is said of the attempts at ``shown``; the record of a model's words is the chain's."""
        if self.kind == "score":
            reward = chain.attempts[shown[-1]].reward
            return f"reward {reward.value:.2f}" if reward else ""
        if self.kind == "reasons":
            said = session.reasons(chain.attempts[shown[-1]])
            return said.text if said else ""
        return await self._written(session, chain, shown, iteration) if self.kind in PROMPTED else ""

    async def _written(self, session: Session, chain: Chain, shown: Sequence[int], iteration: int) -> str:
        def prompt(num: int) -> Shown:
            assert self.template is not None
            those = self.keep(shown, num)
            filled = show(self.template, session.question, chain, those, "", session.special)
            return Shown(
                Prompt(filled.text, self.template.instruction, (), "", "", role=self.kind), filled.num_removed
            )

        replied = await reply_to(session, prompt, len(shown), self.params, policy=self.teacher)
        text = "".join(reply.text for reply in replied.replies)
        is_hidden = self.kind == "hint" and await session.reveals(text)
        chain.said.append(replied.record(iteration, bool(text.strip()) and not is_hidden))
        return "" if is_hidden else text
