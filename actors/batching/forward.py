"""One forward of a transformers model over rows of unequal length, and the probe of its batch invariance."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actors.batching.attention import INVARIANT, WIDTH_MULTIPLE, causal_mask, tiling_for
from actors.batching.invariance import make_invariant, replacing, watched
from actors.batching.kv import Ints, KVShape, SlotCache, SlotWindow, round_up

logger = logging.getLogger(__name__)

MIN_ROWS = 16
"""Rows of the smallest product of an invariant forward: the tiles have at least this many rows."""
# The numbers of rows that the probe passes to a forward, up to what an engine decodes at once by default.
# Products, activations and attention have been tested for every number and position of rows before.
_PROBED_ROWS = (1, 3, 16, 17, 31, 49, 65, 128)


def worker_thread(name: str) -> ThreadPoolExecutor:
    """Return an executor of one thread that runs a model, with as many torch threads as this one has."""
    return ThreadPoolExecutor(1, name, initializer=torch.set_num_threads, initargs=(torch.get_num_threads(),))


class ForwardError(Exception):
    """A forward failed; ``type`` and the message are those of the Failure that it becomes."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.type = kind

    @classmethod
    def of(cls, cause: Exception) -> ForwardError:
        """Return the error for an exception of the model or its device."""
        first_line = next(iter(str(cause).splitlines()), type(cause).__name__)
        return cls(type(cause).__name__, f"the model failed: {first_line}")

    @classmethod
    def not_finite(cls) -> ForwardError:
        """Return the error for logits that are NaN or infinite."""
        return cls("NonFiniteLogits", "the model's logits are not finite numbers")


class Guarded:
    """A model whose forwards may fail; ``num_failures`` counts the failures since the last success."""

    num_failures: int = 0

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Raise ForwardError for what a device raises (out of memory, a failed kernel), and count it."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            self.num_failures += 1
            raise ForwardError.of(error) from error

    @property
    def healthy(self) -> bool:
        """False after three failed forwards in a row."""
        return self.num_failures < 3


@dataclass
class Runner(Guarded):
    """Runs ``model`` on slots of a cache.

    With ``invariant`` a row's numbers do not depend on the other rows or on how its prefix was computed.
    ``replaces``: this requires that functions which the model's code calls are replaced as well
    (actors/batching/invariance.py).
    """

    model: Any
    shape: KVShape
    invariant: bool
    replaces: bool = False

    def __post_init__(self) -> None:
        self.keeps_logits = "logits_to_keep" in inspect.signature(self.model.forward).parameters
        self.width_multiple, self.attention_agrees = WIDTH_MULTIPLE, False
        if self.invariant:
            make_invariant(self.model)
            attention = self.model.config._attn_implementation
            if attention in INVARIANT:
                tiling = tiling_for(attention, self.shape.head_dim)
                self.width_multiple, self.attention_agrees = tiling.width_multiple, tiling.agrees

    def num_slots(self, num_rows: int) -> int:
        """Return how many consecutive slots a forward of one token per row uses."""
        return max(num_rows, MIN_ROWS) if self.invariant else num_rows

    def num_queries(self, num_rows: int, num_tokens: int) -> int:
        """Return to how many tokens a row is padded in a forward of several tokens per row."""
        if not self.invariant:
            return num_tokens
        return max(num_tokens, -(-MIN_ROWS // num_rows))

    def forward(self, cache: SlotCache, tokens: Ints, starts: Ints, *, last_only: bool = False) -> Tensor:
        """Return logits ``[rows, queries, outputs]`` of ``tokens`` ``[rows, queries]``.

        Row i begins at column ``starts[i]`` of slot i of ``cache``, which must hold the columns before it and
        gets the new ones. With ``last_only`` only the last query's logits are computed. Raises ForwardError.
        """
        device = self.shape.device
        columns = torch.from_numpy(starts[:, None] + np.arange(tokens.shape[1])).to(device)
        width = round_up(int(starts.max()) + tokens.shape[1], self.width_multiple)
        options = {"logits_to_keep": 1} if last_only and self.keeps_logits else {}
        with self.guarded(), replacing() if self.replaces else nullcontext():
            cache.reserve(len(tokens), width)
            logits: Tensor = self.model(
                input_ids=torch.from_numpy(tokens).to(device),
                attention_mask=causal_mask(columns, width, self.shape.dtype),
                position_ids=columns,
                past_key_values=SlotWindow(cache, columns, width),
                use_cache=True,
                **options,
            ).logits
        self.num_failures = 0
        return logits


def probe(runner: Runner) -> bool:
    """Return whether this machine gives the same bits by several routes, as ``invariant`` promises.

    Compares a sequence that is prefilled alone with the same one prefilled beside longer ones, and then
    decoded beside others over a wider cache, at every position of batches of up to 128 rows. Each product
    has been tested with every number of rows when it was made (actors/batching/tiles.py).
    """
    if not (runner.invariant and runner.attention_agrees):
        return False
    tokens = (np.arange(40) * 7919 + 11) % runner.model.config.get_text_config().vocab_size
    alone = SlotCache(runner.shape)
    begin = np.zeros(1, np.int64)
    runner.replaces = watched(lambda: runner.forward(alone, tokens[None], begin))
    reference = runner.forward(alone, tokens[None], begin)[0]
    same = _beside_longer_ones(runner, tokens, reference) and all(
        _decoded_at_every_place(runner, alone, tokens, reference, num_rows) for num_rows in _PROBED_ROWS
    )
    if not same:
        logger.warning("this machine's kernels are not batch-invariant: replies may depend on their batch")
    return same


def _beside_longer_ones(runner: Runner, tokens: Ints, reference: Tensor) -> bool:
    """Whether ``tokens`` give the same logits when prefilled beside others, in parts of several lengths."""
    vocab = int(tokens.max()) + 1
    crowd = np.stack([*((tokens * k + k) % vocab for k in range(2, 7)), tokens])
    cache, starts = SlotCache(runner.shape), np.arange(len(crowd))[::-1] * 9
    runner.forward(cache, crowd[:, :1], np.zeros(len(crowd), np.int64))
    cache.reserve(len(crowd), 160)
    same, done = True, 0
    for count in (7, 1, 19, 13):
        logits = runner.forward(cache, crowd[:, done : done + count], starts + done)[-1]
        same = same and torch.equal(logits, reference[done : done + count])
        done += count
    return same


def _decoded_at_every_place(
    runner: Runner, alone: SlotCache, tokens: Ints, reference: Tensor, num_rows: int
) -> bool:
    """Whether the last token, decoded in ``num_rows`` equal rows beside a longer one, gives ``reference``."""
    cache, last = SlotCache(runner.shape), len(tokens) - 1
    cache.reserve(num_rows + 1, 160)
    rows = np.arange(num_rows)
    cache.move(alone, np.zeros(num_rows, np.int64), rows, last)
    starts = np.append(np.full(num_rows, last), 130)
    logits = runner.forward(cache, np.full((num_rows + 1, 1), tokens[last]), starts)[:num_rows, 0]
    return torch.equal(logits, reference[last].expand_as(logits))
