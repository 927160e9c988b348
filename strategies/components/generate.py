"""Generate: the samples that a pipeline begins with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from orchestrator.schema import Count
from orchestrator.types import Trajectory
from strategies.components.draft import Draft, Drafts
from strategies.components.stage import Stage


@dataclass(frozen=True)
class Generate:
    """Independent answers to the question. ``samples`` None: what the budget leaves for them.

    A draft that a limit withheld is none.
    """

    kind: ClassVar[str] = "generate"
    roles: ClassVar[tuple[str, ...]] = ()
    alone: ClassVar[bool] = False

    samples: Count | None = None

    async def run(self, stage: Stage, drafts: Drafts) -> Drafts:
        num = self.samples or 1
        starts = [Trajectory()] * num
        found = await stage.session.generate(starts, stage.sampling, to_end=True, samples=range(num))
        return [Draft(trajectory) for trajectory in found if trajectory.steps]
