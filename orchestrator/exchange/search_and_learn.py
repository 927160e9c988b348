"""The datasets of Hugging Face's search-and-learn (``sal``): a row a problem, in JSON.

``completions``, ``scores`` (of each completion, one a step), ``completion_tokens``, ``pred`` (the completion
with the greatest score) and, from its ``score.py``, ``agg_scores`` and the columns ``pred_weighted@n``,
``pred_maj@n`` and ``pred_naive@n`` for n = 1, 2, 4, ...: votes over n completions that Python's generator
with seed 42 has drawn.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.errors import VerifierError
from orchestrator.exchange.records import Question, Sample, fitted, groups_of
from orchestrator.exchange.rows import IDS, QUESTIONS, Options, Row, ids_of, rows_of
from orchestrator.storage.atomic import json_bytes, write_lines

COLUMNS = "pred_"
_REFERENCES = ("answer", "expected_answer", "reference")
_SEED = 42  # of sal.utils.math.subsample_completions


class _Row(msgspec.Struct):
    completions: list[str]
    scores: list[list[float]] | None = None
    completion_tokens: list[int] | None = None
    agg_scores: list[float] | None = None


def write(questions: Sequence[Question], path: Path, options: Options) -> list[Path]:
    """Write a run's questions as one file."""
    write_lines(path, (json_bytes(_fields(q), indent=None) for q in questions))
    return [path]


def _fields(question: Question) -> dict[str, Any]:
    samples = question.samples
    aggregated = [s.values[-1] for s in samples if s.values]
    is_scored = bool(samples) and len(aggregated) == len(samples)
    fields: dict[str, Any] = {
        "unique_id": question.id,
        "problem": question.question,
        "answer": question.reference,
        "completions": [s.text for s in samples],
        "completion_tokens": [s.num_tokens for s in samples],
    }
    if is_scored:
        fields["scores"] = [s.values for s in samples]
        fields["pred"] = samples[max(range(len(samples)), key=aggregated.__getitem__)].text
        fields["agg_scores"] = aggregated
    return {**fields, **predictions(samples)}


def read(path: Path, options: Options) -> list[Question]:
    """Read a file. Raises ConfigError that names what is wrong with it."""
    rows = list(rows_of(path))
    shapes = [row.shaped(_Row) for row in rows]
    ids = ids_of((row, row.optional_text(options.id, IDS, "id")) for row in rows)
    counts = [len(scores) for shape in shapes for scores in shape.scores or ()]
    whole = set(counts) == {1}
    return [
        Question(
            id=own_id,
            question=row.text(options.question, QUESTIONS, "question"),
            reference=row.optional_text(options.reference, _REFERENCES, "reference") or "",
            samples=tuple(_samples(row, shape, options, whole=whole)),
            columns={n: v for n, v in row.fields.items() if n.startswith(COLUMNS) and isinstance(v, str)},
            scores=_aggregated(shape),
            place=row.place,
        )
        for row, shape, own_id in zip(rows, shapes, ids, strict=True)
    ]


def _aggregated(shape: _Row) -> tuple[float, ...]:
    """Return the scores that its votes sum: by default the last ones, as its ``score.py`` takes them."""
    if shape.agg_scores is not None:
        return tuple(shape.agg_scores)
    return tuple(scores[-1] for scores in shape.scores or () if scores)


def _samples(row: Row, shape: _Row, options: Options, *, whole: bool) -> Iterator[Sample]:
    num = len(shape.completions)
    scores = [[] for _ in range(num)] if shape.scores is None else shape.scores
    tokens = [0] * num if shape.completion_tokens is None else shape.completion_tokens
    if not len(scores) == len(tokens) == num:
        counts = f"{num} completions, {len(scores)} scores and {len(tokens)} completion_tokens"
        raise row.mistake(f"has {counts}")
    if shape.agg_scores and len(shape.agg_scores) != num:
        raise row.mistake(f"has {num} completions and {len(shape.agg_scores)} agg_scores")
    for index, (text, values, length) in enumerate(zip(shape.completions, scores, tokens, strict=True)):
        row.num_tokens(length, f"completion_tokens[{index}]")
        try:
            steps, rewards = fitted(text, values, options.ends_step, whole=whole)
        except VerifierError as failure:
            raise row.mistake(f"scores[{index}]: {failure}") from None
        yield Sample(steps, rewards, num_tokens=length)


def predictions(samples: Sequence[Sample], scores: Sequence[float] = ()) -> dict[str, str]:
    """Return the columns ``pred_weighted@n``, ``pred_maj@n``, ``pred_naive@n``, as ``sal.utils.score`` does.

    ``scores`` are one a sample, by default the last reward of each. Samples without an answer vote together,
    for an empty one. Without a score for each sample there are only the columns of the majority.
    """
    names, answers = groups_of(samples), [s.answer or "" for s in samples]
    weights = list(scores) or [s.values[-1] for s in samples if s.values]
    columns: dict[str, str] = {}
    for n in _sizes(len(samples)):
        drawn = random.Random(_SEED).sample(range(len(samples)), n)
        drawn_names = [names[i] for i in drawn]
        chosen = {"maj": _heaviest(drawn_names, [1.0] * n)}
        if len(weights) == len(samples):
            drawn_weights = [weights[i] for i in drawn]
            chosen["weighted"] = _heaviest(drawn_names, drawn_weights)
            chosen["naive"] = drawn_weights.index(max(drawn_weights))
        columns |= {f"pred_{rule}@{n}": boxed(answers[drawn[place]]) for rule, place in chosen.items()}
    return columns


def _sizes(num_samples: int) -> Iterator[int]:
    """Yield the powers of two up to the number of samples."""
    n = 1
    while n <= num_samples:
        yield n
        n *= 2


def _heaviest(names: Sequence[str], weights: Sequence[float]) -> int:
    """Return the place of the first sample of the group with the greatest sum; the earliest wins a tie."""
    sums: Mapping[str, list[float]] = defaultdict(lambda: [0.0])
    for name, weight in zip(names, weights, strict=True):
        sums[name][0] += weight
    return names.index(max(sums, key=lambda name: sums[name][0]))


def boxed(answer: str) -> str:
    r"""Return ``\boxed{answer}``."""
    return f"\\boxed{{{answer}}}"


def unboxed(text: str) -> str | None:
    """Return what such a text holds; None for an empty box."""
    return text.removeprefix("\\boxed{").removesuffix("}") or None
