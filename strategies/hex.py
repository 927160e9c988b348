"""Let paths of different block schedules vote on the answer of a masked-diffusion model (HEX).

"Test-Time Scaling in Diffusion LLMs via Hidden Semi-Autoregressive Experts",
https://arxiv.org/abs/2510.05040. A masked-diffusion model that fills its canvas in blocks of B positions is
a different expert for each B: which B finds the answer differs from problem to problem, and no single one is
best. So the same question is denoised with several block lengths and several seeds each, and the most
frequent answer wins:

    answer = argmax_a  sum over the paths (B, seed) whose answer is equivalent to a of their votes

A path votes with ``weight``, of which the paper has the first:

    count:       1
    likelihood:  exp(-NLL / length), NLL = - sum of log p of each token at the pass that committed it
    reward:      the verifier's reward in [0, 1], aggregated over the steps

The weighted sums are those of weighted self-consistency (arXiv 2203.11171, 2206.02336); weighting diffusion
paths by them is ours. A masked-diffusion model has no exact likelihood: this NLL is that of the order in
which the path was decided, so it compares schedules only roughly.

Answers that cannot be read have no vote. A tie goes to the answer that the smallest block gave. The paper's
settings: five block lengths from 1/32 to 1/2 of the canvas, five seeds each at temperature 0.9, two tokens
a pass, low-confidence remasking. The released script breaks ties by ``one_step_nll``: the path whose tokens
have the least mean of -log p under the logits of the first pass, where the whole canvas is masked. The mean
is over all positions of the canvas, so these paths are filled to their end whatever ``denoising.early_stop``
is. It costs one pass more for each path, and those that an early stop would save. Ours: fewer paths than
schedules take the smallest blocks, the adaptive stop, and the tie-break ``likelihood``, by the NLL of the
order in which a path was decided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal

from orchestrator.schema import Count, CountOrZero, checked
from orchestrator.search.session import Session
from orchestrator.types import Denoising, EstimatedDenoising, Solution, Trajectory
from strategies.parts import checks
from strategies.parts.majority_vote import MajorityVote, Measure, TieBreak, VoteWeight
from strategies.parts.stopping import DECIDED, Stop
from strategies.parts.temperatures import Temperatures, sampling_of
from strategies.parts.weights import Aggregation, readouts_for

HexTieBreakName = Literal["smallest_block", "likelihood", "one_step_nll"]
HEX_TIE_BREAKS: tuple[HexTieBreakName, ...] = ("smallest_block", "likelihood", "one_step_nll")

_PARTS = (32, 16, 8, 4, 2)


def schedules(denoising: Denoising, block_lengths: Sequence[int] | None) -> tuple[Denoising, ...]:
    """Return one schedule per block length, smallest first; None: the paper's fractions of the canvas."""
    lengths = block_lengths or [max(1, denoising.gen_length // part) for part in _PARTS]
    return tuple(replace(denoising, block_length=length) for length in sorted(set(lengths)))


def spread(num_paths: int, denoising: Denoising, block_lengths: Sequence[int] | None) -> list[Denoising]:
    """Return ``num_paths`` paths, round-robin over the schedules: their counts differ by at most one."""
    turns = schedules(denoising, block_lengths)
    return [turns[i % len(turns)] for i in range(num_paths)]


def smallest_first(paths: Sequence[Denoising]) -> list[float]:
    """Return a preference for each path: the smaller its block, the greater."""
    return [-float(path.block_length or path.gen_length) for path in paths]


def with_estimate(path: Denoising) -> Denoising:
    """Return the path with an estimate of its canvas's NLL, which needs every position: no early stop."""
    own = {field.name: getattr(path, field.name) for field in fields(Denoising)}
    return EstimatedDenoising(**{**own, "early_stop": False})


def least_one_step_nll(trajectory: Trajectory) -> float:
    """Return the preference in a tie: the less its one-step NLL, the greater."""
    nll = trajectory.one_step_nll
    return -math.inf if nll is None else -nll


@dataclass(frozen=True)
@checked("strategy")
class Hex:
    """A vote over ``num_paths`` paths, spread evenly over ``block_lengths``.

    Ties: the answer that the smallest block gave (``smallest_block``), the path of lowest NLL
    (``likelihood``) or of lowest one-step NLL (``one_step_nll``: no path stops early), then the earliest.
    Budget N: ``num_paths`` = N canvases; with ``weight="reward"``
    one reward call per path, else none. With a ``wave_size`` above 0 (the number of schedules is a good one)
    paths are denoised in waves of that many, until the rule in ``stop`` holds: by default, until the vote is
    decided. ``Solution.log_weights``: the log of each path's vote, 0 where votes are counted.
    """

    budget_knob: ClassVar[str] = "num_paths"
    independent_samples: ClassVar[bool] = True
    whole_answers: ClassVar[bool] = True

    num_paths: Count = 8
    denoising: Denoising = Denoising()
    block_lengths: Sequence[int] | None = None
    weight: VoteWeight = "count"
    aggregation: Aggregation = "last"
    tie_break: HexTieBreakName | Measure = "smallest_block"
    wave_size: CountOrZero = 0
    stop: Stop = DECIDED
    temperatures: Temperatures = "constant"

    def __post_init__(self) -> None:
        checks.threshold_fits(self.denoising)
        name, own = "denoising.block_length", self.denoising.block_length
        checks.require(own is None, name, own, "must be null: strategy.block_lengths names the schedules")
        if self.block_lengths is not None:
            self._check_lengths(self.block_lengths)
            object.__setattr__(self, "block_lengths", tuple(self.block_lengths))
        self._vote()

    def _check_lengths(self, block_lengths: Sequence[int]) -> None:
        longest = self.denoising.gen_length
        fits = len(block_lengths) > 0 and all(1 <= b <= longest for b in block_lengths)
        allowed = f"must be null, or block lengths of 1..{longest} (gen_length)"
        checks.require(fits, "block_lengths", list(block_lengths), allowed)

    def _vote(self, most: int = 0) -> MajorityVote[Denoising]:
        num = max(self.num_paths, most)
        spread_evenly = enumerate(spread(num, self.denoising, self.block_lengths))
        paths = [sampling_of(path, i, self.temperatures) for i, path in spread_evenly]
        if self.tie_break == "one_step_nll":
            paths = [with_estimate(path) for path in paths]
        return MajorityVote(
            paths,
            self.weight,
            self.aggregation,
            self._tie_break(),
            self.wave_size,
            smallest_first(paths),
            self.stop,
        )

    def _tie_break(self) -> TieBreak:
        if self.tie_break == "smallest_block":
            return "earliest"  # the paths' preferences decide
        return least_one_step_nll if self.tie_break == "one_step_nll" else self.tie_break

    @property
    def readouts(self) -> tuple[str, ...]:
        return readouts_for(self.aggregation) if self._vote().scores else ()

    async def solve(self, session: Session) -> Solution:
        return await self._vote(session.most).solve(session)
