"""Generate: the samples that a pipeline begins with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from orchestrator.schema import Count, Rule
from orchestrator.types import ENGINE, Trajectory
from strategies.components.draft import Draft, Drafts
from strategies.components.stage import Stage
from strategies.parts.concurrent import concurrently

Policies = Annotated[
    tuple[str, ...],
    Rule(lambda names: 0 < len(names) == len(set(names)), "must be names of policies, each of them once"),
]


@dataclass(frozen=True)
class Generate:
    """``samples`` independent answers of each policy. None: what the budget leaves for them.

    A draft that a limit withheld is none.
    """

    kind: ClassVar[str] = "generate"
    roles: ClassVar[tuple[str, ...]] = ()
    alone: ClassVar[bool] = False

    samples: Count | None = None
    policies: Policies = (ENGINE,)

    @property
    def calls(self) -> tuple[str, ...]:
        return self.policies

    async def run(self, stage: Stage, drafts: Drafts) -> Drafts:
        scopes = [stage.session] if len(self.policies) == 1 else [*map(stage.session.fork, self.policies)]
        starts = [Trajectory()] * (self.samples or 1)
        made = await concurrently(
            scope.generate(starts, stage.sampling, to_end=True, policy=policy)
            for scope, policy in zip(scopes, self.policies, strict=True)
        )
        return [Draft(trajectory) for own in made for trajectory in own if trajectory.steps]
