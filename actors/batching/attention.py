"""Attention whose result for a token does not depend on what shares its batch, its cache or its forward.

CPU matrix kernels change a row's last bits with the shape it is computed in, so fused attention, which
splits queries by their number, is not used, and every product has one of the shapes that ``tiling_for`` has
found to agree on the machine at hand:

- keys are taken in blocks of ``KEY_BLOCK`` columns, added in order: further masked columns add exact zeros.
  The last block is shorter by a multiple of ``width_multiple``;
- one query row takes a matrix-vector path and several take another. Either queries are padded to one of
  ``heights`` (``PADDED``), or they are worked out one by one (``SINGLE``). The second decodes faster where
  heads do not share keys, and reads long texts slowly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import AttentionInterface

PADDED = "murmuration_padded"
SINGLE = "murmuration_single"
INVARIANT = (PADDED, SINGLE)
KEY_BLOCK = 128
WIDTH_MULTIPLE = 16
_WIDTH_MULTIPLES = (WIDTH_MULTIPLE, 32, 64, KEY_BLOCK)
# With several threads a product takes long where others keep the cores busy: fewer are tried.
_FEW_HEIGHTS = (4, 12, 24, 48)
# Numbers of query rows that are tried; most kernels take 4 or 6 at once.
_HEIGHTS = (4, 6, 8, 12, 16, 24, 28, 36, 40, 48)
# How many numbers of keys are copied at once where queries are worked out one by one.
_MAX_COPIED = 2**20


@dataclass(frozen=True)
class QueryTiling:
    """``heights`` are numbers of query rows whose products agree, where widths are of ``width_multiple``.

    With ``agrees`` False none were found that do, and these are as good as any.
    """

    width_multiple: int
    heights: tuple[int, ...]
    agrees: bool = True

    def parts(self, num_rows: int) -> Iterator[tuple[int, int]]:
        """How many query rows are worked out at once, and to how many they are padded, until all are."""
        while num_rows:
            rows = min(num_rows, self.heights[-1])
            yield rows, next(height for height in self.heights if height >= rows)
            num_rows -= rows


def tiling_for(attention: str, head_dim: int) -> QueryTiling:
    """What this machine's kernels allow, with as many threads as this one has."""
    num_threads = torch.get_num_threads()
    several = _HEIGHTS if num_threads == 1 else _FEW_HEIGHTS
    return _measured(head_dim, (1,) if attention == SINGLE else several, num_threads)


def causal_mask(positions: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """0 where a query sees a column, -inf elsewhere: ``[rows, 1, queries, width]``.

    ``positions`` ``[rows, queries]`` is the column of each query's own token; every row starts at column 0.
    """
    columns = torch.arange(width, device=positions.device)
    hidden = columns > positions[:, None, :, None]
    return torch.zeros(hidden.shape, dtype=dtype, device=positions.device).masked_fill_(hidden, -torch.inf)


def _batched(left: Tensor, right: Tensor) -> Tensor:
    """``left @ right`` as one batched product; threads share a single one otherwise than several."""
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
    """``rows`` ``[batch, rows, ...]`` a tile at a time, with how many of the tile's are no padding."""
    first = 0
    for num, height in tiling.parts(rows.shape[1]):
        tile = rows[:, first : first + num]
        yield (pad(tile, (0, 0, 0, height - num)) if height > num else tile.contiguous()), num
        first += num


def _joined(parts: list[Tensor]) -> Tensor:
    return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)).contiguous()


@cache
def _measured(head_dim: int, heights: tuple[int, ...], num_threads: int) -> QueryTiling:
    """The smallest multiple of widths at which some heights agree, and the most that do."""
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
    """What equal query rows ``shape`` (batch, rows) become; None where that depends on the row or the width.

    Keys that are not seen, behind those that are, have weight 0: they may not matter.
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
    """All queries at once.

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
    """As ``_padded_attention``, each query as a row of its own with a copy of its row's keys and values."""
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


def register() -> None:
    """Make both known to transformers as values of ``attn_implementation``."""
    AttentionInterface.register(PADDED, _padded_attention)
    AttentionInterface.register(SINGLE, _single_attention)
