"""Thinking budgets: where a text's thought begins and ends, and what ends it when its budget is used up.

The engine requests no more tokens than the thought has left, and then appends the end itself. vLLM (0.32)
recognises the end of a thought only by the whole forced phrase, which a model that ends its thought itself
never writes: the phrase would be forced into the middle of its answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from actors.text.tokens import TokenIds

_CLOSING = re.compile(r"</[^<>\s]+>|\[/[^\[\]\s]+\]|<\|[^<>|\s]+\|>")
_OPPOSITES = (("START", "END"), ("BEGIN", "END"), ("start", "end"), ("begin", "end"))
_BRACKETS = {"<": ">", "[": "]", "◁": "▷"}
# A tag that is incomplete when the budget is used up may be finished.
_MOST_OF_A_TAG = 16


@dataclass(frozen=True, slots=True)
class Thought:
    """``num_left`` tokens are left for the thought (None outside one); ``forced`` are appended to end it."""

    has_begun: bool
    num_left: int | None = None
    forced: TokenIds = ()


class Thinking:
    """Bounds the first thought of a text to ``budget`` tokens; after it nothing is forced."""

    def __init__(self, tokenizer: Any, budget: int, start: str, end: str) -> None:
        """Force ``end``: the tag that ends a thought, or a phrase that holds it."""
        self._tokenizer = tokenizer
        self._budget = budget
        self._start = start
        self._start_ids, self._end_ids = self._ids(start), self._ids(end)
        self._ends = tuple(sorted({end, *_natural_ends(start, end, tokenizer)}))
        self._pieces: dict[int, str] = {}

    def thought(self, token_ids: Sequence[int]) -> Thought:
        """Return the state of a text's thought, from the end of the prompt and all that follows it."""
        pieces = [self._piece(i) for i in token_ids]
        text = "".join(pieces)
        begin = text.find(self._start)
        if begin < 0:
            has_ended = any(end in text for end in self._ends)  # the prompt may hold the begin, unseen here
            return Thought(has_begun=has_ended)
        begin += len(self._start)
        if any(text.find(end, begin) >= 0 for end in self._ends):
            return Thought(has_begun=True)
        num_thought = sum(position >= begin for position in accumulate(map(len, pieces[:-1]), initial=0))
        return self._open(text[begin:], num_thought, token_ids)

    def stops(self, stops: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``stops`` with the begin of a thought added: its tokens are counted from there."""
        if len(self._start_ids) == 1:
            return {**stops, "stop_token_ids": [*stops["stop_token_ids"], self._start_ids[0]]}
        rest = {k: v for k, v in stops.items() if k != "detokenize"}
        return {**rest, "stop": [*stops.get("stop", ()), self._start], "skip_special_tokens": False}

    def _open(self, text: str, num_thought: int, token_ids: Sequence[int]) -> Thought:
        num_left = self._budget - num_thought
        if num_left > 0:
            return Thought(True, num_left)
        if num_left > -_MOST_OF_A_TAG and any(text.endswith(part) for part in self._parts_of_tags()):
            return Thought(True, 1)
        return Thought(True, 0, self._rest_of_end(token_ids[len(token_ids) - num_thought :]))

    def _parts_of_tags(self) -> Iterator[str]:
        """Beginnings of the tags that end a thought, where they are several tokens."""
        tags = [end for end in self._ends if _CLOSING.fullmatch(end) and len(self._ids(end)) > 1]
        return (tag[:size] for tag in tags for size in range(2, len(tag)))

    def _rest_of_end(self, thought: Sequence[int]) -> TokenIds:
        """The tokens to force: a step may have ended in the middle of them."""
        for size in range(min(len(self._end_ids) - 1, len(thought)), 0, -1):
            if tuple(thought[-size:]) == self._end_ids[:size]:
                return self._end_ids[size:]
        return self._end_ids

    def _ids(self, text: str) -> TokenIds:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _piece(self, token_id: int) -> str:
        """The text of one token. A decoder may drop spaces around it, but tags have none."""
        if token_id not in self._pieces:
            self._pieces[token_id] = self._tokenizer.decode([token_id], skip_special_tokens=False)
        return self._pieces[token_id]


def common_end(one: Sequence[int], other: Sequence[int]) -> TokenIds:
    """Return the longest sequence of tokens with which both end."""
    size = 0
    while size < min(len(one), len(other)) and one[-1 - size] == other[-1 - size]:
        size += 1
    return tuple(one[len(one) - size :])


def _natural_ends(start: str, end: str, tokenizer: Any) -> set[str]:
    """The tags with which a model itself ends its thought."""
    mirrored = _mirrored(start)
    if mirrored is not None and mirrored in end:
        return {mirrored}
    added = {t.content for t in tokenizer.added_tokens_decoder.values()} - {start}
    found = {name for name in added if name in end} or set(_CLOSING.findall(end)[-1:])
    return found | ({mirrored} if mirrored is not None else set())


def _mirrored(start: str) -> str | None:
    """``</think>`` of ``<think>``, ``[/THINK]`` of ``[THINK]``, ``<|END_X|>`` of ``<|START_X|>``."""
    for begin, end in _OPPOSITES:
        if begin in start:
            return start.replace(begin, end)
    if _BRACKETS.get(start[:1]) == start[-1:] and "|" not in start:
        return f"{start[0]}/{start[1:]}"
    return None
