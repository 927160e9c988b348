"""The files of NVIDIA's NeMo-Skills: ``output-rs{seed}.jsonl``, one file for each sample of every problem.

Rows hold ``problem``, ``expected_answer``, ``generation``, ``num_generated_tokens`` and, once they are
evaluated, ``predicted_answer`` and ``symbolic_correct`` (``is_correct`` in earlier releases).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.errors import ConfigError
from orchestrator.exchange.records import Question, Sample, fitted
from orchestrator.exchange.rows import IDS, KEY, QUESTIONS, Options, Row, rows_of
from orchestrator.storage.atomic import json_bytes, write_lines
from orchestrator.tasks.ids import readable_ids

_NAME = re.compile(r"output(-rs(\d+))?\.jsonl")
_REFERENCES = ("expected_answer", "answer", "reference")


class _Row(msgspec.Struct):
    generation: str
    num_generated_tokens: int = 0
    symbolic_correct: bool | None = None
    is_correct: bool | None = None
    predicted_answer: str | int | float | msgspec.UnsetType | None = msgspec.UNSET


def write(questions: Sequence[Question], path: Path, options: Options) -> list[Path]:
    """Write a folder with a file for each sample; a problem with fewer samples is not in the last files."""
    most = max((len(q.samples) for q in questions), default=0)
    if most == 0:
        raise ConfigError("format", "nemo_skills", "the run has no samples: its problems ended in errors")
    path.mkdir(parents=True, exist_ok=True)
    written = []
    for seed in range(most):
        rows = (_fields(q, q.samples[seed]) for q in questions if seed < len(q.samples))
        written.append(path / f"output-rs{seed}.jsonl")
        write_lines(written[-1], (json_bytes(row, indent=None) for row in rows))
    return written


def _fields(question: Question, sample: Sample) -> dict[str, Any]:
    return {
        "id": question.id,
        "problem": question.question,
        "expected_answer": question.reference,
        "generation": sample.text,
        "num_generated_tokens": sample.num_tokens,
        "predicted_answer": sample.answer,
        "symbolic_correct": bool(sample.correct),
    }


def read(path: Path, options: Options) -> list[Question]:
    """Read a folder of such files, or one of them. Raises ConfigError that names what is wrong with it."""
    questions: dict[str, Question] = {}
    for file in _files(path):
        seen: set[str] = set()
        for row in rows_of(file):
            question = _question(row, options)
            if question.id in seen:
                raise row.mistake(f"is a second row of problem {question.id[:60]!r}; id=FIELD names an id")
            seen.add(question.id)
            before = questions.get(question.id, question)
            if before.reference != question.reference:
                raise row.mistake(f"has another reference than in the files before: {question.reference!r}")
            samples = () if before is question else before.samples
            questions[question.id] = replace(before, samples=samples + question.samples)
    ids = readable_ids(list(questions))
    return [replace(q, id=own_id) for q, own_id in zip(questions.values(), ids, strict=True)]


def _files(path: Path) -> list[Path]:
    """Return the files of a folder by their seeds; the greedy ``output.jsonl`` only where it is alone."""
    if not path.is_dir():
        return [path]
    found = {file: match for file in path.iterdir() if (match := _NAME.fullmatch(file.name))}
    seeded = sorted((int(m[2]), file) for file, m in found.items() if m[2])
    if not found:
        raise ConfigError(KEY, path, "holds no output-rs0.jsonl, output-rs1.jsonl, ...")
    return [file for _, file in seeded] or list(found)


def _question(row: Row, options: Options) -> Question:
    shape = row.shaped(_Row)
    text = row.text(options.question, QUESTIONS, "question")
    return Question(
        # Rows without an id are told apart by their questions.
        id=row.optional_text(options.id, IDS, "id") or text,
        question=text,
        reference=row.optional_text(options.reference, _REFERENCES, "reference") or "",
        samples=(_sample(row, shape, options),),
        place=row.place,
    )


def _sample(row: Row, shape: _Row, options: Options) -> Sample:
    steps, rewards = fitted(shape.generation, (), options.ends_step, whole=False)
    answer = shape.predicted_answer
    return Sample(
        steps,
        rewards,
        num_tokens=row.num_tokens(shape.num_generated_tokens, "num_generated_tokens"),
        answer=None if answer is None or answer is msgspec.UNSET else str(answer),
        has_answer=answer is not msgspec.UNSET,
        correct=shape.symbolic_correct if shape.symbolic_correct is not None else shape.is_correct,
    )
