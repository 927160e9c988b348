"""HEX with weighted votes: a path votes with its own likelihood, or with a verifier's reward for it.

The vote of ``strategies.hex`` (arXiv 2510.05040), in which an answer's votes are the sum over its paths of

    likelihood:  exp(-NLL / length), NLL = - sum of log p of each token at the pass that committed it
    reward:      the verifier's reward in [0, 1], aggregated over the steps

The sums are those of weighted self-consistency (arXiv 2203.11171, 2206.02336); weighing diffusion paths by
them is ours. A masked-diffusion model has no exact likelihood: this NLL is that of the order in which the
path was decided, so it compares schedules only roughly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.session import Session
from orchestrator.types import Denoising, Solution
from strategies.hex import HexTieBreak, check_hex, smallest_first, spread
from strategies.parts import checks
from strategies.parts.majority_vote import MajorityVote
from strategies.parts.weights import Aggregation, readouts_for

HexWeight = Literal["likelihood", "reward"]


@dataclass(frozen=True)
class HexWeighted:
    """A weighted vote over ``num_paths`` paths, spread evenly over ``block_lengths``.

    Ties as in ``Hex``. Budget N: ``num_paths`` = N canvases; with ``weight="reward"`` one reward call a
    path. ``Solution.log_weights``: the log of each path's vote.
    """

    num_paths: int
    denoising: Denoising
    block_lengths: Sequence[int] | None = None
    weight: HexWeight = "likelihood"
    aggregation: Aggregation = "last"
    tie_break: HexTieBreak = "smallest_block"
    wave_size: int = 0

    def __post_init__(self) -> None:
        check_hex(self.num_paths, self.denoising, self.block_lengths, self.tie_break)
        checks.one_of(("likelihood", "reward"), weight=self.weight)
        if self.block_lengths is not None:
            object.__setattr__(self, "block_lengths", tuple(self.block_lengths))
        self._vote()

    def _vote(self) -> MajorityVote[Denoising]:
        paths = spread(self.num_paths, self.denoising, self.block_lengths)
        return MajorityVote(
            paths,
            self.weight,
            self.aggregation,
            "likelihood" if self.tie_break == "likelihood" else "earliest",
            self.wave_size,
            smallest_first(paths),
        )

    @property
    def readouts(self) -> tuple[str, ...]:
        return readouts_for(self.aggregation) if self.weight == "reward" else ()

    async def solve(self, session: Session) -> Solution:
        return await self._vote().solve(session)
