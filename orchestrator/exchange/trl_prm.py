"""TRL's datasets of stepwise supervision: ``prompt``, ``completions`` (steps) and ``labels``, a row a sample.

A label says whether a step is right: its reward is above a threshold (0.5) or, with ``labels=descendants``,
the share of right ones among the samples of the stored tree that pass through it is (above 0: the hard
estimate of Math-Shepherd, arXiv 2312.08935). TRL joins steps with its own separator: they are written without
their delimiter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.errors import ConfigError, VerifierError
from orchestrator.exchange.records import Question, Sample
from orchestrator.exchange.rows import IDS, QUESTIONS, Options, Row, rows_of
from orchestrator.exchange.tree import Labels, path_of, tree_of
from orchestrator.exchange.trl_prompts import content_of, gathered, write_rows
from orchestrator.types import Reward

_THRESHOLDS: dict[Labels, float] = {"rewards": 0.5, "descendants": 0.0}


class _Row(msgspec.Struct):
    completions: list[str]
    labels: list[bool | int | float]


def write(questions: Sequence[Question], path: Path, options: Options) -> list[Path]:
    """Write a row for each sample whose steps all have a label. Raises ConfigError where none has."""
    delimiter = options.delimiter or delimiter_of(questions)
    nothing = ConfigError("labels", options.labels, "no sample has them for all its steps: try descendants")
    return write_rows(path, (r for q in questions for r in _rows(q, options, delimiter)), nothing)


def delimiter_of(questions: Sequence[Question]) -> str:
    """Return what all steps but the last of a sample end with."""
    steps = list({step for q in questions for s in q.samples for step in s.steps[:-1]})
    shortest = min(steps, key=len, default="")
    ends = (shortest[i:] for i in range(len(shortest) + 1))
    return next(end for end in ends if all(step.endswith(end) for step in steps))


def _rows(question: Question, options: Options, delimiter: str) -> Iterator[dict[str, Any]]:
    labels: Labels = "descendants" if options.labels == "descendants" else "rewards"
    threshold = _THRESHOLDS[labels] if options.threshold is None else options.threshold
    root = tree_of(question.samples)
    for sample in question.samples:
        numbers = [node.number(labels) for node in path_of(root, sample)]
        if any(number is None for number in numbers):
            continue
        yield {
            "prompt": question.question,
            "completions": [step.removesuffix(delimiter) for step in sample.steps],
            "labels": [number is not None and number > threshold for number in numbers],
        }


def read(path: Path, options: Options) -> list[Question]:
    """Read a file: rows with one prompt are samples of one question; labels are rewards, 0 or 1."""
    return gathered(
        (
            row,
            row.optional_text(options.id, IDS, "id"),
            content_of(row, "prompt", options.question, QUESTIONS),
            row.optional_text(options.reference, ("answer", "reference"), "reference"),
            (_sample(row, row.shaped(_Row), options.ends_step),),
        )
        for row in rows_of(path)
    )


def _sample(row: Row, shape: _Row, delimiter: str) -> Sample:
    steps, labels = shape.completions, shape.labels
    if len(steps) != len(labels) or not steps:
        raise row.mistake(f"has {len(steps)} completions and {len(labels)} labels")
    try:
        rewards = tuple(Reward.from_value(float(label)) for label in labels)
    except VerifierError as failure:
        raise row.mistake(f"labels: {failure}") from None
    return Sample((*(step + delimiter for step in steps[:-1]), steps[-1]), rewards)
