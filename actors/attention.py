"""Attention whose result for a token does not depend on what shares its batch, its cache or its forward.

CPU matrix kernels change a row's last bits with the shape it is computed in (measured with torch 2.13 and
MKL; ``forward.probe`` checks the machine at hand), so fused attention, which splits queries by their
number, is not used, and

- a long sum over keys, which a kernel blocks by its length, is cut here into blocks of ``KEY_BLOCK``
  columns, added in order: further masked columns then add exact zeros;
- one query row takes a matrix-vector path and several take another. Either queries are padded to a
  multiple of ``QUERY_ROWS`` (``PADDED``), or they are worked out one by one (``SINGLE``). The second
  decodes faster where heads do not share keys, and reads long texts slowly.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import AttentionInterface

PADDED = "murmuration_padded"
SINGLE = "murmuration_single"
INVARIANT = (PADDED, SINGLE)
QUERY_ROWS = 4
KEY_BLOCK = 128
WIDTH_MULTIPLE = 16
# How many numbers of keys are copied at once where queries are worked out one by one.
_MAX_COPIED = 2**20


def causal_mask(positions: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """0 where a query sees a column, -inf elsewhere: ``[rows, 1, queries, width]``.

    ``positions`` ``[rows, queries]`` is the column of each query's own token; every row starts at column 0.
    """
    columns = torch.arange(width, device=positions.device)
    hidden = columns > positions[:, None, :, None]
    return torch.zeros(hidden.shape, dtype=dtype, device=positions.device).masked_fill_(hidden, -torch.inf)


def _weighted_sum(weights: Tensor, value: Tensor) -> Tensor:
    """``weights @ value`` in blocks of ``KEY_BLOCK`` keys, added in order."""
    blocks = zip(weights.split(KEY_BLOCK, dim=-1), value.split(KEY_BLOCK, dim=-2), strict=True)
    first, *rest = blocks
    total = torch.matmul(*first)
    for block in rest:
        total += torch.matmul(*block)
    return total


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, row_multiple: int) -> Tensor:
    """Softmax attention in float32; query heads that share a KV head are rows of one product.

    ``query`` ``[rows, heads, queries, head_dim]``, scaled; returns the same shape.
    """
    rows, num_heads, num_queries, head_dim = query.shape
    num_groups, width = key.shape[1], key.shape[2]
    shared = num_heads // num_groups * num_queries
    padding = (0, 0, 0, -shared % row_multiple)
    grouped = pad(query.reshape(rows, num_groups, shared, head_dim), padding)
    scores = torch.matmul(grouped, key.transpose(2, 3))[:, :, :shared]
    masked = scores.reshape(rows, num_groups, -1, num_queries, width) + mask[:, :, None]
    weights = torch.softmax(masked, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = pad(weights.reshape(rows, num_groups, shared, width), padding)
    attended = _weighted_sum(weights, value)[:, :, :shared]
    return attended.reshape(rows, num_heads, num_queries, head_dim)


def _padded_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float,
    **_options: Any,
) -> tuple[Tensor, None]:
    """All queries at once.

    ``query`` is ``[rows, heads, queries, head_dim]``, ``key`` and ``value`` ``[rows, kv_heads, width,
    head_dim]``, ``attention_mask`` ``[rows, 1, queries, width]`` is added; returns ``[rows, queries, heads,
    head_dim]``. No dropout: models are in evaluation mode.
    """
    attended = _attend(query * scaling, key, value, attention_mask, QUERY_ROWS)
    return attended.transpose(1, 2).contiguous(), None


def _single_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float,
    **_options: Any,
) -> tuple[Tensor, None]:
    """As ``_padded_attention``, each query as a row of its own with a copy of its row's keys and values."""
    num_rows, _, num_queries, _ = query.shape
    query = query * scaling
    if num_queries == 1:
        return _attend(query, key, value, attention_mask, 1).transpose(1, 2).contiguous(), None
    at_once = max(1, _MAX_COPIED // key.numel())
    attended = []
    for first in range(0, num_queries, at_once):
        part = query[:, :, first : first + at_once]
        copies = part.shape[2]
        masks = attention_mask[:, :, first : first + at_once]
        rows = _attend(
            part.transpose(1, 2).flatten(0, 1)[:, :, None],
            key.repeat_interleave(copies, dim=0),
            value.repeat_interleave(copies, dim=0),
            masks.transpose(1, 2).flatten(0, 1)[:, :, None],
            1,
        )
        attended.append(rows[:, :, 0].unflatten(0, (num_rows, copies)))
    return torch.cat(attended, dim=1), None


def register() -> None:
    """Make both known to transformers as values of ``attn_implementation``."""
    AttentionInterface.register(PADDED, _padded_attention)
    AttentionInterface.register(SINGLE, _single_attention)
