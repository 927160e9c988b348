"""Attention whose result for a token does not depend on the rest of its batch, its cache or its forward.

With CPU matrix kernels the last bits of a row depend on the shape of the product. Fused attention, which
splits queries by their number, is therefore not used. Every product has one of the shapes for which
``tiling_for`` has measured equal results on this machine:

- keys are taken in blocks of ``KEY_BLOCK`` columns and added in order: further masked columns add exact
  zeros. The last block is shorter by a multiple of ``width_multiple``;
- one query row takes a matrix-vector path and several rows take another. Queries are either padded to one of
  ``heights`` (``PADDED``) or computed one by one (``SINGLE``). The second decodes faster where heads do not
  share keys, and reads long texts slowly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface

PADDED = "murmuration_padded"
SINGLE = "murmuration_single"
INVARIANT = (PADDED, SINGLE)
GROUPED = "murmuration_grouped"
"""The attention of a CPU where nothing has to be invariant."""
KEY_BLOCK = 128
WIDTH_MULTIPLE = 16
_WIDTH_MULTIPLES = (WIDTH_MULTIPLE, 32, 64, KEY_BLOCK)
# With several threads a product takes long while the cores are busy: fewer are tried.
_FEW_HEIGHTS = (4, 12, 24, 48)
# Numbers of query rows that are tried; most kernels compute 4 or 6 at once.
_HEIGHTS = (4, 6, 8, 12, 16, 24, 28, 36, 40, 48)
# At most this many numbers of keys are copied at once where queries are computed one by one.
_MAX_COPIED = 2**20


@dataclass(frozen=True)
class QueryTiling:
    """Numbers of query rows (``heights``) whose products agree for widths that ``width_multiple`` divides.

    With ``agrees`` False no such numbers were found, and these are as good as any.
    """

    width_multiple: int
    heights: tuple[int, ...]
    agrees: bool = True

    def parts(self, num_rows: int) -> Iterator[tuple[int, int]]:
        """Yield how many query rows are computed at once, and to how many they are padded, for all rows."""
        while num_rows:
            rows = min(num_rows, self.heights[-1])
            yield rows, next(height for height in self.heights if height >= rows)
            num_rows -= rows


def tiling_for(attention: str, head_dim: int) -> QueryTiling:
    """Return the tiling that this machine's kernels allow with the present number of torch threads."""
    num_threads = torch.get_num_threads()
    several = _HEIGHTS if num_threads == 1 else _FEW_HEIGHTS
    return _measured(head_dim, (1,) if attention == SINGLE else several, num_threads)


def causal_mask(positions: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """Return a mask ``[rows, 1, queries, width]``: 0 where a query sees a column, -inf elsewhere.

    ``positions`` ``[rows, queries]`` is the column of each query's own token; every row starts at column 0.
    """
    columns = torch.arange(width, device=positions.device)
    hidden = columns > positions[:, None, :, None]
    return torch.zeros(hidden.shape, dtype=dtype, device=positions.device).masked_fill_(hidden, -torch.inf)


def _batched(left: Tensor, right: Tensor) -> Tensor:
    """``left @ right`` as one batched product. Threads share a single product in another way than several."""
    if left.shape[0] == 1 and torch.get_num_threads() > 1:
        return torch.bmm(left.expand(2, -1, -1), right.expand(2, -1, -1))[:1]
    return torch.bmm(left, right)


def _scores(queries: Tensor, key: Tensor) -> Tensor:
    """``queries @ key^T`` ``[batch, queries, width]``, a block of keys at a time."""
    blocks = [_batched(queries, block.transpose(1, 2)) for block in key.split(KEY_BLOCK, dim=1)]
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=-1)


def _weighted_sum(weights: Tensor, value: Tensor) -> Tensor:
    """``weights @ value`` in blocks of ``KEY_BLOCK`` keys, added in order."""
    blocks = zip(weights.split(KEY_BLOCK, dim=-1), value.split(KEY_BLOCK, dim=-2), strict=True)
    first, *rest = blocks
    total = _batched(*first)
    for block in rest:
        total += _batched(*block)
    return total


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, tiling: QueryTiling) -> Tensor:
    """Softmax attention in float32; query heads that share a KV head are rows of one product.

    ``query`` ``[rows, heads, queries, head_dim]``, scaled; returns the same shape.
    """
    rows, num_heads, num_queries, head_dim = query.shape
    num_groups, width = key.shape[1], key.shape[2]
    shared = num_heads // num_groups * num_queries
    grouped = query.reshape(rows * num_groups, shared, head_dim)
    keys, values = (kept.reshape(rows * num_groups, width, head_dim) for kept in (key, value))
    tiles = list(_tiles(grouped, tiling))
    scores = _joined([_scores(tile, keys)[:, :num] for tile, num in tiles])
    masked = scores.view(rows, num_groups, -1, num_queries, width) + mask[:, :, None]
    weights = torch.softmax(masked, dim=-1, dtype=torch.float32).to(query.dtype)
    tiles = list(_tiles(weights.view(rows * num_groups, shared, width), tiling))
    attended = _joined([_weighted_sum(tile, values)[:, :num] for tile, num in tiles])
    return attended.reshape(rows, num_heads, num_queries, head_dim)


def _tiles(rows: Tensor, tiling: QueryTiling) -> Iterator[tuple[Tensor, int]]:
    """``rows`` ``[batch, rows, ...]`` one tile at a time, with how many rows of the tile are not padding."""
    first = 0
    for num, height in tiling.parts(rows.shape[1]):
        tile = rows[:, first : first + num]
        yield (pad(tile, (0, 0, 0, height - num)) if height > num else tile.contiguous()), num
        first += num


def _joined(parts: list[Tensor]) -> Tensor:
    return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)).contiguous()


@cache
def _measured(head_dim: int, heights: tuple[int, ...], num_threads: int) -> QueryTiling:
    """The smallest multiple of widths at which some heights agree, and the largest set of such heights."""
    generator = torch.Generator().manual_seed(0)
    query, weights = torch.randn(head_dim, generator=generator), torch.rand(KEY_BLOCK, generator=generator)
    keys = torch.randn(2, KEY_BLOCK, head_dim, generator=generator)
    batches = (1, 2, 7) if num_threads == 1 else (2, 3)
    with torch.inference_mode():
        for multiple in _WIDTH_MULTIPLES:
            widths = range(multiple, KEY_BLOCK + 1, multiple)
            classes: dict[bytes, list[int]] = {}
            for height in heights:
                results = [_results(query, weights, keys, (batch, height), widths) for batch in batches]
                if results[0] is not None and all(bits == results[0] for bits in results):
                    classes.setdefault(results[0], []).append(height)
            if classes:
                largest: list[int] = max(classes.values(), key=len)
                return QueryTiling(multiple, tuple(largest))
    return QueryTiling(WIDTH_MULTIPLE, heights, agrees=False)


def _results(
    query: Tensor, weights: Tensor, keys: Tensor, shape: tuple[int, int], widths: Sequence[int]
) -> bytes | None:
    """The results of equal query rows ``shape`` (batch, rows); None where they depend on row or width.

    Keys that are not seen follow those that are and have weight 0: they must not change the result.
    """
    queries, (key, value) = query.expand(*shape, -1).contiguous(), keys[:, None].expand(-1, shape[0], -1, -1)
    scores = _scores(queries, key)
    found = [scores[0, 0]]
    agree = all(_are_all(_scores(queries, key[:, :width]), scores[0, 0, :width]) for width in widths)
    for width in widths:
        seen = weights[:width].expand(*shape, -1)
        attended = _weighted_sum(seen.contiguous(), value[:, :width])
        found.append(attended[0, 0])
        agree = agree and _are_all(attended, attended[0, 0])
        wider = {KEY_BLOCK} if width > widths[0] else set(widths)
        for more in wider - {width}:
            padded = pad(seen, (0, more - width))
            agree = agree and _are_all(_weighted_sum(padded, value[:, :more]), attended[0, 0])
    return torch.cat(found).numpy().tobytes() if agree else None


def _are_all(rows: Tensor, row: Tensor) -> bool:
    return torch.equal(rows, row.expand_as(rows))


def _padded_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float,
    **_options: Any,
) -> tuple[Tensor, None]:
    """Attention of all queries at once.

    ``query`` is ``[rows, heads, queries, head_dim]``, ``key`` and ``value`` ``[rows, kv_heads, width,
    head_dim]``, ``attention_mask`` ``[rows, 1, queries, width]`` is added; returns ``[rows, queries, heads,
    head_dim]``. No dropout: models are in evaluation mode.
    """
    attended = _attend(query * scaling, key, value, attention_mask, tiling_for(PADDED, query.shape[-1]))
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
    """As ``_padded_attention``, but each query is a separate row with a copy of its row's keys and values."""
    num_rows, _, num_queries, _ = query.shape
    query, tiling = query * scaling, tiling_for(SINGLE, query.shape[-1])
    if num_queries == 1:
        return _attend(query, key, value, attention_mask, tiling).transpose(1, 2).contiguous(), None
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
            tiling,
        )
        attended.append(rows[:, :, 0].unflatten(0, (num_rows, copies)))
    return torch.cat(attended, dim=1), None


def _grouped_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float,
    **_options: Any,
) -> tuple[Tensor, None]:
    """Fused attention that copies no keys: query heads share those of their group.

    Where there is a mask, transformers' ``sdpa`` first copies keys and values for every head that shares
    them. With three heads a group that made a step of 32 rows 2.3 times as long at 110 columns, and 4.3 times
    at 400.
    """
    attended = scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, scale=scaling, enable_gqa=True
    )
    return attended.transpose(1, 2).contiguous(), None


def register() -> None:
    """Register all with transformers as values of ``attn_implementation``."""
    AttentionInterface.register(PADDED, _padded_attention)
    AttentionInterface.register(SINGLE, _single_attention)
    AttentionInterface.register(GROUPED, _grouped_attention)
