"""Which positions of a canvas are decided together, and how many at each pass.

A canvas of ``gen_length`` positions is filled block by block from the left (semi-autoregressive decoding,
LLaDA, arXiv 2502.09992); AdaBlock (arXiv 2509.26432) ends a block where the model sees a delimiter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.batching.sampling import Floats
from actors.diffusion_engine.layouts import Unmasking
from orchestrator.types import Denoising

# Dream's time runs from 1 down to this.
_EPSILON = 1e-3
# The part of the canvas in which AdaBlock looks for a delimiter.
_WINDOW = 0.25


@dataclass(frozen=True, slots=True)
class Block:
    """Positions ``start .. end`` of a canvas; ``counts[s]`` of them are committed at step s of the block."""

    index: int
    start: int
    end: int
    counts: tuple[int, ...]


def num_block_steps(start: int, end: int, params: Denoising) -> int:
    """Return the block's share of ``num_steps``, at least 1; for equal blocks ``num_steps // num_blocks``."""
    share = end * params.num_steps // params.gen_length - start * params.num_steps // params.gen_length
    return max(1, share)


def coin(step: int, num_steps: int) -> float:
    """Return the chance of a masked position to be decided at a step; the last step decides all.

    It is 1 - s/t for time that runs evenly from t = 1 to .001 (Dream's algorithm ``origin``).
    """
    if step == num_steps - 1:
        return 1.0
    times = np.linspace(1.0, _EPSILON, num_steps + 1)
    return float(1 - times[step + 1] / times[step])


def unmask_counts(num_masked: int, num_steps: int, unmasking: Unmasking = "even") -> tuple[int, ...]:
    """Return how many of ``num_masked`` positions each step commits: ``num_steps`` counts with that sum.

    ``even``: ``num_masked // num_steps`` each, and one more in the first steps for the remainder (LLaDA).
    ``proportional``: the integer part of n (1 - s/t) with n positions left, for time that runs evenly from
    t = 1 to .001 (Dream); the last step takes the rest.
    """
    if unmasking == "even":
        share, rest = divmod(num_masked, num_steps)
        return tuple(share + (step < rest) for step in range(num_steps))
    times, counts = np.linspace(1.0, _EPSILON, num_steps + 1), list[int]()
    for step in range(num_steps - 1):
        counts.append(int((num_masked - sum(counts)) * (1 - times[step + 1] / times[step])))
    return (*counts, num_masked - sum(counts))


def make_block(index: int, start: int, end: int, params: Denoising, unmasking: Unmasking) -> Block:
    """Return a block of positions that are all masked."""
    counts = unmask_counts(end - start, num_block_steps(start, end, params), unmasking)
    return Block(index, start, end, counts)


def fixed_end(start: int, params: Denoising) -> int:
    """Return the end of a block of fixed length that begins at ``start``; the last one may be shorter."""
    return min(params.gen_length, start + (params.block_length or params.gen_length))


def search_end(start: int, params: Denoising) -> int:
    """Return the end of the window in which AdaBlock looks for a delimiter."""
    return min(params.gen_length, start + max(1, int(_WINDOW * params.gen_length)))


def adaptive_end(
    start: int, is_delimiter: npt.NDArray[np.bool_], probability: Floats, params: Denoising
) -> int:
    """Return AdaBlock's end of a block: after the delimiter predicted with most confidence.

    ``is_delimiter`` and ``probability``, ``[window]``, say of the most probable token at each position from
    ``start`` on whether it is a delimiter, and its probability. Where no delimiter reaches
    ``delimiter_threshold`` the block has its fixed length.
    """
    assert params.delimiter_threshold is not None
    found = np.flatnonzero(is_delimiter)
    if not len(found):
        return fixed_end(start, params)
    best = int(found[np.argmax(probability[found])])
    if probability[best] < params.delimiter_threshold:
        return fixed_end(start, params)
    return start + best + 1
