"""Where the first step of a text ends, in tokens or in characters, while the text grows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from orchestrator.steps.rule import StepEnds

INCOMPLETE = "\ufffd"
"""What a decoder writes for bytes that are not yet a whole character."""
_MOST_BYTES = 4  # of a character: as many may be shown as incomplete, and then be one

TextOf = Callable[[int], str]
"""From a number of tokens to the text of that many from the step's first one on."""


@dataclass(slots=True)
class OpenStep:
    """A step that has not ended, as its tokens arrive.

    ``held_back``: its text has a delimiter but ends in a part of a character, so that the next token must be
    looked at, whatever it is.
    """

    ends: StepEnds
    held_back: bool = False
    _least: int | None = None
    _opened: int = 0
    _seen: int = 0

    def end(self, text_of: TextOf, num_tokens: int) -> int | None:
        """Return how many of ``num_tokens`` tokens the step has; None: it has not ended.

        It has to be called after each token at which the step is full, whose text holds what
        ``StepEnds.can_end_with``, or which follows one that left it ``held_back``. A step has one token or
        more: a marker that begins in its first one is its own. Where it is cut before its last token, the
        rest begins the next step.
        """
        text = text_of(num_tokens)
        delimiter_end = self._delimiter_end(text)
        marker = self._marker(text, text_of, num_tokens)
        if marker is not None and (delimiter_end is None or marker[1] < delimiter_end):
            return marker[0]
        self.held_back = delimiter_end is not None and text.endswith(INCOMPLETE)
        if delimiter_end is not None and not self.held_back:
            return num_tokens
        if self.ends.tokens is not None and num_tokens >= self.ends.tokens:
            return self._whole(text_of, num_tokens)
        return None

    def _delimiter_end(self, text: str) -> int | None:
        delimiter = self.ends.delimiter
        found = -1 if delimiter is None else text.find(delimiter)
        return None if delimiter is None or found < 0 else found + len(delimiter)

    def _marker(self, text: str, text_of: TextOf, num_tokens: int) -> tuple[int, int] | None:
        """Return the tokens before a marker that has become whole, and where its text ends."""
        if not self.ends.markers:
            return None
        if self._least is None:
            self._least = _first_whole(text_of, num_tokens)
            if self._least is None:
                return None
        # What ended before was looked at when it did; the last characters may have been parts of one then.
        begin = max(self._opened, self._seen - self.ends.reach - _MOST_BYTES)
        found = self.ends.marker_in(text, begin)
        if found is not None and found[0] < self._least:  # its own, with which nothing else may overlap
            self._opened = found[1]
            found = self.ends.marker_in(text, self._opened)
        self._seen = len(text)
        if found is None:
            return None
        begin, end = found
        for num in range(num_tokens - 1, 0, -1):
            before = text_of(num)
            if len(before) <= begin and not before.endswith(INCOMPLETE) and text.startswith(before):
                return num, end
        return None

    def _whole(self, text_of: TextOf, num_tokens: int) -> int:
        """Return the most tokens that end with a whole character: no more than a character's few are left."""
        wholes = (num for num in range(num_tokens, 0, -1) if not text_of(num).endswith(INCOMPLETE))
        return next(wholes, num_tokens)


def _first_whole(text_of: TextOf, num_tokens: int) -> int | None:
    """Return the length of the text of the fewest tokens that have one, of whole characters."""
    texts = (text_of(num) for num in range(1, num_tokens))
    return next((len(text) for text in texts if text and not text.endswith(INCOMPLETE)), None)


def first_end(text: str, ends: StepEnds, fits: Callable[[str], int] | None = None) -> int | None:
    """Return where the first step of a text ends, in characters; None where nothing in it ends one.

    ``fits`` returns how many of a text's characters fit into a step, where its tokens are counted.
    """
    delimiter = ends.delimiter
    at = -1 if delimiter is None else text.find(delimiter)
    found: list[tuple[int, int]] = [] if delimiter is None or at < 0 else [(at + len(delimiter),) * 2]
    if (marker := _next_marker(text, ends)) is not None:
        found.append((marker[1], marker[0]))
    if ends.tokens is not None and fits is not None and (most := fits(text)) < len(text):
        found.append((max(1, most), max(1, most)))
    return min(found, key=lambda each: each[0])[1] if found else None


def _next_marker(text: str, ends: StepEnds) -> tuple[int, int] | None:
    """Return the marker that begins the next step, after the one with which the text itself begins."""
    if not ends.markers:
        return None
    marker = ends.marker_in(text, 0)
    return ends.marker_in(text, marker[1]) if marker is not None and marker[0] == 0 else marker


def split(text: str, ends: StepEnds, fits: Callable[[str], int] | None = None) -> Iterator[str]:
    """Yield the texts of the steps of a whole text; nothing for an empty one."""
    while text:
        end = first_end(text, ends, fits)
        step, text = (text, "") if end is None else (text[:end], text[end:])
        yield step
