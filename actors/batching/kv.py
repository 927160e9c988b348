"""Keys and values of the rows in progress: a ragged cache in the form that transformers expects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from actors.batching.attention import WIDTH_MULTIPLE

Ints = npt.NDArray[np.int64]


def round_up(number: int, multiple: int) -> int:
    """Return the smallest multiple of ``multiple`` that is at least ``number``."""
    return -(-number // multiple) * multiple


@dataclass(frozen=True, slots=True)
class KVShape:
    """The shape of one token's keys and values: ``[num_layers, 2, num_heads, head_dim]`` of ``dtype``."""

    num_layers: int
    num_heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, config: Any, dtype: torch.dtype, device: torch.device) -> KVShape:
        """Return the shape of a transformers model with attention of one size in every layer."""
        heads = config.num_attention_heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
        kv_heads = getattr(config, "num_key_value_heads", None) or heads
        return cls(config.num_hidden_layers, kv_heads, head_dim, dtype, device)

    @property
    def bytes_per_token(self) -> int:
        return 2 * self.num_layers * self.num_heads * self.head_dim * self.dtype.itemsize

    def zeros(self, *, slots: int, width: int) -> Tensor:
        """Return zeros ``[num_layers, 2, slots, num_heads, width, head_dim]``: keys first, then values."""
        size = (self.num_layers, 2, slots, self.num_heads, width, self.head_dim)
        return torch.zeros(size, dtype=self.dtype, device=self.device)


class SlotCache:
    """One slot per row; a row's token i is in column i. Storage grows on request.

    Columns that no token has been written to hold finite numbers, so that masking gives exact zeros.
    """

    def __init__(self, shape: KVShape) -> None:
        self.shape = shape
        self.data = shape.zeros(slots=0, width=0)

    @property
    def num_slots(self) -> int:
        return self.data.shape[2]

    @property
    def width(self) -> int:
        return self.data.shape[4]

    def reserve(self, num_slots: int, width: int) -> None:
        """Make room for at least ``num_slots`` slots and ``width`` columns; what is stored is kept."""
        if num_slots <= self.num_slots and width <= self.width:
            return
        old = self.data
        slots = self.num_slots if num_slots <= self.num_slots else max(num_slots, round_up(num_slots, 16))
        columns = self.width if width <= self.width else round_up(width, 4 * WIDTH_MULTIPLE)
        self.data = self.shape.zeros(slots=slots, width=columns)
        self.data[:, :, : old.shape[2], :, : old.shape[4]] = old

    def move(self, source: SlotCache, rows: Ints, slots: Ints, width: int) -> None:
        """Copy the first ``width`` columns of ``source``'s ``rows`` into ``slots`` of this cache."""
        taken = source.data[:, :, self._index(rows), :, :width]
        self.data[:, :, self._index(slots), :, :width] = taken

    def write(self, slots: Ints, columns: Ints, tokens: Tensor) -> None:
        """Put ``tokens`` ``[pairs, num_layers, 2, num_heads, head_dim]`` at pairs of slot and column."""
        # Indices that a slice separates put their own dimension first.
        self.data[:, :, self._index(slots), :, self._index(columns)] = tokens

    def read(self, slots: Ints, columns: Ints) -> Tensor:
        """Return the tokens at pairs of slot and column: ``[pairs, num_layers, 2, num_heads, head_dim]``."""
        return self.data[:, :, self._index(slots), :, self._index(columns)]

    def clear(self, slot: int) -> None:
        """Zero a slot that holds non-finite numbers."""
        self.data[:, :, slot] = 0

    def _index(self, numbers: Ints) -> Tensor:
        return torch.from_numpy(numbers).to(self.shape.device)


class SlotWindow:
    """``past_key_values`` of one forward: the first slots of a cache, each at different columns.

    Attention layers call only ``update``. The mask is passed in 4-D form, so that transformers builds none
    (masking_utils, ``_preprocess_mask_arguments``).
    """

    is_compileable = False

    def __init__(self, cache: SlotCache, columns: Tensor, width: int) -> None:
        """``columns`` ``[rows, queries]`` are where the new tokens go; attention sees ``width`` columns."""
        self._num_rows = columns.shape[0]
        self._rows = torch.arange(columns.shape[0], device=columns.device)[:, None]
        self._columns = columns
        self._cache = cache
        self._width = width

    def update(
        self, key: Tensor, value: Tensor, layer_idx: int, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Store ``[rows, heads, queries, head_dim]``. Return views ``[rows, heads, width, head_dim]``."""
        keys, values = self._cache.data[layer_idx, :, : self._num_rows]
        keys[self._rows, :, self._columns] = key.transpose(1, 2)
        values[self._rows, :, self._columns] = value.transpose(1, 2)
        return keys[:, :, : self._width], values[:, :, : self._width]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return 0: unused columns are masked out, and rows have no common length."""
        return 0
