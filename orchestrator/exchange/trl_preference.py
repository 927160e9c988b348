"""TRL's datasets of preferences: ``prompt``, ``chosen``, ``rejected``, ``score_chosen``, ``score_rejected``.

With ``pairs=steps`` a row is a prefix of the stored tree that continues in several ways: the best and the
worst of these siblings, by reward or, with ``labels=descendants``, by the share of right ones among the
samples that pass through them; the prompt ends with the prefix. With ``pairs=answers`` it is the best and the
worst whole text of a problem.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import ConfigError, VerifierError
from orchestrator.exchange.records import Question, Sample, split
from orchestrator.exchange.rows import IDS, QUESTIONS, Options, Row, rows_of
from orchestrator.exchange.tree import Labels, branchings, tree_of
from orchestrator.exchange.trl_prompts import content_of, gathered, last_content, write_rows
from orchestrator.types import Reward

_Rated = tuple[float, str]


def write(questions: Sequence[Question], path: Path, options: Options) -> list[Path]:
    """Write a row for each pair whose numbers differ. Raises ConfigError where none do."""
    others = "pairs=answers or labels=descendants may find some"
    nothing = ConfigError("pairs", options.pairs, f"no two have {options.labels} that differ; {others}")
    return write_rows(path, (row for q in questions for row in _rows(q, options)), nothing)


def _rows(question: Question, options: Options) -> Iterator[dict[str, Any]]:
    labels: Labels = "descendants" if options.labels == "descendants" else "rewards"
    siblings = _answers if options.pairs == "answers" else _steps
    for prefix, rated in siblings(question, labels):
        best, worst = max(rated, key=_number, default=None), min(rated, key=_number, default=None)
        if best is None or worst is None or not best[0] > worst[0]:
            continue
        yield {
            "prompt": question.question + ("\n\n" + prefix if prefix else ""),
            "chosen": best[1],
            "rejected": worst[1],
            "score_chosen": best[0],
            "score_rejected": worst[0],
        }


def _number(rated: _Rated) -> float:
    return rated[0]


def _steps(question: Question, labels: Labels) -> Iterator[tuple[str, list[_Rated]]]:
    for prefix, nodes in branchings(tree_of(question.samples)):
        numbers = [(node.number(labels), node.text) for node in nodes]
        yield prefix, [(number, text) for number, text in numbers if number is not None]


def _answers(question: Question, labels: Labels) -> Iterator[tuple[str, list[_Rated]]]:
    """Yield the whole texts, by their last reward, or by whether they are right."""
    if labels == "descendants":
        yield "", [(float(bool(s.correct)), s.text) for s in question.samples]
    else:
        yield "", [(s.values[-1], s.text) for s in question.samples if s.values]


def read(path: Path, options: Options) -> list[Question]:
    """Read a file: the two texts of a row are samples of its prompt, with their scores, or 1 and 0."""
    return gathered(
        (
            row,
            row.optional_text(options.id, IDS, "id"),
            _prompt(row, options),
            row.optional_text(options.reference, ("answer", "reference"), "reference"),
            (_sample(row, "chosen", 1.0, options), _sample(row, "rejected", 0.0, options)),
        )
        for row in rows_of(path)
    )


def _prompt(row: Row, options: Options) -> str:
    """Return the prompt; where TRL leaves it implicit, the last message that both conversations share."""
    chosen, rejected = row.fields.get("chosen"), row.fields.get("rejected")
    has_own = options.question or any(row.fields.get(name) is not None for name in ("prompt", *QUESTIONS))
    if not has_own and isinstance(chosen, list) and isinstance(rejected, list) and len(chosen) > 1:
        if chosen[:-1] != rejected[:-1]:
            raise row.mistake("chosen and rejected must share all messages but the last, or have a prompt")
        return last_content(row, "chosen", chosen[:-1])
    return content_of(row, "prompt", options.question, QUESTIONS)


def _sample(row: Row, name: str, value: float, options: Options) -> Sample:
    """Return a text with one reward, for all of it."""
    text, score = content_of(row, name), row.fields.get(f"score_{name}", value)
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise row.mistake(f"score_{name} must be a number")
    try:
        reward = Reward.from_value(float(score))
    except VerifierError as failure:
        raise row.mistake(f"score_{name}: {failure}") from None
    steps = split(text, options.ends_step)
    return Sample(tuple(steps), (*[None] * (len(steps) - 1), reward))
