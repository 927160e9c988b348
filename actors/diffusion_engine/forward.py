"""Forwards of a bidirectional model over rows of unequal length, with or without cached keys and values."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from actors.batching.attention import PADDED, WIDTH_MULTIPLE, tiling_for
from actors.batching.forward import MIN_ROWS, Guarded
from actors.batching.invariance import make_invariant
from actors.batching.kv import Ints, KVShape, SlotCache, round_up

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Feed:
    """Tokens ``first .. first + len(tokens)`` of a row of ``length`` tokens.

    What is not fed comes from the row's ``slot``, which must hold it from an earlier feed; without a slot
    the whole row is fed.
    """

    tokens: Ints
    first: int
    length: int
    slot: int | None = None


class KeptWindow:
    """``past_key_values`` of one forward: each row overwrites its columns of its slot.

    Attention then sees the first ``width`` columns. Attention layers call no other methods.
    """

    is_compileable = False

    def __init__(self, cache: SlotCache, slots: Tensor, columns: Tensor, width: int) -> None:
        """``slots`` ``[rows]``; ``columns`` ``[rows, queries]`` are where the new tokens go."""
        self._cache, self._slots, self._columns, self._width = cache, slots, columns, width

    def update(
        self, key: Tensor, value: Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Store ``[rows, heads, queries, head_dim]``. Return copies ``[rows, heads, width, head_dim]``."""
        keys, values = self._cache.data[layer_idx]
        keys[self._slots[:, None], :, self._columns] = key.transpose(1, 2)
        values[self._slots[:, None], :, self._columns] = value.transpose(1, 2)
        return keys[self._slots, :, : self._width], values[self._slots, :, : self._width]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return 0, which is not used: positions and mask are passed."""
        return 0


class DiffusionRunner(Guarded):
    """Runs a bidirectional model; with ``invariant`` a row's numbers do not depend on the other rows."""

    def __init__(self, model: Any, *, invariant: bool = False, compiled: bool = False) -> None:
        self.invariant = invariant
        self.width_multiple, self.attention_agrees = WIDTH_MULTIPLE, False
        self.dtype, self.device = model.dtype, model.device
        self.cache = SlotCache(KVShape.of(model.config, model.dtype, model.device))
        self._body = torch.compile(model.model, dynamic=True) if compiled else model.model
        self._head = model.lm_head
        if invariant:
            make_invariant(model)
            tiling = tiling_for(PADDED, self.cache.shape.head_dim)
            self.width_multiple, self.attention_agrees = tiling.width_multiple, tiling.agrees

    def hidden(self, feeds: Sequence[Feed]) -> Tensor:
        """Return the last hidden states ``[rows, queries, width]`` of the fed tokens; the rest is padding.

        All feeds have a slot, or none has. Raises ForwardError.
        """
        kept = feeds[0].slot is not None
        queries, width = self._sizes(feeds, kept)
        tokens, columns = self._table(feeds, queries, width)
        lengths = torch.tensor([feed.length for feed in feeds], device=self.device)
        with self.guarded():
            states: Tensor = self._body(
                input_ids=tokens,
                attention_mask=self._mask(lengths, queries, width),
                position_ids=columns,
                past_key_values=self._window(feeds, columns, width) if kept else None,
                use_cache=kept,
            ).last_hidden_state
        self.num_failures = 0
        return states

    def logits(self, states: Tensor) -> Tensor:
        """Return logits ``[n, vocab]`` of hidden states ``[n, width]``. Raises ForwardError."""
        with self.guarded():
            missing = max(0, MIN_ROWS - len(states)) if self.invariant else 0
            logits: Tensor = self._head(pad(states, (0, 0, 0, missing)))
            return logits[: len(states)]

    def _sizes(self, feeds: Sequence[Feed], kept: bool) -> tuple[int, int]:
        """The queries per row, and the columns that attention sees."""
        queries, width = max(len(f.tokens) for f in feeds), max(f.length for f in feeds)
        if self.invariant:
            width = round_up(width, self.width_multiple)
            queries = max(queries, -(-MIN_ROWS // len(feeds)))
        return (queries, width) if kept else (width, width)

    def _table(self, feeds: Sequence[Feed], queries: int, width: int) -> tuple[Tensor, Tensor]:
        """Tokens and columns, ``[rows, queries]``; padding goes to a column that nothing sees."""
        tokens = np.zeros((len(feeds), queries), np.int64)
        columns = np.full((len(feeds), queries), width, np.int64)
        for i, feed in enumerate(feeds):
            num = len(feed.tokens)
            tokens[i, :num] = feed.tokens
            columns[i, :num] = feed.first + np.arange(num)
        return torch.from_numpy(tokens).to(self.device), torch.from_numpy(columns).to(self.device)

    def _mask(self, lengths: Tensor, queries: int, width: int) -> Tensor:
        """A mask ``[rows, 1, queries, width]``: 0 for the columns of a row, -inf in padding."""
        hidden = torch.arange(width, device=self.device) >= lengths[:, None]
        mask = torch.zeros(hidden.shape, dtype=self.dtype, device=self.device)
        return mask.masked_fill_(hidden, -torch.inf)[:, None, None].expand(-1, 1, queries, -1)

    def _window(self, feeds: Sequence[Feed], columns: Tensor, width: int) -> KeptWindow:
        slots = [feed.slot for feed in feeds if feed.slot is not None]
        self.cache.reserve(max(slots) + 1, width + 1)
        return KeptWindow(self.cache, torch.tensor(slots, device=self.device), columns, width)


@torch.inference_mode()
def probe(runner: DiffusionRunner, vocab_size: int) -> bool:
    """Return whether this machine gives a row the same bits alone and beside others (``invariant``).

    Compares the logits of a row that is fed alone with those beside longer rows, and the same for its last
    part on cached keys and values.
    """
    if not (runner.invariant and runner.attention_agrees):
        return False
    rows = [(np.arange(n) * 7919 + 11 * n) % vocab_size for n in (40, 23, 71, 150, 40, 64, 97)]
    same = True
    for kept in (False, True):
        alone = _probed(runner, rows[:1], kept)
        beside = _probed(runner, rows[::-1], kept)
        same = same and torch.equal(alone[0], beside[-1])
    if not same:
        logger.warning("this machine's kernels are not batch-invariant: replies may depend on their batch")
    return same


def _probed(runner: DiffusionRunner, rows: Sequence[Ints], kept: bool) -> list[Tensor]:
    """The logits of each row's last ten tokens, with or without the cache."""
    feeds = [Feed(row, 0, len(row), slot if kept else None) for slot, row in enumerate(rows)]
    states = runner.hidden(feeds)
    if not kept:
        return [runner.logits(states[i, len(row) - 10 : len(row)]) for i, row in enumerate(rows)]
    states = runner.hidden([Feed(f.tokens[-10:], f.length - 10, f.length, f.slot) for f in feeds])
    return [runner.logits(row[:10]) for row in states]
