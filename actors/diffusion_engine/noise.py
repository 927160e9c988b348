"""The noise of a path as a function of its position: the same with any batch."""

from __future__ import annotations

import torch
from torch import Tensor

# As in actors/batching/splitmix.py, in two's complement: torch has no arithmetic on uint64.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64


def _shifted(state: Tensor, bits: int) -> Tensor:
    """Shift right logically: torch's shift keeps the sign."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)


def _mix(state: Tensor) -> Tensor:
    """Apply the finaliser of SplitMix64, modulo 2**64."""
    state = (state ^ _shifted(state, 30)) * _MIX_1
    state = (state ^ _shifted(state, 27)) * _MIX_2
    return state ^ _shifted(state, 31)


def position_keys(seed: Tensor, block: Tensor, step: Tensor, position: Tensor) -> Tensor:
    """Return a key for each (seed, block, step of the block, position on the canvas), all int64 ``[n]``.

    Each number is mixed in before the next, so that neighbours are not shifted copies of each other.
    """
    key = _mix(seed + _GOLDEN)
    for number in (block, step, position):
        key = _mix(key + _GOLDEN * (number + 1))
    return key


def token_uniforms(keys: Tensor, num_tokens: int) -> Tensor:
    """Return numbers in [0, 1), one per token: ``[n, num_tokens]`` float64 from keys ``[n]``."""
    counters = torch.arange(1, num_tokens + 1, device=keys.device)
    return _fraction(_mix(keys[:, None] + _GOLDEN * counters))


def position_uniforms(keys: Tensor) -> Tensor:
    """Return one number in [0, 1) per position, ``[n]``, different from those of its tokens."""
    return _fraction(_mix(keys))


def _fraction(bits: Tensor) -> Tensor:
    return _shifted(bits, 11).double() * 2.0**-53
