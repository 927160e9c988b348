"""The options of a multiple-choice question, from a row with one list of them or with separate fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

from annotated_types import Ge, Le

from orchestrator.errors import ConfigError
from orchestrator.schema import checked
from orchestrator.seeds import derive_rng
from orchestrator.tasks.grading.labels import LETTERS, MOST_OPTIONS, label
from orchestrator.tasks.json_rows import Row, kind_of
from orchestrator.tasks.rows import as_text, field_of, place_of, text_of


@dataclass(frozen=True, slots=True)
class Options:
    """Texts in the order of their labels, and the index of the right one."""

    texts: tuple[str, ...]
    right: int

    @property
    def label(self) -> str:
        """The label of the right one."""
        return label(self.right)

    @property
    def block(self) -> str:
        """The options, one a line (``A. text``); further lines are indented: none begins with a label."""
        return "\n".join(
            f"{label(i)}. " + "\n   ".join(text.splitlines()) for i, text in enumerate(self.texts)
        )


@runtime_checkable
class Choices(Protocol):
    """The way to make the options of a question."""

    def options(self, row: Row, answer: object) -> Options | None:
        """Return the options of a row with this answer field. None: the row makes no question."""
        ...


@dataclass(frozen=True)
class ListedChoices:
    """Options that a row lists; they are lettered from A, whatever their labels are in the row.

    The answer field holds a label of ``labels_field``; without one it is a letter, or an index from 0. Case
    does not matter where it makes no difference, nor do brackets and points: ``(b)`` is B.
    """

    texts_field: str
    labels_field: str | None = None

    def options(self, row: Row, answer: object) -> Options:
        texts = _texts(row, self.texts_field, "task.choices.texts_field")
        if not 0 < len(texts) <= MOST_OPTIONS:
            allowed = f"must hold 1 to {MOST_OPTIONS} options; {place_of(row)} has {len(texts)}"
            raise ConfigError("task.choices.texts_field", self.texts_field, allowed)
        labels = self._labels(row, answer, len(texts))
        right = _place(str(_whole(answer)).strip(), labels)
        if len(texts) != len(labels) or right is None:
            allowed = (
                f"must be one of the labels {_shown(labels)} of the {len(texts)} options of {place_of(row)}"
            )
            raise ConfigError("task.answer_field", answer, allowed)
        if (twin := _twin(texts, right)) is not None:
            allowed = f"options {label(right)} and {label(twin)} of {place_of(row)} are one text, and right"
            raise ConfigError("task.choices.texts_field", self.texts_field, allowed)
        return Options(texts, right)

    def _labels(self, row: Row, answer: object, num_options: int) -> Sequence[str]:
        if self.labels_field is not None:
            key = "task.choices.labels_field"
            labels = _texts(row, self.labels_field, key)
            if len(set(labels)) < len(labels):
                allowed = f"must be distinct; {place_of(row)} has {_shown(labels)}"
                raise ConfigError(key, self.labels_field, allowed)
            return labels
        is_index = isinstance(_whole(answer), int)
        return [str(i) if is_index else label(i) for i in range(num_options)]


def _whole(value: object) -> object:
    """Return 2 for 2.0: Parquet and pandas keep whole numbers as floats where some are missing."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _place(answer: str, labels: Sequence[str]) -> int | None:
    """Return the index of the label that an answer is, or means; None where it matches none, or several."""
    for read in (str, _bare):
        places = [i for i, known in enumerate(labels) if read(known) == read(answer)]
        if len(places) == 1:
            return places[0]
    return None


def _bare(label: str) -> str:
    return label.strip("()[].: ").casefold()


def _shown(labels: Sequence[str]) -> str:
    return (
        ", ".join(labels) if len(labels) <= len(LETTERS) else f"{labels[0]}, {labels[1]}, ..., {labels[-1]}"
    )


def _twin(texts: Sequence[str], right: int) -> int | None:
    """Return another option with the text of the right one: naming it would be right too."""
    return next((i for i, text in enumerate(texts) if i != right and text == texts[right]), None)


@dataclass(frozen=True)
@checked("task.choices")
class DrawnChoices:
    """``num_choices`` options: the answer field's text and the first wrong ones, in an order that is drawn.

    ``wrong_field`` holds a list of them, or names several fields with one each.
    The order depends only on the texts of the right answer and the wrong ones. A row with too few wrong texts
    makes no question, as in the published four-choice set.
    """

    wrong_field: str | tuple[str, ...]
    num_choices: Annotated[int, Ge(2), Le(len(LETTERS))] = 4

    def options(self, row: Row, answer: object) -> Options | None:
        right = str(_whole(answer)).strip()
        key = "task.choices.wrong_field"
        if isinstance(self.wrong_field, str):
            texts = _texts(row, self.wrong_field, key)
        else:
            texts = tuple(text_of(row, name, key) for name in self.wrong_field)
        wrong = [t for t in dict.fromkeys(texts) if t != right][: self.num_choices - 1]
        if len(wrong) < self.num_choices - 1:
            return None
        drawn = derive_rng("choices", right, *wrong).permutation(self.num_choices)
        return Options(tuple([right, *wrong][i] for i in drawn), list(drawn).index(0))


def _texts(row: Row, name: str, key: str) -> tuple[str, ...]:
    value = field_of(row, name, key)
    if not isinstance(value, list | tuple):
        raise ConfigError(
            key, name, f"must be a field that holds a list; {place_of(row)} has {kind_of(value)}"
        )
    return tuple(as_text(_whole(text), row, name, key) for text in value)
