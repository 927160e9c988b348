"""Blocks, counts and AdaBlock's rule, against numbers computed by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.diffusion_engine.layouts import Unmasking
from actors.diffusion_engine.schedule import (
    adaptive_end,
    fixed_end,
    num_block_steps,
    search_end,
    unmask_counts,
)
from orchestrator.types import Denoising

CANVAS = Denoising(block_length=8, gen_length=32, num_steps=16)


@pytest.mark.parametrize(
    ("num_masked", "num_steps", "unmasking", "counts"),
    [
        (8, 4, "even", (2, 2, 2, 2)),
        (8, 3, "even", (3, 3, 2)),  # the remainder goes to the first steps
        (2, 4, "even", (1, 1, 0, 0)),
        (5, 1, "even", (5,)),
        (8, 4, "proportional", (1, 2, 2, 3)),  # int(8 * .24975), int(7 * .333), int(5 * .499), the rest
        (5, 1, "proportional", (5,)),
    ],
)
def test_counts(num_masked: int, num_steps: int, unmasking: Unmasking, counts: tuple[int, ...]) -> None:
    assert unmask_counts(num_masked, num_steps, unmasking) == counts


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(["even", "proportional"]))
def test_counts_are_what_there_is(num_masked: int, num_steps: int, unmasking: Unmasking) -> None:
    counts = unmask_counts(num_masked, num_steps, unmasking)
    assert len(counts) == num_steps
    assert sum(counts) == num_masked
    assert min(counts) >= 0


@pytest.mark.parametrize(
    ("start", "end", "num_steps", "expected"),
    [(0, 8, 16, 4), (24, 32, 16, 4), (0, 32, 16, 16), (0, 8, 2, 1), (8, 16, 6, 2), (0, 8, 6, 1)],
)
def test_steps_of_a_block(start: int, end: int, num_steps: int, expected: int) -> None:
    assert num_block_steps(start, end, replace(CANVAS, num_steps=num_steps)) == expected


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 128))
def test_blocks_share_the_steps(block_length: int, gen_length: int, num_steps: int) -> None:
    """Each position is in one block; the steps are those asked for, and one more a block at most."""
    params, start, steps, blocks = Denoising(block_length, gen_length, num_steps), 0, 0, 0
    while start < gen_length:
        end = fixed_end(start, params)
        assert start < end <= min(gen_length, start + block_length)
        steps, blocks, start = steps + num_block_steps(start, end, params), blocks + 1, end
    assert num_steps <= steps <= num_steps + blocks
    assert fixed_end(0, replace(params, block_length=None)) == gen_length


ADAPTIVE = replace(CANVAS, delimiter_threshold=0.3)


@pytest.mark.parametrize(
    ("delimiters", "probabilities", "end"),
    [
        ([0, 0, 0, 0, 0, 0, 0, 0], [0.9] * 8, 8),  # none: the fixed length
        ([0, 0, 1, 0, 0, 0, 0, 0], [0.9, 0.9, 0.31, 0.9, 0.9, 0.9, 0.9, 0.9], 3),  # sure enough
        ([0, 0, 1, 0, 0, 0, 0, 0], [0.9, 0.9, 0.29, 0.9, 0.9, 0.9, 0.9, 0.9], 8),  # not sure enough
        ([0, 1, 0, 0, 0, 1, 0, 0], [0.9, 0.4, 0.9, 0.9, 0.9, 0.6, 0.9, 0.9], 6),  # the surest, not the first
        ([1, 0, 0, 0, 0, 0, 0, 1], [0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.5], 1),  # of equals the first
        ([0, 0, 0, 0, 0, 0, 0, 1], [0.3] * 8, 8),  # the threshold itself is enough
    ],
)
def test_a_block_ends_where_the_surest_delimiter_is(
    delimiters: list[int], probabilities: list[float], end: int
) -> None:
    found = adaptive_end(0, np.array(delimiters, np.bool_), np.array(probabilities), ADAPTIVE)
    assert found == end
    assert adaptive_end(8, np.array(delimiters, np.bool_), np.array(probabilities), ADAPTIVE) == 8 + end


def test_the_window_is_a_quarter_of_the_canvas_or_what_is_left() -> None:
    assert search_end(0, ADAPTIVE) == 8
    assert search_end(28, ADAPTIVE) == 32
    assert search_end(0, replace(ADAPTIVE, gen_length=3)) == 1
