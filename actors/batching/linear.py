"""A linear layer of a reward head."""

from __future__ import annotations

import torch
from torch import Tensor


class Float32Linear(torch.nn.Module):
    """A linear layer in float32 for a model of any dtype: rewards are differences of its outputs."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight.detach().float(), requires_grad=False)
        self.bias = None if bias is None else torch.nn.Parameter(bias.detach().float(), requires_grad=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.nn.functional.linear(hidden.float(), self.weight, self.bias)
