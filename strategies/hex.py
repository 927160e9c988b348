"""HEX: let paths of different block schedules vote on the answer of a masked-diffusion model.

"Test-Time Scaling in Diffusion LLMs via Hidden Semi-Autoregressive Experts", arXiv 2510.05040. A
masked-diffusion model that fills its canvas in blocks of B positions is another expert for each B: which B
finds the answer differs from problem to problem, and no single one is best. So the same question is denoised
with several block lengths and several seeds each, and the most frequent answer wins:

    answer = argmax_a  #{(B, seed) : the path's answer is equivalent to a}

Answers that cannot be read have no vote. A tie goes to the answer that the smallest block gave. The paper's
own: five block lengths from 1/32 to 1/2 of the canvas, five seeds each at temperature 0.9, two tokens a pass,
low-confidence remasking. Ours: fewer paths than schedules take the smallest blocks; the adaptive stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from orchestrator.session import Session
from orchestrator.types import Denoising, Solution
from strategies.parts import checks
from strategies.parts.majority_vote import MajorityVote

HexTieBreak = Literal["smallest_block", "likelihood"]
HEX_TIE_BREAKS: tuple[HexTieBreak, ...] = ("smallest_block", "likelihood")

_PARTS = (32, 16, 8, 4, 2)


def schedules(denoising: Denoising, block_lengths: Sequence[int] | None) -> tuple[Denoising, ...]:
    """One schedule for each block length, smallest first; None: the paper's five parts of the canvas."""
    lengths = block_lengths or [max(1, denoising.gen_length // part) for part in _PARTS]
    return tuple(replace(denoising, block_length=length) for length in sorted(set(lengths)))


def spread(num_paths: int, denoising: Denoising, block_lengths: Sequence[int] | None) -> list[Denoising]:
    """``num_paths`` paths, schedule after schedule and again: their numbers differ by one at most."""
    turns = schedules(denoising, block_lengths)
    return [turns[i % len(turns)] for i in range(num_paths)]


def smallest_first(paths: Sequence[Denoising]) -> list[float]:
    """A preference for each path: the smaller its block, the greater."""
    return [-float(path.block_length or path.gen_length) for path in paths]


def check_hex(
    num_paths: int, denoising: Denoising, block_lengths: Sequence[int] | None, tie_break: str
) -> None:
    """Raise ConfigError for a knob that makes no vote over schedules."""
    checks.at_least(1, num_paths=num_paths)
    checks.denoising(denoising)
    checks.one_of(HEX_TIE_BREAKS, tie_break=tie_break)
    name, own = "denoising.block_length", denoising.block_length
    checks.require(own is None, name, own, "must be null: strategy.block_lengths names the schedules")
    if block_lengths is not None:
        fits = len(block_lengths) > 0 and all(1 <= b <= denoising.gen_length for b in block_lengths)
        allowed = f"must be null, or block lengths of 1..{denoising.gen_length} (gen_length)"
        checks.require(fits, "block_lengths", list(block_lengths), allowed)


@dataclass(frozen=True)
class Hex:
    """A plain vote over ``num_paths`` paths, spread evenly over ``block_lengths``.

    Ties: the answer that the smallest block gave (``smallest_block``) or the path of lowest NLL
    (``likelihood``), then the earliest path. Budget N: ``num_paths`` = N canvases; no reward call.
    With a ``wave_size`` above 0 (the number of schedules is a good one) paths are denoised in waves of that
    many, until the vote is decided. ``Solution.log_weights``: 0, one vote each.
    """

    num_paths: int
    denoising: Denoising
    block_lengths: Sequence[int] | None = None
    tie_break: HexTieBreak = "smallest_block"
    wave_size: int = 0

    def __post_init__(self) -> None:
        check_hex(self.num_paths, self.denoising, self.block_lengths, self.tie_break)
        if self.block_lengths is not None:
            object.__setattr__(self, "block_lengths", tuple(self.block_lengths))
        self._vote()

    def _vote(self) -> MajorityVote[Denoising]:
        paths = spread(self.num_paths, self.denoising, self.block_lengths)
        return MajorityVote(
            paths,
            tie_break="likelihood" if self.tie_break == "likelihood" else "earliest",
            wave_size=self.wave_size,
            preferences=smallest_first(paths),
        )

    @property
    def readouts(self) -> tuple[str, ...]:
        return ()

    async def solve(self, session: Session) -> Solution:
        return await self._vote().solve(session)
