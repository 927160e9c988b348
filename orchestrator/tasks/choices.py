"""The options of a multiple-choice question, from a row that lists them or from one that has them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from orchestrator.errors import ConfigError
from orchestrator.seeds import derive_rng
from orchestrator.tasks.rows import Row, field_of

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class Options:
    """Texts in the order of their letters, and the index of the right one."""

    texts: tuple[str, ...]
    right: int

    @property
    def letter(self) -> str:
        return LETTERS[self.right]

    @property
    def block(self) -> str:
        """One line an option: ``A. text``."""
        return "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, self.texts, strict=False))


@runtime_checkable
class Choices(Protocol):
    """How the options of a question are made."""

    def options(self, row: Row, answer: object) -> Options | None:
        """``answer`` is the row's answer field. None: this row makes no question."""
        ...


@dataclass(frozen=True)
class ListedChoices:
    """Options that a row lists; they are lettered from A whatever the row calls them.

    The answer field holds a label of ``labels_field``; without one it is a letter, or an index from 0.
    """

    texts_field: str
    labels_field: str | None = None

    def options(self, row: Row, answer: object) -> Options:
        texts = _texts(row, self.texts_field, "task.choices.texts_field")
        labels: Sequence[str] = LETTERS[: len(texts)]
        if self.labels_field is not None:
            labels = _texts(row, self.labels_field, "task.choices.labels_field")
        elif isinstance(answer, int):
            labels = [str(i) for i in range(len(texts))]
        if len(texts) != len(labels) or str(answer).strip() not in labels:
            allowed = f"must be one of the labels {', '.join(labels)} of {len(texts)} options"
            raise ConfigError("task.answer_field", answer, allowed)
        return Options(texts, list(labels).index(str(answer).strip()))


@dataclass(frozen=True)
class DrawnChoices:
    """``num_choices`` options: the answer field's text and the first wrong ones, in an order that is drawn.

    The order depends on the right answer's and the wrong ones' texts alone. A row with too few wrong texts
    makes no question, as in the published four-choice set.
    """

    wrong_field: str
    num_choices: int = 4

    def __post_init__(self) -> None:
        if not 2 <= self.num_choices <= len(LETTERS):
            raise ConfigError("task.choices.num_choices", self.num_choices, f"must be 2..{len(LETTERS)}")

    def options(self, row: Row, answer: object) -> Options | None:
        right = str(answer).strip()
        texts = _texts(row, self.wrong_field, "task.choices.wrong_field")
        wrong = [t for t in dict.fromkeys(texts) if t != right][: self.num_choices - 1]
        if len(wrong) < self.num_choices - 1:
            return None
        drawn = derive_rng("choices", right, *wrong).permutation(self.num_choices)
        return Options(tuple([right, *wrong][i] for i in drawn), list(drawn).index(0))


def _texts(row: Row, name: str, key: str) -> tuple[str, ...]:
    value = field_of(row, name, key)
    if not isinstance(value, list | tuple):
        raise ConfigError(key, name, "must be a field that holds a list")
    return tuple(str(text).strip() for text in value)
