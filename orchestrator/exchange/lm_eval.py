"""The samples of EleutherAI's lm-evaluation-harness: ``samples_{task}_{date}.jsonl``, from ``--log_samples``.

A row is a document under one filter: ``doc_id``, ``doc``, ``target``, ``arguments``, ``resps`` (of the one
request that generates, a text for each of its ``repeats``) and ``filtered_resps``. A filter that keeps every
response gives an answer for each; one that votes gives a single one, which is no answer of a sample.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.exchange.records import Question, Sample, fitted
from orchestrator.exchange.rows import IDS, QUESTIONS, REFERENCES, Options, Row, ids_of, rows_of
from orchestrator.stated.answer import find_answer
from orchestrator.storage.atomic import json_bytes, write_lines

NO_ANSWER = "[invalid]"  # what its filter ``regex`` gives where nothing matches
_FILTER = "answer"


class _Row(msgspec.Struct):
    doc_id: int
    doc: dict[str, Any]
    target: str
    resps: list[list[str]]
    filtered_resps: list[Any]
    filter: str = "none"
    arguments: Any = None


def write(questions: Sequence[Question], path: Path, options: Options) -> list[Path]:
    """Write a run's questions as one file; its filter ``answer`` keeps the answer of each sample."""
    write_lines(path, (json_bytes(_fields(i, q), indent=None) for i, q in enumerate(questions)))
    return [path]


def _fields(index: int, question: Question) -> dict[str, Any]:
    doc = {"problem_id": question.id, "question": question.question, "answer": question.reference}
    right = [bool(sample.correct) for sample in question.samples]
    return {
        "doc_id": index,
        "doc": doc,
        "target": question.reference,
        "arguments": {"gen_args_0": {"arg_0": question.question, "arg_1": {}}},
        "resps": [[sample.text for sample in question.samples]],
        "filtered_resps": [[NO_ANSWER if s.answer is None else s.answer for s in question.samples]],
        "filter": _FILTER,
        "metrics": ["exact_match"],
        "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _hash(question.question),
        "target_hash": _hash(question.reference),
        "exact_match": sum(right) / len(right) if right else 0.0,
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()


def read(path: Path, options: Options) -> list[Question]:
    """Read a file: its rows of one filter, by default the first one. Raises ConfigError."""
    pairs = list(_rows(path, options))
    ids = ids_of((row, _id_of(row, shape, options)) for row, shape in pairs)
    return [
        Question(
            id=own_id,
            question=_question(row, shape, options),
            reference=_reference(row, shape, options),
            samples=tuple(_samples(row, shape, options)),
            place=row.place,
        )
        for (row, shape), own_id in zip(pairs, ids, strict=True)
    ]


def _rows(path: Path, options: Options) -> Iterator[tuple[Row, _Row]]:
    """Yield the rows of the filter. Raises ConfigError where no row has the one that is asked for."""
    chosen, known = options.filter, dict[str, Row]()
    for row in rows_of(path):
        _check_generated(row)
        shape = row.shaped(_Row)
        known.setdefault(shape.filter, row)
        chosen = chosen or shape.filter
        if shape.filter == chosen:
            yield row, shape
    if chosen not in known:
        raise next(iter(known.values())).mistake(f"filter={chosen}: the file has {', '.join(known)}")


def _check_generated(row: Row) -> None:
    """Raise ConfigError where the responses are likelihoods."""
    responses = row.fields.get("resps")
    first = responses[0] if isinstance(responses, list) and responses else None
    if isinstance(first, list) and first and isinstance(first[0], list):
        raise row.mistake("holds likelihoods, and no generated texts (output_type: generate_until has them)")
    if isinstance(responses, list) and len(responses) != 1:
        raise row.mistake(f"has the responses of {len(responses)} requests; one that generates is read")


def _doc(row: Row, shape: _Row) -> Row:
    return Row(shape.doc, row.path, f"{row.place}, doc")


def _id_of(row: Row, shape: _Row, options: Options) -> str:
    return _doc(row, shape).optional_text(options.id, IDS, "id") or str(shape.doc_id)


def _question(row: Row, shape: _Row, options: Options) -> str:
    """Return the question of the document, or the prompt where it has no such field."""
    found = _doc(row, shape).optional_text(options.question, QUESTIONS, "question")
    if found is not None:
        return found
    match shape.arguments:
        case {"gen_args_0": {"arg_0": str(prompt)}}:
            return prompt
    raise row.mistake("has no question; name the field of doc: question=FIELD")


def _reference(row: Row, shape: _Row, options: Options) -> str:
    """Return the answer that the target states, in a box or after ####; else the target."""
    target = shape.target
    if options.reference:
        target = _doc(row, shape).text(options.reference, REFERENCES, "reference")
    return (find_answer(target, ("box", "hashes")) or target).strip()


def _samples(row: Row, shape: _Row, options: Options) -> Iterator[Sample]:
    texts = shape.resps[0]
    answers = _answers(shape)
    for index, text in enumerate(texts):
        steps, rewards = fitted(text, (), options.ends_step, whole=False)
        answer = answers.get(index)
        yield Sample(
            steps,
            rewards,
            answer=None if answer == NO_ANSWER else answer,
            has_answer=index in answers,
            correct=_verdict(row.fields) if len(texts) == 1 else None,
        )


def _answers(shape: _Row) -> Mapping[int, str]:
    """Return the answers by sample, where the filter has kept one for each."""
    match shape.filtered_resps:
        case [list(answers)] if len(answers) == len(shape.resps[0]):
            return {i: str(answer) for i, answer in enumerate(answers)}
        case [str(answer)] if len(shape.resps[0]) == 1:
            return {0: answer}
    return {}


def _verdict(fields: Mapping[str, Any]) -> bool | None:
    value = fields.get("exact_match")
    return bool(value) if isinstance(value, int | float) else None
