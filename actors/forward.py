"""One forward of a transformers model over rows of unequal length, and what it promises about its numbers."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actors.attention import INVARIANT, QUERY_ROWS, WIDTH_MULTIPLE, causal_mask
from actors.kv import Ints, KVShape, SlotCache, SlotWindow, round_up

logger = logging.getLogger(__name__)

# A product of fewer rows than this may take another kernel, with other last bits (measured: 12).
_MIN_ROWS = 16


def worker_thread(name: str) -> ThreadPoolExecutor:
    """One thread that runs a model, with as many torch threads as this one has."""
    return ThreadPoolExecutor(1, name, initializer=torch.set_num_threads, initargs=(torch.get_num_threads(),))


class ForwardError(Exception):
    """A forward came to nothing; ``type`` and the message are those of the Failure it becomes."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.type = kind

    @classmethod
    def of(cls, cause: Exception) -> ForwardError:
        """After what the model or its device raised."""
        first_line = next(iter(str(cause).splitlines()), type(cause).__name__)
        return cls(type(cause).__name__, f"the model failed: {first_line}")

    @classmethod
    def not_finite(cls) -> ForwardError:
        """Logits that are NaN or infinite."""
        return cls("NonFiniteLogits", "the model's logits are not finite numbers")


@dataclass
class Runner:
    """Runs ``model`` on slots of a cache.

    ``invariant`` pads shapes so that a row's numbers do not depend on the other rows or on how its
    prefix was computed. ``num_failures`` counts forwards that failed since the last that did not.
    """

    model: Any
    shape: KVShape
    invariant: bool
    num_failures: int = 0

    def __post_init__(self) -> None:
        self.keeps_logits = "logits_to_keep" in inspect.signature(self.model.forward).parameters

    def num_slots(self, num_rows: int) -> int:
        """How many consecutive slots a forward of one token a row touches."""
        return max(num_rows, _MIN_ROWS) if self.invariant else num_rows

    def num_queries(self, num_rows: int, num_tokens: int) -> int:
        """To how many tokens a row is padded in a forward of several tokens a row."""
        if not self.invariant:
            return num_tokens
        return round_up(max(num_tokens, -(-_MIN_ROWS // num_rows)), QUERY_ROWS)

    def forward(self, cache: SlotCache, tokens: Ints, starts: Ints, *, last_only: bool = False) -> Tensor:
        """Logits ``[rows, queries, outputs]`` of ``tokens`` ``[rows, queries]`` from column ``starts[row]``.

        Row i is slot i of ``cache``, which must hold columns before ``starts[i]`` already and gets the new
        ones. With ``last_only`` only the last query's logits are worked out. Raises ForwardError.
        """
        device = self.shape.device
        columns = torch.from_numpy(starts[:, None] + np.arange(tokens.shape[1])).to(device)
        width = round_up(int(starts.max()) + tokens.shape[1], WIDTH_MULTIPLE)
        options = {"logits_to_keep": 1} if last_only and self.keeps_logits else {}
        with self.guarded():
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

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn what a device raises (out of memory, a failed kernel) into a ForwardError, and count it."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            self.num_failures += 1
            raise ForwardError.of(error) from error

    @property
    def healthy(self) -> bool:
        """False once three forwards in a row have failed."""
        return self.num_failures < 3


def probe(runner: Runner) -> bool:
    """Whether this machine keeps the promise of ``invariant``: the same bits by several routes.

    Compares a sequence that is prefilled alone with the same one prefilled beside longer ones, and then
    decoded token by token beside others over a wider cache.
    """
    if not runner.invariant:
        return False
    vocab = runner.model.config.vocab_size
    tokens = (np.arange(40) * 7919 + 11) % vocab
    alone, beside, decoded = (SlotCache(runner.shape) for _ in range(3))
    reference = runner.forward(alone, tokens[None], np.zeros(1, np.int64))[0]
    crowd = np.stack([tokens, *((tokens * k + k) % vocab for k in range(2, 7))])
    batched = runner.forward(beside, crowd[::-1].copy(), np.zeros(len(crowd), np.int64))[-1]
    start = np.zeros(_MIN_ROWS + 3, np.int64)
    rows = np.stack([tokens, *((tokens + k) % vocab for k in range(1, len(start)))])
    decoded.reserve(len(start), 160)
    runner.forward(decoded, rows[:, :32], start)
    start[1:] += 32 + np.arange(len(start) - 1) * 5
    same = torch.equal(reference, batched)
    for column in range(32, 36):
        start[0] = column
        logits = runner.forward(decoded, rows[:, column : column + 1], start)[0, 0]
        same = same and torch.equal(logits, reference[column])
    if not same:
        logger.warning("this machine's kernels are not batch-invariant: replies may depend on their batch")
    return same and runner.model.config._attn_implementation in INVARIANT
