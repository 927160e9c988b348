"""Products in tiles: the right values, and the same bits at any position among any number of rows."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from actors.batching import tiles
from actors.batching.invariance import make_invariant, replacing
from actors.batching.tiles import TiledProduct, Tiling, largest_class
from actors.transformers_engine.heads import Float32Linear

SHAPES = [(128, 128), (128, 344), (352, 128), (64, 28), (48, 96), (100, 37), (576, 520), (64, 2), (128, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@torch.inference_mode()
def test_a_row_is_the_same_at_every_place_among_any_number(shape: tuple[int, int], num_threads: int) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(shape, generator=generator), torch.randn(shape[1], generator=generator)
    multiply = TiledProduct(weight, bias)
    x = torch.randn(300, shape[0], generator=generator)
    alone = torch.cat([multiply(row[None]) for row in x[:80]])
    assert torch.allclose(alone, x[:80] @ weight + bias, atol=2e-4)
    for num_rows in [*range(1, 80), 191, 192, 193, 300]:
        order = torch.randperm(num_rows, generator=generator)
        known = order < 80
        assert torch.equal(multiply(x[order])[known], alone[order[known]]), num_rows
    assert multiply(x[:0]).shape == (0, shape[1])
    assert torch.equal(multiply(x[:6].view(2, 3, -1)), alone[:6].view(2, 3, -1))


@torch.inference_mode()
def test_every_kind_of_layer_is_tiled() -> None:
    tied = nn.Linear(64, 40, bias=False)
    embedding = nn.Embedding(40, 64)
    tied.weight = embedding.weight
    conv, head = Conv1D(40, 64), Float32Linear(torch.randn(1, 64), torch.randn(1))
    layers = [nn.Linear(64, 40), nn.Linear(64, 3, bias=False), tied, conv, head]
    x = torch.randn(50, 64)
    expected = [layer(x) for layer in layers]
    make_invariant(nn.ModuleList([*layers, embedding]))
    for layer, values in zip(layers, expected, strict=True):
        assert torch.allclose(layer(x), values, atol=1e-5)
        assert isinstance(layer.forward, TiledProduct) or layer is head
        assert torch.equal(layer(x)[7:8], layer(x[7:8]))
    assert tied.weight is embedding.weight, "one tensor in memory"
    assert torch.allclose(functional.linear(x, layers[0].weight, layers[0].bias), expected[0], atol=1e-5)


@torch.inference_mode()
def test_products_that_a_model_calls_as_functions_are_tiled() -> None:
    weight, x = torch.randn(128, 64), torch.randn(90, 64)
    calls = {
        "linear": lambda rows: functional.linear(rows, weight, torch.ones(128)),
        "matmul": lambda rows: rows @ weight.t(),
        "addmm": lambda rows: torch.addmm(torch.ones(128), rows, weight.t()),
    }
    for name, call in calls.items():
        with replacing():
            whole = call(x)
            assert all(torch.equal(call(x[:num]), whole[:num]) for num in range(1, 90)), name
        assert torch.allclose(whole, call(x), atol=1e-4)


def test_the_largest_class_that_agrees_is_used() -> None:
    bits = {(1, 16): b"a", (1, 24): b"b", (2, 16): b"b", (2, 24): None}
    tiling = largest_class(bits, bits.__getitem__)
    assert tiling is not None
    assert tiling.batches == ((1, 24), (2, 16))
    assert [tiling.batch_for(n) for n in (1, 24, 25, 33)] == [(1, 24), (1, 24), (2, 16), None]
    assert tiling.parts(60) == ((2, 16), (2, 16))
    assert largest_class([(1, 16)], lambda _: None) is None


def test_rows_are_cut_into_batches_that_hold_them() -> None:
    tiling = Tiling(((1, 16), (1, 24), (2, 24), (4, 48), (16, 48)))
    sizes = {num: [count * height for count, height in tiling.parts(num)] for num in range(2000)}
    for num_rows, found in sizes.items():
        assert sum(found[:-1]) < num_rows <= sum(found) or not num_rows
        assert sum(found) <= max(24, 1.7 * num_rows), "little is padding"
    assert sizes[384] == [192, 192]
    assert sizes[1008] == [768, 192, 48]


def test_a_kernel_whose_rows_depend_on_their_place_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = tiles._multiply

    def biased(
        rows: torch.Tensor, weight: torch.Tensor, count: int, height: int, **options: Any
    ) -> torch.Tensor:
        result = honest(rows, weight, count, height, **options)
        if height % 4:
            result[-1] += 1e-3
        return result

    monkeypatch.setattr(tiles, "_multiply", biased)
    tiles.tiling_of.cache_clear()
    tiling = tiles.tiling_of(32, 40, (40, 1), 1)
    tiles.tiling_of.cache_clear()
    assert tiling is not None
    assert {height % 4 for _, height in tiling.batches} == {0}


@torch.inference_mode()
def test_where_nothing_agrees_products_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "tiling_of", lambda *_: None)
    weight, x = torch.randn(12, 5), torch.randn(3, 7, 12)
    assert torch.allclose(TiledProduct(weight, None)(x), x @ weight, atol=1e-5)


def test_all_batches_in_reach_are_tried() -> None:
    """What a product is ever called with was tried: nothing is used that was not."""
    tried = set(tiles._candidates(64 * 64, 1))
    assert set(product(range(1, 5), range(16, 49, 2))) < tried
