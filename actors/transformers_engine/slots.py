"""The slots of the decoder's cache: which row is in which, and the state for its next token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from actors.batching.kv import Ints
from actors.batching.sampling import Floats
from actors.text.tokens import TokenIds

# Idle slots between busy ones are computed too; above this share (one in n) the busy ones are moved together.
_MAX_IDLE_SHARE = 2


NEVER = np.iinfo(np.int64).max
"""A number of tokens that no row reaches."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How one row is sampled: at most ``max_tokens`` tokens, with random numbers from ``seed``.

    Its step is full after ``full_at`` tokens.
    """

    seed: int
    temperature: float
    top_p: float
    max_tokens: int
    table: int
    full_at: int = NEVER


class SlotTable:
    """The decoder's state as arrays over slots, so that a token needs no Python code per row.

    ``tokens`` ``[slots, context + 1]`` holds a row's prefix and what it generated; its first ``lengths``
    tokens have keys and values in the cache, the next one is fed next. A slot that is not ``busy`` keeps its
    content, so that a row with the same beginning can reuse it.
    """

    def __init__(self, num_slots: int, max_context: int) -> None:
        self.busy = np.zeros(num_slots, np.bool_)
        self.lengths = np.zeros(num_slots, np.int64)
        self.counts = np.zeros(num_slots, np.int64)
        self.limits = np.zeros(num_slots, np.int64)
        self.seeds = np.zeros(num_slots, np.uint64)
        self.temperature = np.zeros(num_slots)
        self.top_p = np.ones(num_slots)
        self.held_back = np.zeros(num_slots, np.bool_)
        self.tables = np.zeros(num_slots, np.int64)
        self.full_at = np.full(num_slots, NEVER)
        self.tokens = np.zeros((num_slots, max_context + 1), np.int64)
        self.logprobs = np.zeros((num_slots, max_context + 1))

    @property
    def span(self) -> int:
        """One more than the last busy slot."""
        busy = np.flatnonzero(self.busy)
        return int(busy[-1]) + 1 if len(busy) else 0

    @property
    def num_free(self) -> int:
        return len(self.busy) - int(self.busy.sum())

    def nearest(self, prefix: Ints) -> tuple[int, int]:
        """Return the free slot that has most leading tokens of ``prefix`` in the cache, and how many."""
        free = np.flatnonzero(~self.busy)
        if len(prefix) == 0:
            return int(free[0]), 0
        equal = self.tokens[free, : len(prefix)] == prefix
        common = np.where(equal.all(axis=1), len(prefix), equal.argmin(axis=1))
        common = np.minimum(common, self.lengths[free])
        best = int(common.argmax())
        return int(free[best]), int(common[best])

    def moves(self) -> tuple[Ints, Ints]:
        """Return busy slots to move and the free slots for them, so that no free slot is below a busy one.

        Both are empty while few slots are free: what these hold may serve the next rows.
        """
        num_busy, span = int(self.busy.sum()), self.span
        if (span - num_busy) * _MAX_IDLE_SHARE <= span:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        return num_busy + np.flatnonzero(self.busy[num_busy:]), np.flatnonzero(~self.busy[:num_busy])

    def move(self, sources: Ints, targets: Ints) -> None:
        """Move the rows of ``sources`` to ``targets``."""
        for state in vars(self).values():
            state[targets] = state[sources]
        self.busy[sources] = False
        self.lengths[sources] = 0

    def occupy(self, slot: int, prefix: Ints, settings: Settings) -> None:
        """Give ``slot`` to a row that continues ``prefix``, all but the last of which will be cached."""
        self.busy[slot] = True
        self.tokens[slot, : len(prefix)] = prefix
        self.lengths[slot] = len(prefix) - 1
        self.counts[slot] = 0
        self.limits[slot] = settings.max_tokens
        self.seeds[slot] = settings.seed % 2**64
        self.temperature[slot] = settings.temperature
        self.top_p[slot] = settings.top_p
        self.tables[slot] = settings.table
        self.full_at[slot] = settings.full_at
        self.held_back[slot] = False

    def release(self, slot: int, *, keep: bool = True) -> None:
        """Free ``slot``; with ``keep`` its content may serve another row."""
        self.busy[slot] = False
        if not keep:
            self.lengths[slot] = 0

    def feed(self, span: int) -> tuple[Ints, Ints]:
        """Return the token to feed and its column for each of the first ``span`` slots: ``[span]`` each.

        An idle slot is computed too. It may not reach past the longest busy one, so what it holds beyond that
        is dropped.
        """
        lengths = self.lengths[:span]
        idle = ~self.busy[:span]
        lengths[idle] = np.minimum(lengths[idle], lengths[~idle].max())
        return self.tokens[np.arange(span), lengths], lengths.copy()

    def append(self, slots: Ints, chosen: Ints, logprobs: Floats) -> None:
        """Add a token to each of ``slots``."""
        self.lengths[slots] += 1
        self.tokens[slots, self.lengths[slots]] = chosen
        self.logprobs[slots, self.counts[slots]] = logprobs
        self.counts[slots] += 1

    def generated(self, slot: int) -> tuple[list[int], list[float]]:
        """Return the tokens that the row in ``slot`` has generated, and their log-probabilities."""
        end, count = int(self.lengths[slot]) + 1, int(self.counts[slot])
        return self.tokens[slot, end - count : end].tolist(), self.logprobs[slot, :count].tolist()

    def cached(self, slot: int) -> TokenIds:
        """Return the tokens whose keys and values ``slot`` holds."""
        return tuple(self.tokens[slot, : self.lengths[slot]].tolist())
