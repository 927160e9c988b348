"""Sampling tokens: one uniform number per (seed, index of the token), so that a row needs no generator."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from actors.batching.splitmix import GOLDEN, mix

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def uniforms(seeds: npt.NDArray[np.uint64], counters: Ints) -> Floats:
    """Return a number in [0, 1) for each pair of seed and counter ``>= 0``, both ``[rows]``.

    The seed is mixed first, so that neighbouring seeds are not shifted copies of one stream.
    """
    steps = GOLDEN * (counters.astype(np.uint64) + np.uint64(1))
    bits = mix(mix(seeds + GOLDEN) + steps)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def nucleus(probabilities: Tensor, top_p: Tensor) -> Tensor:
    """Set the probabilities outside the smallest set of most probable tokens that reaches ``top_p`` to 0.

    ``probabilities`` ``[rows, vocab]``, ``top_p`` ``[rows]`` in (0, 1]; 1 keeps a row unchanged. The result
    is not normalised. The most probable token is always kept; of equal ones the lower id comes first.
    """
    ordered, order = torch.sort(probabilities, dim=-1, descending=True, stable=True)
    before = torch.cumsum(ordered, dim=-1) - ordered
    kept = (before < top_p[:, None]) | (top_p[:, None] >= 1.0)
    kept[:, 0] = True
    return probabilities * torch.zeros_like(kept).scatter_(-1, order, kept)


def _inverse_cdf(weights: Tensor, uniform: Tensor) -> Tensor:
    """The token whose share of ``weights`` ``[rows, vocab]`` holds ``uniform`` ``[rows]``; never one of 0."""
    cumulative = torch.cumsum(weights, dim=-1)
    total = cumulative[:, -1:].contiguous()
    chosen = torch.searchsorted(cumulative, uniform[:, None] * total, right=True)
    # The product may round up to the total, which is past the last token: take the last with a weight.
    last = torch.searchsorted(cumulative, total)
    return torch.minimum(chosen, last)[:, 0]


def sample(logits: Tensor, temperature: Floats, top_p: Floats, uniform: Floats) -> tuple[Ints, Floats]:
    """Return a token for each row, and its log-probability at temperature 1 (NaN for non-finite logits).

    ``logits`` ``[rows, vocab]`` of any dtype; the others ``[rows]``. Temperature 0 takes the most
    probable token. Each row is computed in float64 and depends on no other row.
    """
    exact = logits.double()
    device = logits.device
    greedy = torch.argmax(exact, dim=-1)
    chosen = greedy
    if temperature.any():
        scale = torch.from_numpy(np.where(temperature > 0, temperature, 1.0)).to(device)
        weights = torch.softmax(exact / scale[:, None], dim=-1)
        if (top_p < 1).any():
            weights = nucleus(weights, torch.from_numpy(top_p).to(device))
        drawn = _inverse_cdf(weights, torch.from_numpy(uniform).to(device))
        chosen = torch.where(torch.from_numpy(temperature > 0).to(device), drawn, greedy)
    chosen = chosen.clamp_(0, exact.shape[-1] - 1)
    logprobs = torch.log_softmax(exact, dim=-1).gather(-1, chosen[:, None])[:, 0]
    return chosen.cpu().numpy(), logprobs.cpu().numpy()
