"""The logs of UK AISI's inspect_ai, version 2: a ``.json`` file, or an ``.eval`` archive; one epoch a sample.

An entry of ``samples`` has ``id``, ``epoch``, ``input``, ``target``, ``output`` and ``scores``, by scorer:
``value`` (``C`` where the answer is right), ``answer`` and ``metadata``. A run's rewards are the
scorer ``reward``, with those of the steps in its metadata.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.errors import ConfigError, VerifierError
from orchestrator.exchange.inspect_archive import SUFFIX, read_archive, write_archive
from orchestrator.exchange.records import Question, Sample, fitted
from orchestrator.exchange.rows import KEY, Options, Row, rows_of_values
from orchestrator.storage.atomic import json_bytes, write_lines
from orchestrator.storage.json_reading import BadJson, read_object
from orchestrator.tasks.ids import readable_ids

_REWARD, _CORRECT = "reward", "correct"
_RIGHT = ("C", 1, 1.0, True)


class _Usage(msgspec.Struct):
    output_tokens: int = 0


class _Message(msgspec.Struct):
    content: str | list[dict[str, Any]]
    role: str = "user"


class _Choice(msgspec.Struct):
    message: _Message
    stop_reason: str = "stop"


class _Output(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None


class _Score(msgspec.Struct):
    value: Any = None
    answer: str | None = None
    metadata: dict[str, Any] | None = None


class _Sample(msgspec.Struct):
    id: str | int
    epoch: int
    input: str | list[_Message]
    target: str | list[str]
    output: _Output
    scores: dict[str, _Score] | None = None


def write(questions: Sequence[Question], path: Path, options: Options) -> list[Path]:
    """Write a log: an archive if the file's name ends in ``.eval``, else JSON."""
    log = _header(questions)
    samples = [_entry(q, i, s) for q in questions for i, s in enumerate(q.samples, 1)]
    if path.suffix == SUFFIX:
        write_archive(path, log, samples)
    else:
        write_lines(path, [json_bytes({**log, "samples": samples})])
    return [path]


def _header(questions: Sequence[Question]) -> dict[str, Any]:
    """Return what a log has beside its samples."""
    now, most = datetime.now(UTC).isoformat(timespec="seconds"), max(len(q.samples) for q in questions)
    digest = blake2b("\x1f".join(q.id for q in questions).encode(), digest_size=11).hexdigest()
    num = sum(len(q.samples) for q in questions)
    return {
        "version": 2,
        "status": "success",
        "eval": {
            "eval_id": digest,
            "run_id": digest,
            "created": now,
            "task": "murmuration",
            "task_id": digest,
            "dataset": {"samples": len(questions), "sample_ids": [q.id for q in questions]},
            "model": "murmuration/run",
            "config": {"epochs": max(most, 1)},
            "scorers": [{"name": _CORRECT}, {"name": _REWARD}],
        },
        "plan": {},
        "results": {"total_samples": num, "completed_samples": num, "scores": []},
        "stats": {"started_at": now, "completed_at": now},
    }


def _entry(question: Question, epoch: int, sample: Sample) -> dict[str, Any]:
    usage = {"input_tokens": 0, "output_tokens": sample.num_tokens, "total_tokens": sample.num_tokens}
    asked = {"role": "user", "content": question.question}
    answered = {"role": "assistant", "content": sample.text, "source": "generate"}
    stop = "stop" if sample.finished else "max_tokens"
    scores: dict[str, Any] = {_CORRECT: {"value": "C" if sample.correct else "I", "answer": sample.answer}}
    if sample.values:
        scores[_REWARD] = {"value": sample.values[-1], "metadata": {"steps": sample.values}}
    return {
        "id": question.id,
        "epoch": epoch,
        "input": question.question,
        "target": question.reference,
        "messages": [asked, answered],
        "output": {
            "model": "murmuration/run",
            "choices": [{"message": answered, "stop_reason": stop}],
            "completion": sample.text,
            "usage": usage,
        },
        "scores": scores,
        "metadata": {},
    }


def read(path: Path, options: Options) -> list[Question]:
    """Read a log. Raises ConfigError that names what is wrong with it."""
    rows = [row for row in _rows(path) if row.fields.get("error") is None]
    entries = [(row, row.shaped(_Sample)) for row in rows]
    whole = {len(_values(row, entry)) for row, entry in entries} <= {0, 1}
    found: dict[str, list[tuple[int, Row, _Sample]]] = {}
    for row, entry in entries:
        found.setdefault(str(entry.id), []).append((entry.epoch, row, entry))
    if not found:
        raise ConfigError(KEY, path, "holds no sample without an error")
    ids = readable_ids(list(found))
    return [_question(i, group, options, whole=whole) for i, group in zip(ids, found.values(), strict=True)]


def _rows(path: Path) -> Iterator[Row]:
    if not path.is_file():
        raise ConfigError(KEY, path, "is no file")
    if path.suffix == SUFFIX:
        return rows_of_values(read_archive(path), path)
    try:
        log = read_object(path)
    except BadJson as failure:
        raise ConfigError(KEY, path, str(failure)) from None
    samples = log.get("samples")
    if not isinstance(samples, list):
        raise ConfigError(KEY, path, "is no log with samples of inspect_ai")
    return rows_of_values(((f"samples[{i}]", sample) for i, sample in enumerate(samples)), path)


def _question(
    own_id: str, group: Iterable[tuple[int, Row, _Sample]], options: Options, *, whole: bool
) -> Question:
    in_order = sorted(group, key=lambda entry: entry[0])
    _, row, first = in_order[0]
    epochs = [epoch for epoch, _, _ in in_order]
    if len(set(epochs)) < len(epochs):
        raise row.mistake(f"problem {first.id} has an epoch twice")
    samples = (_sample(place, entry, options, whole=whole) for _, place, entry in in_order)
    target = first.target if isinstance(first.target, str) else "".join(first.target[:1])
    return Question(own_id, _asked(first.input), target, tuple(samples), place=row.place)


def _asked(given: str | list[_Message]) -> str:
    """Return the question: the text of the last message of a user."""
    if isinstance(given, str):
        return given
    texts = [_text_of(message) for message in given if message.role == "user"]
    return texts[-1] if texts else "\n".join(map(_text_of, given))


def _text_of(message: _Message) -> str:
    if isinstance(message.content, str):
        return message.content
    return "".join(str(part.get("text", "")) for part in message.content if part.get("type") == "text")


def _sample(row: Row, entry: _Sample, options: Options, *, whole: bool) -> Sample:
    choice = entry.output.choices[0] if entry.output.choices else None
    text = _text_of(choice.message) if choice else ""
    try:
        steps, rewards = fitted(text, _values(row, entry), options.ends_step, whole=whole)
    except VerifierError as failure:
        raise row.mistake(f"scores.{_REWARD}: {failure}") from None
    usage = entry.output.usage or _Usage()
    num_tokens = row.num_tokens(usage.output_tokens, "output_tokens")
    cut_off = choice is not None and choice.stop_reason in ("max_tokens", "model_length")
    sample = Sample(steps, rewards, num_tokens=num_tokens, finished=not cut_off)
    return _graded(row, sample, entry.scores or {}, options.filter)


def _graded(row: Row, sample: Sample, scores: Mapping[str, _Score], chosen: str) -> Sample:
    """Return the sample with the answer and the verdict of a scorer, by default the first."""
    names = [name for name in scores if name != _REWARD]
    if chosen and chosen not in names:
        raise row.mistake(f"filter={chosen}: its scorers are {', '.join(names) or 'none'}")
    if not names:
        return sample
    score = scores[chosen or names[0]]
    right = score.value in _RIGHT if isinstance(score.value, str | int | float) else None
    # A scorer that compares whole texts reports the text.
    reads = (score.answer is not None and score.answer != sample.text) or names == [_CORRECT]
    return replace(sample, answer=score.answer if reads else None, has_answer=reads, correct=right)


def _values(row: Row, entry: _Sample) -> list[float]:
    """Return the rewards of the steps that the scorer ``reward`` has given, or its own one."""
    score = (entry.scores or {}).get(_REWARD)
    if score is None:
        return []
    steps = (score.metadata or {}).get("steps", [score.value])
    if not isinstance(steps, list) or not all(isinstance(x, int | float) for x in steps):
        raise row.mistake(f"scores.{_REWARD} must be numbers")
    return [float(x) for x in steps]
