"""Where a component works: a session, how it samples, what it prompts with, and the records of replies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol, TypeVar

from orchestrator.search.session import Session
from orchestrator.types import RoleRecord, Sampling, Trajectory
from strategies.components.draft import Draft, Drafts
from strategies.components.templates import PipelineTemplates
from strategies.parts.roles import Fields, ask_role, numbered
from strategies.parts.weights import Aggregation

T = TypeVar("T")


@dataclass
class Stage:
    """One component's place in a pipeline.

    ``said`` are the replies of its roles, in their order; ``rewarded`` the answers that it scored, by number.
    """

    session: Session
    layer: int
    templates: PipelineTemplates
    sampling: Sampling
    role_sampling: Sampling
    aggregation: Aggregation = "last"
    said: list[RoleRecord] = field(default_factory=list)
    rewarded: dict[int, Trajectory] = field(default_factory=dict)

    async def ask(
        self, role: str, fields: Sequence[Fields], read: Callable[[str], T | None]
    ) -> list[T | None]:
        """Return what is read from the reply to each prompt, in one call; None: nothing can be read."""
        replies = await ask_role(
            self.session, role, self.templates.of(role), fields, read, self.role_sampling, layer=self.layer
        )
        self.said += [reply.record for reply in replies if reply is not None]
        return [None if reply is None else reply.value for reply in replies]

    async def score(self, drafts: Drafts) -> Drafts:
        """Return the drafts with their rewards."""
        texts = await self.session.score([draft.trajectory for draft in drafts])
        scored = [replace(draft, trajectory=text) for draft, text in zip(drafts, texts, strict=True)]
        self.rewarded |= {d.number: d.trajectory for d in scored if d.number is not None}
        return scored

    def about(self, draft: Draft | None = None, **written: str) -> Fields:
        """Return the fields of a prompt about one draft, or about the question alone."""
        answer = {} if draft is None else {"answer": draft.text}
        return Fields({"question": self.session.question}, {**answer, **written})

    def about_all(self, drafts: Drafts) -> Fields:
        """Return the fields of a prompt about all drafts, each with its critique where it has one."""
        given = {"question": self.session.question, "number": str(len(drafts))}
        return Fields(given, {"answers": numbered([self._shown(draft) for draft in drafts])})

    def _shown(self, draft: Draft) -> str:
        if not draft.critique:
            return draft.text
        fields = {"answer": draft.text, "critique": draft.critique}
        return self.templates.of("critiqued").fill({}, fields).text


class Component(Protocol):
    """A kind of layer: from the drafts of the layer before to its own.

    ``kind`` is its name in a configuration, ``roles`` are the templates that it prompts with. ``alone`` says
    that a layer holds one such component and no other.
    """

    kind: ClassVar[str]
    roles: ClassVar[tuple[str, ...]]
    alone: ClassVar[bool]

    async def run(self, stage: Stage, drafts: Drafts) -> Drafts:
        """Return the next layer's drafts; without one of its replies, those of the declared outcome."""
        ...
