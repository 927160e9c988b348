"""How far a pipeline has come: its answers, what was said of them, and the drafts of each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from orchestrator.search.session import Session
from orchestrator.types import AttemptRecord, Record, Solution, Trajectory
from strategies.components.draft import Draft, Drafts
from strategies.components.stage import Stage
from strategies.parts.weights import Aggregation, log_odds_of


@dataclass
class Progress:
    """All answers in the order in which layers made them, and the drafts after each layer, latest last."""

    answers: list[Trajectory] = field(default_factory=list)
    history: list[Record] = field(default_factory=list)
    layers: list[Drafts] = field(default_factory=list)

    @property
    def drafts(self) -> Drafts:
        return self.layers[-1] if self.layers else ()

    def add(self, stages: Sequence[Stage], made: Sequence[Drafts]) -> None:
        """Note what the components of a layer have made; new drafts are numbered in their order."""
        for stage in stages:
            self.history += stage.said
            for number, rewarded in stage.rewarded.items():
                self.answers[number] = rewarded
        drafts = [self._numbered(draft, stages[0].layer) for own in made for draft in own]
        # Fusions that a limit withheld keep the same drafts.
        self.layers.append(list({draft.number: draft for draft in drafts}.values()))

    def _numbered(self, draft: Draft, layer: int) -> Draft:
        if draft.number is not None:
            return draft
        number = len(self.answers)
        self.answers.append(draft.trajectory)
        if draft.read:
            self.history.append(
                AttemptRecord(
                    number, chain=0, iteration=layer, read=draft.read, num_dropped=draft.num_dropped
                )
            )
        return replace(draft, number=number)

    def solution(self, session: Session, aggregation: Aggregation | None) -> Solution:
        """Return all answers; the chosen one is the first with an end in the latest layer that has one."""
        latest = [draft for drafts in reversed(self.layers) for draft in drafts]
        finished = [draft for draft in latest if draft.trajectory.finished] or latest
        return Solution(
            answer_index=finished[0].number if finished else None,
            trajectories=tuple(self.answers),
            log_weights=tuple(
                0.0 if aggregation is None else log_odds_of(t, aggregation) for t in self.answers
            ),
            history=tuple(self.history),
            usage=session.usage,
        )
