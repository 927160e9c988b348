"""A canvas that is fed hand-made logits: which positions it asks for, and which it decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from actors.diffusion_engine.canvas import Canvas
from actors.diffusion_engine.remasking import Prediction, predict
from actors.diffusion_engine.schedule import coin
from orchestrator.types import Denoising

EOS, NEWLINE, LETTER, MASK = range(4)
PARAMS = Denoising(block_length=4, gen_length=8, num_steps=4)


def canvas_of(params: Denoising) -> Canvas:
    return Canvas(params, "even", frozenset({EOS}), frozenset({NEWLINE}))


def predicted(*likely: tuple[int, float]) -> Prediction:
    """Logits under which each position's likely token has that probability, and two others the rest."""
    rows = torch.full((len(likely), 4), -torch.inf)
    for row, (token, p) in zip(rows, likely, strict=True):
        row[:3] = np.log((1 - p) / 2)
        row[token] = np.log(p)
    num = len(likely)
    zero = torch.zeros(num, dtype=torch.float64)
    return predict(rows, zero, torch.zeros(num, dtype=torch.int64), ["low_confidence"] * num)


def test_two_positions_a_pass_block_after_block() -> None:
    canvas = canvas_of(PARAMS)
    assert canvas.wanted.tolist() == [0, 1, 2, 3]
    assert canvas.at_block_start
    likely = [(LETTER, 0.6), (LETTER, 0.9), (NEWLINE, 0.7), (LETTER, 0.8)]
    assert canvas.apply(predicted(*likely)) == 2
    assert canvas.wanted.tolist() == [0, 2]
    assert not canvas.at_block_start
    canvas.apply(predicted((LETTER, 0.5), (EOS, 0.9)))
    assert canvas.passes.tolist() == [1, 0, 1, 0, -1, -1, -1, -1]
    assert canvas.tokens[:4].tolist() == [LETTER, LETTER, EOS, LETTER]
    np.testing.assert_allclose(np.exp(canvas.logprobs[:4]), [0.5, 0.9, 0.9, 0.8], rtol=1e-6)
    assert canvas.wanted.tolist() == [4, 5, 6, 7]
    assert canvas.at_block_start and canvas.block.index == 1
    assert not canvas.is_filled


def test_it_is_filled_once_its_text_is_decided() -> None:
    """The first end of text at position 2, and nothing undecided before it."""
    likely = [(LETTER, 0.6), (LETTER, 0.9), (EOS, 0.95), (LETTER, 0.5)]
    for early_stop in (False, True):
        canvas = canvas_of(replace(PARAMS, early_stop=early_stop))
        canvas.apply(predicted(*likely))
        assert canvas.text_length == 3
        assert not canvas.is_filled  # position 0 is open
        canvas.apply(predicted((LETTER, 0.6), (LETTER, 0.5)))
        assert canvas.is_filled == early_stop
    assert canvas_of(PARAMS).text_length == 9  # none


def test_a_delimiter_that_the_model_is_sure_of_ends_the_block() -> None:
    """AdaBlock: the window is a quarter of the canvas, two positions; the same pass also commits."""
    adaptive = replace(PARAMS, delimiter_threshold=0.6)
    canvas = canvas_of(adaptive)
    assert canvas.wanted.tolist() == [0, 1, 2, 3]
    canvas.apply(predicted((NEWLINE, 0.7), (LETTER, 0.9), (LETTER, 0.99), (LETTER, 0.99)))
    assert canvas.passes.tolist()[:3] == [0, -1, -1]  # a block of one position, decided at once
    assert (canvas.block.start, canvas.block.end) == (1, 5)
    canvas = canvas_of(adaptive)
    canvas.apply(predicted((NEWLINE, 0.5), (LETTER, 0.9), (NEWLINE, 0.99), (LETTER, 0.99)))
    assert canvas.block.end == 4  # not sure enough, or beyond the window
    assert canvas.passes.tolist()[:4] == [-1, -1, 0, 0]


def test_an_adaptive_window_beyond_the_block() -> None:
    canvas = canvas_of(Denoising(1, 8, 8, delimiter_threshold=0.6))
    assert canvas.wanted.tolist() == [0, 1]
    canvas.apply(predicted((LETTER, 0.5), (NEWLINE, 0.9)))
    assert (canvas.block.start, canvas.block.end) == (0, 2)
    assert canvas.passes.tolist()[:2] == [-1, 0]


def test_a_pass_that_would_commit_nothing_is_not_run() -> None:
    canvas = canvas_of(Denoising(4, 4, 8))
    for _ in range(4):
        canvas.apply(predicted(*[(LETTER, 0.5)] * len(canvas.wanted)))
    assert canvas.is_filled
    dream = Canvas(Denoising(4, 4, 4), "proportional", frozenset(), frozenset())
    assert dream.step == 1  # int(4 * .24975) = 0


def test_origin_flips_a_coin_for_each_position() -> None:
    """Of two steps the first decides a position by a coin of 1 - .5005, the last all others."""
    numbers = np.array([0.6, 0.2, 0.505, 0.4])
    canvas = canvas_of(Denoising(4, 4, 2, remasking="origin"))
    letters = predicted(*[(LETTER, 0.5)] * 4)
    assert canvas.apply(replace(letters, confidence=numbers)) == 2
    assert canvas.apply(replace(letters.rows(0, 2), confidence=numbers[[1, 3]])) == 2
    assert canvas.passes.tolist() == [0, 1, 0, 1]
    assert coin(0, 2) == pytest.approx(0.4995)
    unlucky = canvas_of(Denoising(4, 4, 2, remasking="origin"))
    assert unlucky.apply(replace(letters, confidence=numbers / 2)) == 0
    assert unlucky.apply(replace(letters, confidence=numbers)) == 4


@pytest.mark.parametrize(("temperature", "length"), [(0.0, 4), (0.5, 2)])
def test_an_adaptive_block_looks_at_tokens_as_they_are_drawn(temperature: float, length: int) -> None:
    params = Denoising(4, 8, 8, temperature=temperature, delimiter_threshold=0.3)
    canvas = Canvas(params, "even", frozenset({EOS}), frozenset({NEWLINE}))
    likely = predicted(*[(LETTER, 0.6)] * len(canvas.wanted))
    drawn = np.full(len(canvas.wanted), LETTER)
    drawn[1] = NEWLINE
    canvas.apply(replace(likely, tokens=drawn, logprobs=np.log(np.full(len(drawn), 0.4))))
    assert canvas.block.end == length


def test_a_threshold_takes_as_many_passes_as_it_needs() -> None:
    canvas = canvas_of(Denoising(4, 4, 1, threshold=0.9))
    assert canvas.apply(predicted((LETTER, 0.5), (LETTER, 0.95), (LETTER, 0.92), (LETTER, 0.6))) == 2
    assert canvas.apply(predicted((LETTER, 0.5), (LETTER, 0.6))) == 1
    assert canvas.apply(predicted((LETTER, 0.5))) == 1
    assert canvas.is_filled
    assert canvas.passes.tolist() == [2, 0, 0, 1]
