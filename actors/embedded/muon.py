"""Muon in float32, used instead of torch.optim.Muon.

torch's Muon orthogonalises in bfloat16, which most CPUs only emulate, and one matrix at a time. The shipped
models are trained on CPUs, and here matrices of equal shape are processed in one batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

# The quintic of Jordan et al. (2024), https://kellerjordan.github.io/posts/muon/
_A, _B, _C = 3.4445, -4.775, 2.0315


def orthogonalise(matrices: Tensor, num_iterations: int = 5) -> Tensor:
    """Approximate the nearest semi-orthogonal matrices by Newton-Schulz. Shape ``[n, rows, columns]``."""
    is_tall = matrices.size(-2) > matrices.size(-1)
    x = matrices.mT if is_tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(num_iterations):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    result: Tensor = x.mT if is_tall else x
    return result


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for the matrices of a network; equal shapes are processed in one batch."""

    def __init__(self, params: Iterable[Tensor], lr: float = 0.02, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Run one update; ``closure`` is not supported."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    by_shape[p.shape].append(p)
            for shape, params in by_shape.items():
                self._update(shape, params, group)
        return None

    def _update(self, shape: torch.Size, params: list[Tensor], group: dict[str, Any]) -> None:
        momenta = []
        for p in params:
            assert p.grad is not None
            buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
            buffer.lerp_(p.grad, 1 - group["momentum"])
            momenta.append(p.grad.lerp(buffer, group["momentum"]))
        updates = orthogonalise(torch.stack(momenta))
        scale = max(1.0, shape[0] / shape[1]) ** 0.5
        for p, update in zip(params, updates, strict=True):
            p.sub_(update, alpha=group["lr"] * scale)
