"""Matrix products in tiles whose shapes give a row the same bits, as measured on this machine.

A matrix kernel sums in an order that depends on the shape of the product, and on some machines on the
position of a row in it. (MKL 2024: with AVX2 rows differ by position in products of 32, 38, 44 and others,
with SSE4.2 in all products whose number of rows 4 does not divide; a product that two threads share differs
from one of a single thread; fewer than 16 rows and 56 or more give yet other bits. All of this also depends
on the width.) So no shape is trusted. Every product is one of a few batches ``(tiles, height)`` that are
tested first, with equal rows at all positions: a batch is used if all its rows are equal, and equal to those
of the other batches in use.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import pad

Batch = tuple[int, int]
"""The number of tiles of one product, and the rows of each."""

# Few columns take a kernel for vectors, and the columns left over at the end another one: there a single
# number may depend on a row's position, which a few tests can miss.
COLUMNS_MULTIPLE = 16
_HEIGHTS = range(16, 49, 2)
_FEW_HEIGHTS = (16, 24, 36, 48)
_MAX_TILES = 4
# Fewer tiles where these agree with the low ones: with AVX-512 and on AMD CPUs, not with MKL's AVX2.
_TALL = [(1, 64), (1, 80), (1, 96), (1, 112), (1, 128), (1, 160), (1, 192), (1, 256), (1, 384), (1, 768)]
_FEW_TALL = [(1, 96), (1, 192), (1, 384)]
_BULK = (16, 48)
# The cost of a tile and of a call in addition to their rows, in rows.
_TILE_COST, _CALL_COST = 3, 6
# With at least this many weights, and with several threads, fewer shapes are tested to keep loading short.
_MANY_WEIGHTS, _VERY_MANY_WEIGHTS = 2**18, 2**22


@dataclass(frozen=True, eq=False)
class Tiling:
    """At least one batch; all give a row the same bits, at any position."""

    batches: tuple[Batch, ...]

    @cached_property
    def _largest(self) -> Batch:
        return max(self.batches, key=_size)

    def batch_for(self, num_rows: int) -> Batch | None:
        """Return the cheapest batch that holds ``num_rows`` rows, or None."""
        holding = (batch for batch in self.batches if _size(batch) >= num_rows)
        return min(holding, key=_cost, default=None)

    @lru_cache(maxsize=4096)  # noqa: B019 - tilings live as long as the process
    def parts(self, num_rows: int) -> tuple[Batch, ...]:
        """Return the batches that rows are cut into: the largest ones that they fill, then one for the rest.

        If that costs less, the rest is one batch that it fills and the batches for what remains.
        """
        if num_rows > _size(self._largest):
            whole, rest = divmod(num_rows, _size(self._largest))
            return (self._largest,) * whole + self.parts(rest)
        holding = self.batch_for(num_rows)
        assert holding is not None
        filled = max((b for b in self.batches if _size(b) <= num_rows), key=_size, default=None)
        if filled is None or _size(holding) == num_rows:
            return (holding,) if num_rows else ()
        split = (filled, *self.parts(num_rows - _size(filled)))
        return min((holding,), split, key=lambda parts: sum(map(_cost, parts)))


def _size(batch: Batch) -> int:
    return batch[0] * batch[1]


def _cost(batch: Batch) -> int:
    """In rows, with the cost of tiles and of the call."""
    return batch[0] * (batch[1] + _TILE_COST) + _CALL_COST


class TiledProduct:
    """``x @ weight + bias`` for ``x`` ``[..., in]``; of ``weight`` ``[in, out]`` the first ``num_columns``.

    ``tiling`` is None where no batch is usable on this machine: then it is one plain product.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, num_columns: int | None = None) -> None:
        missing = -weight.shape[1] % COLUMNS_MULTIPLE
        self._num_columns = num_columns or weight.shape[1]
        self._weight = pad(weight, (0, missing)) if missing else weight
        self._bias = bias
        self.tiling = tiling_of(*self._weight.shape, self._weight.stride(), torch.get_num_threads())

    def __call__(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        tiled = rows @ self._weight if self.tiling is None else self._tiled(rows, self.tiling)
        result: Tensor = tiled[:, : self._num_columns].reshape(*x.shape[:-1], self._num_columns)
        return result if self._bias is None else result + self._bias

    def _tiled(self, rows: Tensor, tiling: Tiling) -> Tensor:
        parts = tiling.parts(len(rows))
        if len(parts) == 1:
            return _multiply(rows, self._weight, *parts[0])[: len(rows)]
        result, first = rows.new_empty(len(rows), self._weight.shape[1]), 0
        for part in parts:
            last = min(first + _size(part), len(rows))
            if last - first == _size(part):
                _multiply(rows[first:last], self._weight, *part, out=result[first:last])
            else:
                result[first:last] = _multiply(rows[first:last], self._weight, *part)[: last - first]
            first = last
        return result


def _multiply(rows: Tensor, weight: Tensor, tiles: int, height: int, *, out: Tensor | None = None) -> Tensor:
    """``rows @ weight`` as one product, batched where it has several tiles; rows of zeros fill it up."""
    missing = tiles * height - len(rows)
    whole = pad(rows, (0, 0, 0, missing)) if missing else rows
    if tiles == 1:
        with torch._C.DisableTorchFunction():  # not a product of the model's own code, which is watched for
            return torch.mm(whole, weight, out=out)
    into = None if out is None else out.view(tiles, height, -1)
    batched = torch.bmm(whole.view(tiles, height, -1), weight.expand(tiles, *weight.shape), out=into)
    return batched.view(tiles * height, -1)


@cache
def tiling_of(num_in: int, num_out: int, strides: tuple[int, int], num_threads: int) -> Tiling | None:
    """Return the batches to use for weights ``[num_in, num_out]`` with these strides in memory."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.empty_strided((num_in, num_out), strides).normal_(generator=generator)
    vectors = torch.randn(2, num_in, generator=generator)
    with torch.inference_mode():
        return largest_class(
            _candidates(num_in * num_out, num_threads), lambda batch: _bits(weight, vectors, *batch)
        )


def _candidates(num_weights: int, num_threads: int) -> list[Batch]:
    if num_weights >= _VERY_MANY_WEIGHTS:
        return list(product((1, 2), (_FEW_HEIGHTS[0], _FEW_HEIGHTS[-1])))
    few = num_weights >= _MANY_WEIGHTS or num_threads > 1
    low = product(range(1, _MAX_TILES + 1), _FEW_HEIGHTS if few else _HEIGHTS)
    return [*low, *(_FEW_TALL if few else _TALL), _BULK]


def largest_class(candidates: Iterable[Batch], bits: Callable[[Batch], bytes | None]) -> Tiling | None:
    """Return the largest set of candidates that agree; ``bits`` is None where a row's position matters."""
    classes: dict[bytes, list[Batch]] = defaultdict(list)
    for candidate in candidates:
        found = bits(candidate)
        if found is not None:
            classes[found].append(candidate)
    largest: list[Batch] = max(classes.values(), key=len, default=[])
    return Tiling(tuple(largest)) if largest else None


def _bits(weight: Tensor, vectors: Tensor, tiles: int, height: int) -> bytes | None:
    """The two results of rows that alternate between two vectors.

    None where they depend on the row, or on the rows' address in memory: the second time the vectors are
    swapped, and the rows begin one number later.
    """
    num_rows, num_in = tiles * height, vectors.shape[1]
    storage = vectors.new_empty(num_rows * num_in + 1)
    expected = None
    for offset in (0, 1):
        rows = storage[offset : offset + num_rows * num_in].view(num_rows, num_in)
        rows.view(-1, 2, num_in).copy_(vectors.flip(0) if offset else vectors)
        pairs = _multiply(rows, weight, tiles, height).view(num_rows // 2, 2, -1)
        pairs = pairs.flip(1) if offset else pairs
        expected = pairs[0] if expected is None else expected
        if not torch.equal(pairs, expected.expand_as(pairs)):
            return None
    assert expected is not None
    return expected.numpy().tobytes()
