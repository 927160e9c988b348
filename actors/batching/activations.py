"""Activations whose elements do not depend on their position in the array.

torch computes the end of an array with other instructions than its whole vectors. The last bits of ``silu``,
``sigmoid``, ``softplus``, tanh-``gelu`` and others therefore depend on an element's position, on the array's
length and on how threads share it (measured with torch 2.13: with AVX2 and with AVX-512, never with
``ATEN_CPU_CAPABILITY=default``). Those of ``exp``, ``expm1``, ``log1p``, ``tanh``, ``erf`` and arithmetic do
not: everything here is built from these, and is as accurate as what it replaces.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation = Callable[..., Tensor]

# Exponents that torch computes by multiplying, dividing and square roots.
EXACT_POWERS = (0, 0.5, 1, 2, 3, -0.5, -1, -2)
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def _one_plus_exp_minus(x: Tensor) -> Tensor:
    return torch.neg(x).exp_().add_(1)


def sigmoid(x: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Return 1 / (1 + exp(-x)); exp overflows to infinity where the value is 0."""
    return torch.reciprocal(_one_plus_exp_minus(x), out=out)


def silu(x: Tensor, inplace: bool = False) -> Tensor:
    """Return x sigmoid(x)."""
    divisor = _one_plus_exp_minus(x)
    return torch.div(x, divisor, out=x if inplace else divisor)


def quick_gelu(x: Tensor) -> Tensor:
    """Return x sigmoid(1.702 x)."""
    return x / _one_plus_exp_minus(1.702 * x)


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Return log(1 + exp(beta x)) / beta, or x itself where beta x is above the threshold."""
    scaled = x * beta
    return torch.where(scaled > threshold, x, scaled.exp().log1p_() / beta)


def mish(x: Tensor, inplace: bool = False) -> Tensor:
    """Return x tanh(softplus(x))."""
    return torch.mul(x, softplus(x).tanh_(), out=x if inplace else None)


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """Return x times the normal distribution function, or its approximation with tanh."""
    if approximate == "none":
        return 0.5 * x * (1 + torch.erf(x * math.sqrt(0.5)))
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
    return 0.5 * x * inner.tanh_().add_(1)


def elu(x: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Return x where it is positive, alpha (exp(x) - 1) elsewhere."""
    result = torch.where(x > 0, x, alpha * torch.expm1(x))
    return x.copy_(result) if inplace else result


def celu(x: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Return elu with exp(x / alpha)."""
    result = torch.where(x > 0, x, alpha * torch.expm1(x / alpha))
    return x.copy_(result) if inplace else result


def selu(x: Tensor, inplace: bool = False) -> Tensor:
    """Return elu with the two constants of self-normalising networks."""
    result = _SELU_SCALE * elu(x, _SELU_ALPHA)
    return x.copy_(result) if inplace else result


def glu(x: Tensor, dim: int = -1) -> Tensor:
    """Return the first half times the sigmoid of the second."""
    first, second = x.chunk(2, dim)
    return first / _one_plus_exp_minus(second)


def logaddexp(x: Tensor, other: Tensor) -> Tensor:
    """Return log(exp(x) + exp(other)), and an infinity where both are that infinity."""
    gap = torch.where(x == other, 0.0, x - other)
    return torch.maximum(x, other) + (-gap.abs()).exp().log1p_()


def power(x: Tensor | float, exponent: Tensor | float) -> Tensor:
    """Return ``x ** exponent``, computed with logarithms; only the magnitude where x is negative."""
    log = torch.log(torch.as_tensor(x).abs())
    return torch.exp(exponent * log)


def _sigmoid_in_place(x: Tensor) -> Tensor:
    return sigmoid(x, out=x)


# What a model's own code may call, by the function that torch passes to a TorchFunctionMode.
FUNCTIONS: dict[Any, Activation] = {
    functional.silu: silu,
    functional.mish: mish,
    functional.softplus: softplus,
    functional.gelu: gelu,
    functional.elu: elu,
    functional.celu: celu,
    torch.celu: celu,
    functional.selu: selu,
    torch.selu: selu,
    functional.glu: glu,
    functional.sigmoid: sigmoid,
    torch.sigmoid: sigmoid,
    torch.special.expit: sigmoid,
    Tensor.sigmoid: sigmoid,
    torch.sigmoid_: _sigmoid_in_place,
    Tensor.sigmoid_: _sigmoid_in_place,
    torch.logaddexp: logaddexp,
    torch.exp2: lambda x: torch.exp(x * math.log(2)),
    torch.pow: power,
    Tensor.pow: power,
    Tensor.__pow__: power,
    Tensor.__rpow__: lambda exponent, x: power(x, exponent),
}
POWERS = {torch.pow, Tensor.pow, Tensor.__pow__}


def replacement(module: nn.Module) -> Activation | None:
    """Return what an activation module of torch or transformers must compute instead, or None."""
    make = _MODULES.get(type(module).__name__)
    return None if make is None else make(module)


# By the class's name: transformers has copies of some under other names, and remote code defines others.
_MODULES: dict[str, Callable[[Any], Activation]] = {
    "SiLU": lambda _: silu,
    "SiLUActivation": lambda _: silu,
    "Sigmoid": lambda _: sigmoid,
    "Softplus": lambda m: partial(softplus, beta=m.beta, threshold=m.threshold),
    "SqrtSoftplusActivation": lambda _: lambda x: softplus(x).sqrt_(),
    "Mish": lambda _: mish,
    "MishActivation": lambda _: mish,
    "GELU": lambda m: partial(gelu, approximate=m.approximate),
    "GELUTanh": lambda _: partial(gelu, approximate="tanh"),
    "PytorchGELUTanh": lambda _: partial(gelu, approximate="tanh"),
    "QuickGELUActivation": lambda _: quick_gelu,
    "ELU": lambda m: partial(elu, alpha=m.alpha),
    "CELU": lambda m: partial(celu, alpha=m.alpha),
    "SELU": lambda _: selu,
    "GLU": lambda m: partial(glu, dim=m.dim),
}
