"""The temperature of a sample by its number: one for all, or a greedy sample first.

Annealing with T = 1 is that of "Adaptive Inference-Time Compute" (https://arxiv.org/abs/2410.02725). With T
the sampling's temperature, and the samples numbered from 0,

    constant    T_n = T
    hedged      T_0 = 0, the greedy answer;    T_n = T
    annealed    T_n = T (1 - 2^-n)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, TypeVar

from orchestrator.types import Denoising, Sampling

Temperatures = Literal["constant", "hedged", "annealed"]
Tempered = TypeVar("Tempered", Sampling, Denoising)


def sampling_of(params: Tempered, number: int, temperatures: Temperatures) -> Tempered:
    """Return the decoding parameters of a sample."""
    if temperatures == "constant":
        return params
    if number == 0:
        return replace(params, temperature=0.0)
    share = 1.0 if temperatures == "hedged" else 1.0 - 2.0**-number
    return replace(params, temperature=params.temperature * share)
