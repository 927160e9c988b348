r"""How a step ends: ``task.step``, and the same in a request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from annotated_types import Ge

from orchestrator.errors import ConfigError
from orchestrator.schema import checked
from orchestrator.steps.expression import ExpressionError, expression

Mode = Literal["delimiter", "tokens", "markers", "hybrid"]

MODES: tuple[Mode, ...] = get_args(Mode)

Markers = tuple[str, ...] | str
"""Texts that begin a step, or one regular expression of such texts."""

LONGEST = 200
"""The most characters of a marker: how far back a search for one looks."""

_WITH_TOKENS, _WITH_MARKERS = ("tokens", "hybrid"), ("markers", "hybrid")


@dataclass(frozen=True, slots=True)
@checked("task.step")
class StepRule:
    r"""How a step ends, where the task's delimiter alone is not enough (``task.step``).

    ``mode`` is ``delimiter``: a step ends with ``task.delimiter``; ``tokens``: it has ``tokens`` tokens of
    the policy; ``markers``: it ends before the next text of ``markers``, which begins the next step; or
    ``hybrid``: whichever of the delimiter, a marker and ``tokens`` comes first (``markers`` may be null).
    ``markers`` is a list of texts, or one regular expression such as ``\n\n(Wait|Hmm)``. A step that is
    full at ``tokens`` is a whole step, and its trajectory continues.
    """

    mode: Mode = "delimiter"
    """How a step ends (docs/tasks.md#steps)."""
    # A character may be four tokens of a byte each, and no step ends within one.
    tokens: Annotated[int | None, Ge(4)] = None
    """Of one step, with ``tokens`` and ``hybrid``."""
    markers: Sequence[str] | str | None = None
    """What begins a step, with ``markers`` and ``hybrid``: a list of texts, or one regular expression."""

    def __post_init__(self) -> None:
        if not isinstance(self.markers, str | None):
            object.__setattr__(self, "markers", tuple(dict.fromkeys(self.markers)))
        self._check_goes_with("tokens", self.tokens, _WITH_TOKENS, _WITH_TOKENS)
        self._check_goes_with("markers", self.markers, _WITH_MARKERS, ("markers",))
        if self.markers is not None:
            _check_markers(self.markers)

    def _check_goes_with(self, key: str, value: object, modes: Sequence[str], needed: Sequence[str]) -> None:
        if value is not None and self.mode not in modes:
            allowed = f"goes with task.step.mode={' or '.join(modes)}; it is {self.mode}"
            raise ConfigError(f"task.step.{key}", _shown(value), allowed)
        if value is None and self.mode in needed:
            raise ConfigError(f"task.step.{key}", None, f"must be given with task.step.mode={self.mode}")

    def check_beside(self, delimiter: str, answer_marker: str | None = None) -> None:
        """Raise ConfigError for a marker that does not go with the task's other texts."""
        markers = self.markers if isinstance(self.markers, tuple) else ()
        for marker in markers:
            if answer_marker is not None and marker in answer_marker[1:]:
                allowed = f"is in task.answer_marker={answer_marker!r}: no step would hold that"
                raise ConfigError("task.step.markers", repr(marker), allowed)
        for marker in markers if self.mode == "hybrid" else ():
            if delimiter.startswith(marker):
                allowed = f"begins task.delimiter={delimiter!r}: each delimiter would begin a step"
                raise ConfigError("task.step.markers", repr(marker), allowed)
            if delimiter in marker:
                allowed = f"holds task.delimiter={delimiter!r}, which ends a step before the marker is whole"
                raise ConfigError("task.step.markers", repr(marker), allowed)

    def ends(self, delimiter: str) -> StepEnds:
        """Return what ends a step of a task with this delimiter."""
        markers = () if self.markers is None else self.markers
        assert isinstance(markers, tuple | str)
        return StepEnds(delimiter if self.mode in ("delimiter", "hybrid") else None, markers, self.tokens)


BY_DELIMITER = StepRule()
"""A step ends at the task's delimiter."""


def _check_markers(markers: Sequence[str] | str) -> None:
    if isinstance(markers, str):
        _check_expression(markers)
        return
    if not markers:
        raise ConfigError("task.step.markers", "[]", "must hold one text or more; null is none")
    for marker in markers:
        if not 0 < len(marker) <= LONGEST:
            allowed = f"must be texts of 1 to {LONGEST} characters"
            raise ConfigError("task.step.markers", repr(marker), allowed)
        if re.search(r"\\n(?![a-z])", marker):
            allowed = "holds a backslash and an n: write a line break, or one regular expression"
            raise ConfigError("task.step.markers", repr(marker), allowed)
    for marker in markers:
        for other in markers:
            if other in marker[:-1]:
                allowed = f"holds the marker {other!r}, which begins a step before this one is whole"
                raise ConfigError("task.step.markers", repr(marker), allowed)


def _check_expression(pattern: str) -> None:
    try:
        width = expression(pattern).width
    except ExpressionError as error:
        raise ConfigError("task.step.markers", repr(pattern), str(error)) from None
    if width > LONGEST:
        allowed = f"must match at most {LONGEST} characters; it matches up to {width}"
        raise ConfigError("task.step.markers", repr(pattern), allowed)


def _shown(value: object) -> object:
    return repr(value) if isinstance(value, str) else list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True, slots=True)
class StepEnds:
    """What ends a step: a text that it keeps, one that begins the next step, a number of tokens."""

    delimiter: str | None
    markers: Markers = ()
    tokens: int | None = None

    @property
    def by_expression(self) -> bool:
        """Whether the markers are those of a regular expression, which no server searches for."""
        return isinstance(self.markers, str)

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts at which a server may stop, so that it generates little beyond the step."""
        markers = () if isinstance(self.markers, str) else self.markers
        return markers if self.delimiter is None else (self.delimiter, *markers)

    @property
    def reach(self) -> int:
        """The length of the longest marker, in characters."""
        if isinstance(self.markers, str):
            return expression(self.markers).width
        return max(map(len, self.markers), default=0)

    def marker_in(self, text: str, begin: int) -> tuple[int, int] | None:
        """Return begin and end of the marker from ``begin`` on that ends first, and of those the longest."""
        if isinstance(self.markers, str):
            return expression(self.markers).find(text, begin)
        found = ((text.find(marker, begin), marker) for marker in self.markers)
        ends = [(at + len(marker), at) for at, marker in found if at >= 0]
        return None if not ends else min(ends)[::-1]

    def can_end_with(self, char: str) -> bool:
        """Return whether a delimiter or a marker may end with this character."""
        if isinstance(self.markers, str) and expression(self.markers).can_end_with(char):
            return True
        return any(text.endswith(char) for text in self.texts)
