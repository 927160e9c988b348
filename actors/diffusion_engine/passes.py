"""One denoising pass of many paths: what is fed, and the predictions for the requested positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from actors.batching.kv import Ints
from actors.diffusion_engine.canvas import Canvas
from actors.diffusion_engine.forward import DiffusionRunner, Feed
from actors.diffusion_engine.loading import DiffusionModel
from actors.diffusion_engine.noise import position_keys
from actors.diffusion_engine.remasking import Prediction, guided, predict
from orchestrator.types import Denoising

Cache = Literal["none", "prefix", "dual"]
"""What a later pass of a block computes: everything, the block and what follows it, or only the block."""

# At most this many logits are processed at once, in float64.
_MAX_LOGITS = 2**25


@dataclass(eq=False, slots=True)
class Path:
    """A canvas after its prompt ``prefix`` ``[P]``; ``seed`` is that of its noise.

    ``slots`` hold its keys and values, and with guidance those of its copy without the prompt. Without a
    cache there are none.
    """

    prefix: Ints
    canvas: Canvas
    seed: int
    slots: tuple[int, ...]

    @property
    def length(self) -> int:
        return len(self.prefix) + self.params.gen_length

    @property
    def params(self) -> Denoising:
        return self.canvas.params

    @property
    def num_copies(self) -> int:
        """The rows of a forward that one pass takes."""
        return num_copies(self.params)


def _of_rows(values: Sequence[float], logits: Tensor) -> Tensor:
    """One number for each row of ``logits``, beside them."""
    return torch.tensor(values, dtype=torch.float64).to(logits.device)


def num_copies(params: Denoising) -> int:
    """Return 2 with classifier-free guidance, else 1."""
    return 2 if params.cfg_scale > 0 else 1


class Passes:
    """Runs passes of paths with any parameters and lengths."""

    def __init__(self, runner: DiffusionRunner, loaded: DiffusionModel, cache: Cache) -> None:
        self.cache = cache
        self._runner = runner
        self._mask_id = loaded.mask_id
        self._shift = loaded.layout.logit_shift
        self._tempered = loaded.layout.tempered
        self._at_once = max(64, _MAX_LOGITS // loaded.model.config.vocab_size)

    def span(self, path: Path) -> tuple[int, int]:
        """Return the columns ``first .. last`` of prompt and canvas that the next pass computes."""
        if self.cache == "none" or path.canvas.at_block_start:
            return 0, path.length
        begin, block = len(path.prefix), path.canvas.block
        first = max(0, begin + block.start - self._shift)
        return first, (begin + block.end if self.cache == "dual" else path.length)

    def run(self, paths: Sequence[Path]) -> list[Prediction]:
        """Return the predictions for each path's wanted positions, by one forward. Raises ForwardError."""
        states = self._runner.hidden([feed for path in paths for feed in self._feeds(path)])
        wanted = [path.canvas.wanted for path in paths]
        counts = [len(positions) for positions in wanted]
        firsts = np.cumsum([0, *(path.num_copies for path in paths)])[:-1]
        rows, of_path = np.repeat(firsts, counts), np.repeat(np.arange(len(paths)), counts)
        columns = np.concatenate([self._columns(path, w) for path, w in zip(paths, wanted, strict=True)])
        keys = self._keys(paths, wanted)
        parts = [
            self._part(states, rows[part], columns[part], [paths[i] for i in of_path[part]], keys[part])
            for part in (slice(i, i + self._at_once) for i in range(0, len(rows), self._at_once))
        ]
        joined, ends = Prediction.joined(parts), np.cumsum(counts).tolist()
        return [joined.rows(end - num, end) for end, num in zip(ends, counts, strict=True)]

    def one_step_nll(self, path: Path) -> float:
        """Return the mean of -log p of a filled canvas's tokens under one pass over the masked canvas.

        Every position counts, those after the end of the text included. Raises ForwardError.
        """
        canvas = path.canvas
        masked = Canvas(canvas.params, canvas.unmasking, canvas.eos_ids, canvas.delimiter_ids)
        blank = Path(path.prefix, masked, path.seed, ())
        states = self._runner.hidden(self._feeds(blank))
        where = np.arange(canvas.params.gen_length)
        columns, found = self._columns(blank, where), []
        for part in (slice(i, i + self._at_once) for i in range(0, len(where), self._at_once)):
            num = len(where[part])
            logits = self._logits(states, np.zeros(num, np.int64), columns[part], [path] * num)
            tokens = torch.from_numpy(canvas.tokens[where[part]]).to(logits.device)
            log_p = torch.log_softmax(logits.double(), dim=-1)
            found += log_p.gather(-1, tokens[:, None])[:, 0].tolist()
        return -math.fsum(found) / len(found)

    def _feeds(self, path: Path) -> list[Feed]:
        first, last = self.span(path)
        canvas = np.where(path.canvas.is_masked, self._mask_id, path.canvas.tokens)
        prompts = (path.prefix, np.full_like(path.prefix, self._mask_id))
        slots = path.slots or (None, None)
        return [
            Feed(np.concatenate([prompts[i], canvas])[first:last], first, path.length, slots[i])
            for i in range(path.num_copies)
        ]

    def _columns(self, path: Path, wanted: Ints) -> Ints:
        """The columns of the path's feed with the logits of canvas positions."""
        return len(path.prefix) + wanted - self._shift - self.span(path)[0]

    def _keys(self, paths: Sequence[Path], wanted: Sequence[Ints]) -> Tensor:
        """The noise key of every wanted position."""
        where = [(path.seed, path.canvas.block.index, path.canvas.step) for path in paths]
        repeated = np.repeat(np.array(where, np.int64), [len(w) for w in wanted], axis=0)
        numbers = np.column_stack([repeated, np.concatenate(wanted)])
        seed, block, step, position = torch.from_numpy(numbers).to(self._runner.device).unbind(1)
        return position_keys(seed, block, step, position)

    def _part(
        self, states: Tensor, rows: Ints, columns: Ints, paths: Sequence[Path], keys: Tensor
    ) -> Prediction:
        """Predictions of some positions, each given by its row and column of ``states`` and its path."""
        logits = self._logits(states, rows, columns, paths)
        names = [path.params.remasking for path in paths]
        return predict(
            logits,
            _of_rows([path.params.temperature for path in paths], logits),
            keys,
            names,
            top_p=_of_rows([path.params.top_p or 1.0 for path in paths], logits),
            tempered=self._tempered,
        )

    def _logits(self, states: Tensor, rows: Ints, columns: Ints, paths: Sequence[Path]) -> Tensor:
        """Guided logits of some positions, without those of the mask."""
        logits = self._runner.logits(states[rows, columns])
        scale = np.array([path.params.cfg_scale for path in paths])
        led = np.flatnonzero(scale > 0)
        if len(led):
            unguided = self._runner.logits(states[rows[led] + 1, columns[led]])
            index = torch.from_numpy(led).to(logits.device)
            scales = torch.from_numpy(scale[led]).to(logits.device)
            logits = logits.index_copy(0, index, guided(logits[index], unguided, scales))
        logits[:, self._mask_id] = -torch.inf  # the mask is not a possible token
        return logits
