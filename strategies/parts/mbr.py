"""The candidate that is most like all others (minimum Bayes risk), as in "When Life Gives You Samples".

Khairi et al., "When Life Gives You Samples: The Benefits of Scaling up Inference Compute for Multilingual
LLMs", https://arxiv.org/abs/2506.20544:

    answer = argmax_i  sum_j  w_j u(y_i, y_j),    j over the candidates, and over evidence

where evidence are further samples, such as answers to the question in another language, that are compared
with and cannot win (X-MBR).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from annotated_types import Ge

from orchestrator.prompts.template import Template
from orchestrator.schema import CountOrZero, checked
from orchestrator.search.session import Session
from orchestrator.types import ENGINE, Prompt, RoleRecord, Sampling, Trajectory
from strategies.parts import checks
from strategies.parts.chooser import Chooser, Chosen, Offered
from strategies.parts.prompted import Shown, reply_to
from strategies.parts.similarity import TextUtility, similarities
from strategies.parts.voting import candidates
from strategies.parts.weights import normalise

Utility = Literal["answer"] | TextUtility
ROLE = "evidence"


@dataclass(frozen=True)
@checked("strategy.selection")
class Mbr(Chooser):
    """By answer (1 for equivalent ones, else 0: the vote), words (``f1``) or characters (``chrf``).

    w_j is 1, or with ``weighted`` a candidate's normalised weight; ``evidence_weight`` for each of
    ``evidence`` samples of ``policy``, which answer ``evidence_prompt``. Equal sums go as in the vote among
    them.
    """

    utility: Utility = "chrf"
    weighted: bool = False
    evidence: CountOrZero = 0
    evidence_weight: Annotated[float, Ge(0)] = 1.0
    evidence_prompt: Template | None = None
    sampling: Sampling = Sampling()
    policy: str = ENGINE

    def __post_init__(self) -> None:
        allowed = (
            "must be a template for evidence, such as prompts@strategy.selection.evidence_prompt=evidence"
        )
        given = not self.evidence or self.evidence_prompt is not None
        checks.require(given, "selection.evidence_prompt", None, allowed)
        if self.evidence_prompt is not None:
            self.evidence_prompt.check("strategy.selection.evidence_prompt", ("question",), {"question"})

    @property
    def prompts(self) -> bool:
        return self.evidence > 0 and self.policy == ENGINE

    @property
    def num_answers(self) -> int:
        """The samples that it draws beside the candidates."""
        return self.evidence

    async def choose(self, session: Session, offered: Offered) -> Chosen:
        if len(offered.trajectories) == 1:
            return Chosen(0)
        evidence, said = await self._evidence(session)
        keys = [*offered.keys, *(await session.answers(evidence) if evidence else ())]
        weights = [*self._weights(offered), *[self.evidence_weight] * len(evidence)]
        utilities = self._utilities([*offered.trajectories, *evidence], keys, len(offered.trajectories))
        return Chosen(offered.elected(most_alike(utilities, weights)), said)

    def _weights(self, offered: Offered) -> list[float]:
        if not self.weighted:
            return [1.0] * len(offered.trajectories)
        weights: list[float] = normalise(offered.log_weights).tolist()
        return weights

    def _utilities(
        self, texts: Sequence[Trajectory], keys: Sequence[str | None], num: int
    ) -> Sequence[Sequence[float]]:
        """Return u of each of the first ``num`` texts with all texts."""
        if self.utility == "answer":
            return [[float(key is not None and key == other) for other in keys] for key in keys[:num]]
        written = [t.text for t in texts]
        return similarities(written[:num], written, self.utility)

    async def _evidence(self, session: Session) -> tuple[list[Trajectory], tuple[RoleRecord, ...]]:
        """Return the evidence that was not withheld, finished samples before any that are not."""
        if self.evidence_prompt is None or not self.evidence:
            return [], ()
        text = self.evidence_prompt.fill({"question": session.question}, {}).text
        shown = Shown(Prompt(text, self.evidence_prompt.instruction, role=ROLE))
        replied = await reply_to(
            session, lambda _: shown, 1, self.sampling, num_replies=self.evidence, policy=self.policy
        )
        drawn = replied.replies
        said = tuple(replace(replied, replies=[t]).record(0, t.finished) for t in drawn)
        return [drawn[i] for i in candidates(drawn)], said


def most_alike(utilities: Sequence[Sequence[float]], weights: Sequence[float]) -> list[int]:
    """Return the rows of the greatest weighted sum; several where sums are equal but for rounding."""
    sums = [math.fsum(w * u for w, u in zip(weights, row, strict=True)) for row in utilities]
    most = max(sums)
    return [i for i, total in enumerate(sums) if math.isclose(total, most, rel_tol=1e-9)]
