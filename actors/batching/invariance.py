"""Making a loaded model's forward batch-invariant: products in tiles, activations independent of position.

Known modules get another ``forward``. Functions that a model's own code calls (a gate's ``torch.sigmoid``, an
expert's ``F.linear``) are replaced while it runs. That costs some microseconds for each call of torch, so it
is done only for models that call such functions (``watched``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import pad
from torch.overrides import TorchFunctionMode

from actors.batching.activations import EXACT_POWERS, FUNCTIONS, POWERS, replacement
from actors.batching.linear import Float32Linear
from actors.batching.tiles import COLUMNS_MULTIPLE, TiledProduct


def make_invariant(model: Any) -> None:
    """Replace the ``forward`` of products and activations of a float32 model on a CPU, in place."""
    if hasattr(model, "set_experts_implementation"):
        # Other implementations put the tokens of all experts into one product.
        model.set_experts_implementation("eager")
    embedded = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    for module in model.modules():
        if "forward" not in vars(module):
            forward = replacement(module) or _product(module, embedded)
            if forward is not None:
                module.forward = forward


def _product(module: Any, embedded: set[int]) -> Callable[[Tensor], Tensor] | None:
    """The product of a linear layer, in tiles; None for every other module."""
    from transformers.pytorch_utils import Conv1D

    if type(module) is Conv1D:
        return TiledProduct(module.weight, module.bias)
    if type(module).forward is Float32Linear.forward:
        tiled = TiledProduct(_by_columns(module), module.bias, len(module.weight))
        return lambda hidden: tiled(hidden.float())
    if type(module).forward is not nn.Linear.forward:
        return None
    weight = module.weight.t() if id(module.weight) in embedded else _by_columns(module)
    return TiledProduct(weight, module.bias, len(module.weight))


def _by_columns(module: Any) -> Tensor:
    """The layer's weight ``[in, out]`` with contiguous rows; the layer's parameter becomes a view of it.

    This makes narrow products up to twice as fast (MKL). Columns of zeros fill up the last sixteen.
    """
    num_columns = len(module.weight)
    weight = pad(module.weight.detach().t(), (0, -num_columns % COLUMNS_MULTIPLE)).contiguous()
    module.weight = nn.Parameter(weight[:, :num_columns].t(), requires_grad=False)
    return weight


class _Replacing(TorchFunctionMode):
    """Runs the invariant form of every activation, and products with a matrix of weights in tiles."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if func in FUNCTIONS and _differs(func, args):
            return FUNCTIONS[func](*args, **options)
        if func is functional.linear and _is_weight(args[1]):
            bias = args[2] if len(args) > 2 else options.get("bias")
            return TiledProduct(args[1].t(), bias)(args[0])
        if func in _PRODUCTS and _is_weight(args[1]) and not options:
            return TiledProduct(args[1], None)(args[0])
        if func in (torch.addmm, Tensor.addmm) and _is_weight(args[2]) and not options:
            return TiledProduct(args[2], args[0])(args[1])
        return func(*args, **options)


_PRODUCTS = {torch.matmul, torch.mm, Tensor.matmul, Tensor.mm, Tensor.__matmul__}
_ALL_PRODUCTS = {*_PRODUCTS, functional.linear, torch.addmm, Tensor.addmm}


class _Watching(TorchFunctionMode):
    """Records whether a function is called that ``_Replacing`` replaces."""

    def __init__(self) -> None:
        super().__init__()
        self.found = False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in FUNCTIONS:
            self.found |= _differs(func, args)
        elif func in _ALL_PRODUCTS:
            self.found |= any(_is_weight(arg) for arg in args)
        return func(*args, **(kwargs or {}))


def _differs(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether an element of this call may depend on its position: not for integers, nor for a square."""
    if func in POWERS and not isinstance(args[-1], Tensor) and args[-1] in EXACT_POWERS:
        return False
    return any(isinstance(arg, Tensor) and arg.is_floating_point() for arg in args)


def _is_weight(tensor: Any) -> bool:
    """Whether rows are multiplied by this: two dimensions, float32."""
    return isinstance(tensor, Tensor) and tensor.dim() == 2 and tensor.dtype is torch.float32


def watched(run: Callable[[], object]) -> bool:
    """Return whether ``run`` calls functions that ``replacing`` would replace."""
    with _Watching() as watching:
        run()
    return bool(watching.found)


@contextmanager
def replacing() -> Iterator[None]:
    """Replace the functions that a model's code calls."""
    with _Replacing():
        yield
