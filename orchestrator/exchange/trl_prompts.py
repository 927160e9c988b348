"""What TRL's formats share: plain or conversational texts, and rows that share a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.exchange.records import Question, Sample
from orchestrator.exchange.rows import Row
from orchestrator.storage.atomic import json_bytes, write_lines
from orchestrator.tasks.ids import readable_ids

Gathered = tuple[Row, str | None, str, str | None, tuple[Sample, ...]]


def content_of(row: Row, name: str, chosen: str = "", usual: Sequence[str] = ()) -> str:
    """Return a text, or that of the last message where it is a list of messages."""
    value = row.fields.get(chosen or name)
    if isinstance(value, list):
        return last_content(row, name, value)
    return row.text(chosen, tuple(dict.fromkeys((name, *usual))), "question" if usual else name)


def last_content(row: Row, name: str, messages: Sequence[Any]) -> str:
    """Return the text of the last message. Raises ConfigError where it has none."""
    match messages[-1:]:
        case [{"content": str(content)}]:
            return content
    raise row.mistake(f"{name} must be a text, or messages with a content")


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], nothing: ConfigError) -> list[Path]:
    """Write rows as a file; raise ``nothing`` where there is none."""
    found = iter(rows)
    first = next(found, None)
    if first is None:
        raise nothing
    write_lines(path, (json_bytes(row, indent=None) for row in chain([first], found)))
    return [path]


def gathered(rows: Iterable[Gathered]) -> list[Question]:
    """Return a question for each id, or each prompt where rows have no id, with the samples of its rows."""
    questions: dict[str, Question] = {}
    for row, own_id, prompt, reference, samples in rows:
        key = own_id or prompt
        before = questions.setdefault(key, Question(key, prompt, reference or "", (), place=row.place))
        if (before.question, before.reference) != (prompt, reference or before.reference):
            raise row.mistake(f"has another prompt or reference than {before.place}, and the same id")
        questions[key] = replace(before, samples=before.samples + samples)
    ids = readable_ids([str(i) if q.id == q.question else q.id for i, q in enumerate(questions.values())])
    return [replace(q, id=own_id) for q, own_id in zip(questions.values(), ids, strict=True)]
