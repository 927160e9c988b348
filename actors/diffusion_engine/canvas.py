"""A path in progress: a canvas of masks that passes fill in, block by block."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from actors.batching.kv import Ints
from actors.batching.sampling import Floats
from actors.diffusion_engine.layouts import Unmasking
from actors.diffusion_engine.remasking import Prediction, committed
from actors.diffusion_engine.schedule import Block, adaptive_end, coin, fixed_end, make_block, search_end
from orchestrator.types import Denoising


@dataclass(eq=False, slots=True)
class Canvas:
    """What a path has decided so far; all arrays are ``[gen_length]``.

    ``is_masked`` marks undecided positions; ``logprobs`` are those of each token at the pass that committed
    it, and ``passes`` is the number of that pass, from 0. ``step`` counts within the ``block``;
    ``at_block_start``: none of the block is decided yet.
    """

    params: Denoising
    unmasking: Unmasking
    eos_ids: frozenset[int]
    delimiter_ids: frozenset[int]
    block: Block = field(init=False)
    step: int = field(init=False)
    at_block_start: bool = field(init=False)
    num_passes: int = 0
    tokens: Ints = field(init=False)
    is_masked: npt.NDArray[np.bool_] = field(init=False)
    logprobs: Floats = field(init=False)
    passes: Ints = field(init=False)

    def __post_init__(self) -> None:
        length = self.params.gen_length
        self.tokens = np.zeros(length, np.int64)
        self.is_masked = np.ones(length, np.bool_)
        self.logprobs = np.zeros(length)
        self.passes = np.full(length, -1)
        self._begin(0, 0, fixed_end(0, self.params))

    def _begin(self, index: int, start: int, end: int) -> None:
        self.block = make_block(index, start, end, self.params, self.unmasking)
        self.step, self.at_block_start = 0, True
        self._skip_idle_steps()

    def _skip_idle_steps(self) -> None:
        """Skip steps that commit nothing: such a pass would change nothing."""
        if self.params.threshold is None and self.params.remasking != "origin":
            while not self.block.counts[self.step]:
                self.step += 1

    @property
    def is_adaptive(self) -> bool:
        return self.params.delimiter_threshold is not None

    @property
    def wanted(self) -> Ints:
        """The positions that the next pass must predict, ascending: the masked ones of the block.

        At the start of an adaptive block also those on which its end may depend.
        """
        end = self.block.end
        if self.is_adaptive and self.at_block_start:
            end = max(end, search_end(self.block.start, self.params))
        return self.block.start + np.flatnonzero(self.is_masked[self.block.start : end])

    @property
    def is_filled(self) -> bool:
        """Whether no further pass is needed."""
        ends = self.params.early_stop and self._text_is_decided
        return bool(ends or not self.is_masked[self.block.start :].any())

    @property
    def _text_is_decided(self) -> bool:
        """Whether the text is complete: what follows the first end of text cannot change earlier blocks."""
        length = self.text_length
        return length < len(self.tokens) + 1 and not self.is_masked[:length].any()

    @property
    def text_length(self) -> int:
        """The number of tokens up to and including the first end of text; gen_length + 1 without one."""
        ends = np.flatnonzero(np.isin(self.tokens, list(self.eos_ids)) & ~self.is_masked)
        return int(ends[0]) + 1 if len(ends) else len(self.tokens) + 1

    def apply(self, prediction: Prediction) -> int:
        """Commit what one pass predicted for ``wanted``. Return how many positions were decided."""
        positions = self.wanted
        if self.is_adaptive and self.at_block_start:
            positions = self._fit_block(positions, prediction)
        confidence = prediction.confidence[: len(positions)]
        chosen = committed(confidence, self._count(confidence), self.params.threshold)
        where = positions[chosen]
        self.tokens[where] = prediction.tokens[chosen]
        self.logprobs[where] = prediction.logprobs[chosen]
        self.is_masked[where] = False
        self.passes[where] = self.num_passes
        self.num_passes += 1
        self._advance()
        return len(chosen)

    def _count(self, confidence: Floats) -> int:
        """Return how many positions the pass decides; with a threshold it decides otherwise."""
        if self.params.threshold is not None:
            return 1
        if self.params.remasking == "origin":  # the confidence is a uniform number: heads where it is high
            return int((confidence >= 1 - coin(self.step, len(self.block.counts))).sum())
        return self.block.counts[self.step]

    def _fit_block(self, positions: Ints, prediction: Prediction) -> Ints:
        """End the block where AdaBlock does. Return only its positions.

        As in its code for LLaDA, a temperature above 0 looks at the drawn tokens, not at the most probable.
        """
        window = search_end(self.block.start, self.params) - self.block.start
        seen, probability = prediction.best, prediction.best_probability
        if self.params.temperature > 0:
            seen, probability = prediction.tokens, np.exp(prediction.logprobs)
        delimiters = np.isin(seen[:window], list(self.delimiter_ids))
        end = adaptive_end(self.block.start, delimiters, probability[:window], self.params)
        self._begin(self.block.index, self.block.start, end)
        return positions[positions < end]

    def _advance(self) -> None:
        """Go to the next step that commits something, or to the next block."""
        block = self.block
        if self.is_masked[block.start : block.end].any():
            self.step, self.at_block_start = self.step + 1, False
            self._skip_idle_steps()
        elif block.end < self.params.gen_length:
            self._begin(block.index + 1, block.end, fixed_end(block.end, self.params))
