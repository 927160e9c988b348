"""A model in a role: prompts from a template, and replies that are recorded and read.

A reply that cannot be read is None, as is one that a limit withheld: the caller has an outcome for it, and
none is retried.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from orchestrator.prompts.template import Filled, Template
from orchestrator.search.session import Session
from orchestrator.types import Params, Prompt, RoleRecord, Trajectory

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fields:
    """What fills a template: ``given`` by the user, ``written`` by models."""

    given: Mapping[str, str]
    written: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """What a model said in a role, and what was read from it; None: it could not be read."""

    record: RoleRecord
    value: T | None


async def ask_role(
    session: Session,
    role: str,
    template: Template,
    fields: Sequence[Fields],
    read: Callable[[str], T | None],
    params: Params,
    *,
    layer: int = 0,
) -> list[Reply[T] | None]:
    """Return the reply to each prompt, in one call; None where a limit withheld it."""
    filled = [template.fill(each.given, each.written, session.special) for each in fields]
    starts = [Trajectory(prompt=Prompt(f.text, template.instruction, (), "", "", role)) for f in filled]
    said = await session.generate(starts, params, to_end=True)

    def reply(prompt: Filled, text: Trajectory) -> Reply[T]:
        value = read(text.text)
        record = RoleRecord(
            role=role,
            layer=layer,
            policy="engine",
            prompt_digest=hashlib.sha256(prompt.text.encode()).hexdigest()[:16],
            text=text.text,
            parsed=value is not None,
            tokens=text.num_tokens,
            num_removed=prompt.num_removed,
        )
        return Reply(record, value)

    return [reply(f, t) if t.steps else None for f, t in zip(filled, said, strict=True)]


def numbered(texts: Sequence[str]) -> str:
    """Return texts one after the other, each after its number in brackets, from 1."""
    return "\n\n".join(f"[{number}] {text}" for number, text in enumerate(texts, start=1))
