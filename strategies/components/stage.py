"""Where a component works: a session, how it samples, what it prompts with, and the records of replies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar, Protocol, TypeVar

from orchestrator.prompts.template import Template
from orchestrator.search.session import Session
from orchestrator.types import Prompt, RoleRecord, Sampling, Trajectory
from strategies.components.draft import Draft, Drafts
from strategies.components.templates import PipelineTemplates
from strategies.parts.prompted import Replied, Shown, reply_to
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
        self, role: str, fields: Sequence[dict[str, str]], read: Callable[[str], T | None], policy: str
    ) -> list[T | None]:
        """Return what is read from the reply to each prompt, in one call; None: nothing can be read.

        A prompt that the context has no room for has no reply.
        """
        shown = [self._prompt(role, written) for written in fields]
        starts = [Trajectory(prompt=each.prompt) for each in shown]
        found = await self.session.generate(starts, self.role_sampling, to_end=True, policy=policy, room=1)
        return [
            self._read(Replied(each, 1, 0, policy, [reply] if reply.steps else []), read)
            for each, reply in zip(shown, found, strict=True)
        ]

    async def ask_of_all(
        self, role: str, drafts: Drafts, read: Callable[[str, int], T | None], policy: str
    ) -> T | None:
        """Return what is read from the reply to one prompt about all drafts that the context has room for.

        ``read`` takes their number, too: the last ones are left out.
        """
        show = partial(self._about_all, role, drafts)
        replied = await reply_to(self.session, show, len(drafts), self.role_sampling, policy=policy)
        return self._read(replied, lambda text: read(text, replied.num_shown))

    async def fuse(self, drafts: Drafts, num: int, policy: str) -> Replied:
        """Return ``num`` answers to a prompt that shows all drafts that the context has room for."""
        show = partial(self._about_all, "fuse", drafts)
        replied = await reply_to(
            self.session, show, len(drafts), self.sampling, num_replies=num, policy=policy
        )
        if not replied.num_shown:
            self.said.append(replied.record(self.layer, parsed=False))
        return replied

    async def score(self, drafts: Drafts) -> Drafts:
        """Return the drafts with their rewards."""
        texts = await self.session.score([draft.trajectory for draft in drafts])
        scored = [replace(draft, trajectory=text) for draft, text in zip(drafts, texts, strict=True)]
        self.rewarded |= {d.number: d.trajectory for d in scored if d.number is not None}
        return scored

    def _read(self, replied: Replied, read: Callable[[str], T | None]) -> T | None:
        """Return what is read from a reply, which is recorded; one that a limit withheld is none."""
        value = read(replied.replies[0].text) if replied.replies else None
        if replied.replies or not self.session.exhausted:
            self.said.append(replied.record(self.layer, parsed=value is not None))
        return value

    def _about_all(self, role: str, drafts: Drafts, num: int) -> Shown:
        """Return a prompt that shows the first ``num`` drafts, each with its critique where it has one."""
        answers = numbered([self._with_critique(draft) for draft in drafts[:num]])
        return self._prompt(role, {"answers": answers, "number": str(num)})

    def _prompt(self, role: str, written: dict[str, str]) -> Shown:
        template = self.templates.of(role)
        filled = template.fill({"question": self.session.question}, written, self.session.special)
        return Shown(_prompt_of(template, filled.text, role), filled.num_removed)

    def _with_critique(self, draft: Draft) -> str:
        if not draft.critique:
            return draft.text
        return (
            self.templates.of("critiqued").fill({}, {"answer": draft.text, "critique": draft.critique}).text
        )


def _prompt_of(template: Template, text: str, role: str) -> Prompt:
    """Return a prompt for an answer to the problem, or in any other role for one text without an answer."""
    if role == "fuse":
        return Prompt(text, template.instruction, role=role)
    return Prompt(text, template.instruction, (), "", "", role)


def numbered(texts: Sequence[str]) -> str:
    """Return texts one after the other, each after its number in brackets, from 1."""
    return "\n\n".join(f"[{number}] {text}" for number, text in enumerate(texts, start=1))


class Component(Protocol):
    """A kind of layer: from the drafts of the layer before to its own.

    ``kind`` is its name in a configuration, ``roles`` are the templates that it prompts with. ``alone`` says
    that a layer holds one such component and no other.
    """

    kind: ClassVar[str]
    alone: ClassVar[bool]

    @property
    def roles(self) -> tuple[str, ...]: ...

    @property
    def calls(self) -> tuple[str, ...]:
        """The names of the policies that it calls."""
        ...

    async def run(self, stage: Stage, drafts: Drafts) -> Drafts:
        """Return the next layer's drafts; without one of its replies, those of the declared outcome."""
        ...
