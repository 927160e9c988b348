"""Activations: the values of the originals, and no element that depends on its position."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import ACT2CLS, ACT2FN

from actors.batching.invariance import make_invariant, replacing, watched

# Every activation that a configuration can name, except one that needs weights of its size.
NAMES = sorted(set(ACT2CLS) - {"xielu"})
MODULES = {
    **{name: (lambda name=name: ACT2FN[name]) for name in NAMES},
    "softplus": lambda: nn.Softplus(beta=2.0, threshold=5.0),
    "gelu of torch": lambda: nn.GELU("tanh"),
    "elu": lambda: nn.ELU(1.3),
    "celu": lambda: nn.CELU(0.7),
    "selu": nn.SELU,
    "glu": nn.GLU,
    "logsigmoid": nn.LogSigmoid,
}
# As a model's own code calls them.
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "silu in place": lambda x: functional.silu(x.clone(), inplace=True),
    "sigmoid": torch.sigmoid,
    "sigmoid method": lambda x: x.sigmoid(),
    "sigmoid in place": lambda x: x.clone().sigmoid_(),
    "sigmoid of functional": functional.sigmoid,
    "softplus": functional.softplus,
    "mish": functional.mish,
    "gelu": functional.gelu,
    "tanh-gelu": lambda x: functional.gelu(x, approximate="tanh"),
    "elu": functional.elu,
    "selu": functional.selu,
    "celu": functional.celu,
    "glu": functional.glu,
    "logaddexp": lambda x: torch.logaddexp(x, 0.3 * x),
    "exp2": torch.exp2,
    "power": lambda x: (x.abs() + 0.1) ** 1.7,
    "powers of a number": lambda x: 2.5**x,
    "square": lambda x: x**2,
    "cube": lambda x: x.pow(3),
}
EXTREMES = torch.tensor([-1e30, -200.0, -89.0, -20.0, -1e-20, 0.0, 1e-20, 20.0, 89.0, 200.0])


def assert_place_does_not_matter(function: Callable[[Tensor], Tensor]) -> None:
    """Rows cut out of a whole, in every number up to 64 and at offsets, are as they are in the whole."""
    for width in (2, 28, 100, 344):
        x = 3 * torch.randn(80, width, generator=torch.Generator().manual_seed(width))
        whole = function(x.clone())
        for num_rows in range(1, 65):
            first = num_rows % 16
            part = function(x[first : first + num_rows].clone())
            assert torch.equal(part, whole[first : first + num_rows]), (width, num_rows)


@pytest.mark.parametrize("name", MODULES)
@torch.inference_mode()
def test_a_module_keeps_its_values_and_forgets_its_place(name: str) -> None:
    original, replaced = MODULES[name](), MODULES[name]()
    make_invariant(nn.Sequential(replaced))
    x = torch.cat([4 * torch.randn(5000, generator=torch.Generator().manual_seed(0)), EXTREMES])
    assert torch.allclose(replaced(x.clone()), original(x.clone()), rtol=2e-6, atol=2e-6)
    assert torch.isnan(replaced(torch.full((2,), torch.nan))).all()
    assert_place_does_not_matter(replaced)


@pytest.mark.parametrize("name", FUNCTIONS)
@torch.inference_mode()
def test_a_function_keeps_its_values_and_forgets_its_place(name: str) -> None:
    function = FUNCTIONS[name]

    def replaced(x: Tensor) -> Tensor:
        with replacing():
            return function(x)

    x = 4 * torch.randn(5000, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(replaced(x), function(x), rtol=1e-5, atol=2e-6)
    assert_place_does_not_matter(replaced)


def test_only_what_may_differ_is_watched_for() -> None:
    x, weight = torch.randn(3, 4), torch.randn(4, 4)
    assert watched(lambda: torch.sigmoid(x))
    assert watched(lambda: functional.linear(x, weight))
    assert watched(lambda: x @ weight)
    assert not watched(lambda: x.pow(2) + torch.exp(x).tanh() + x.softmax(-1))
    assert not watched(lambda: torch.randn(2, 3, 4) @ torch.randn(2, 4, 3))
