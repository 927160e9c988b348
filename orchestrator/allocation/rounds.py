"""``allocator=rounds``: the budget of a block of problems goes where its bids say, round by round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Gt, Le

from orchestrator.allocation.allocator import TopShare
from orchestrator.allocation.bids import Bid, improvement, need
from orchestrator.errors import ConfigError
from orchestrator.schema import Count, Positive, Rule, checked

Gain = Literal["need", "improvement", "vote"]

Floors = tuple[tuple[int, float], ...]
"""After how many samples which reward is the least to go on with, by rising numbers of samples."""


def floors_of(give_up: Any) -> Floors | None:
    """Return the floors of ``{samples: reward, ...}``; None where it is something else.

    Samples are whole numbers of 1 or more, or their decimals, as in JSON; rewards are in [0, 1].
    """
    pairs = list(give_up.items()) if isinstance(give_up, Mapping) else give_up
    try:
        floors = sorted((int(num), float(level)) for num, level in pairs)
    except (TypeError, ValueError):
        return None
    are_sound = all(num >= 1 and 0 <= level <= 1 for num, level in floors)
    return tuple(floors) if floors and are_sound and len({*dict(floors)}) == len(floors) else None


GiveUp = Annotated[
    Mapping[Any, Any] | Sequence[Any] | None,
    Rule(
        lambda give_up: give_up is None or floors_of(give_up) is not None,
        "must be null, or {samples: least reward}, such as {4: 0.05}, or a file of "
        "python -m orchestrator.allocation floors",
    ),
]


@dataclass(frozen=True)
@checked("allocator")
class Uniform:
    """Every problem gets the budget: the strategy as it is."""


UNIFORM = Uniform()


@dataclass(frozen=True)
@checked("allocator")
class Rounds:
    """``first`` samples for each problem, then a ``parcel`` for the top ``share`` of the bids of each round.

    The budget is the mean number of samples a problem, in blocks of ``block`` problems by index. ``gain`` is
    what a bid states: ``need`` is what the greatest reward leaves to 1, ``improvement`` the expected rise of
    the greatest reward, with a weight of ``prior_weight`` samples for the block's first ones, ``vote`` the
    doubt in the leader of a vote. A problem has at most ``most`` samples (null: twice the budget): those that
    the policy never solves would take the rest. ``give_up`` is the least reward to go on with after so many
    samples.
    """

    first: Count = 2
    parcel: Count = 1
    share: Annotated[float, Gt(0), Le(1)] = 0.1
    block: Count = 256
    gain: Gain = "need"
    prior_weight: Positive = 4.0
    most: Count | None = None
    give_up: GiveUp = None

    def __post_init__(self) -> None:
        floors = None if self.give_up is None else floors_of(self.give_up)
        object.__setattr__(self, "give_up", floors)
        if self.most is not None and self.most < self.first:
            raise ConfigError("allocator.most", self.most, f"must be at least allocator.first={self.first}")
        if floors is not None and self.gain == "vote":
            raise ConfigError("allocator.give_up", dict(floors), "needs rewards, and a vote has none")

    @property
    def pools(self) -> bool:
        """Whether a bid depends on the first samples of the whole block."""
        return self.gain == "improvement"

    def grant(self, bids: Sequence[Bid], left: float) -> Sequence[int]:
        return TopShare(self.share).grant(bids, left)

    def worth(self, rewards: Sequence[float], prior: Sequence[float]) -> float:
        """Return the gain of one more parcel to a problem with these rewards: its need, or improvement."""
        return improvement(rewards, prior, self.prior_weight) if self.pools else need(rewards)

    def floor(self, num_samples: int) -> float:
        """Return the least reward to go on with after so many samples; 0 before the first floor."""
        floors = floors_of(self.give_up) if self.give_up is not None else ()
        return max(((num, level) for num, level in floors or () if num <= num_samples), default=(0, 0.0))[1]
