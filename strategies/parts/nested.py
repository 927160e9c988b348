"""What strategies declare that another strategy runs: its own declarations follow from theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.search.strategy import Strategy, Whole, in_chat, knows_answers, most_answers, prompts


@dataclass(frozen=True)
class Nested:
    """The strategies that a strategy may run, as one: all of them must be served."""

    strategies: Sequence[Strategy]

    def readouts(self, own: Sequence[str]) -> tuple[str, ...]:
        """Return those of ``own`` that every strategy can use."""
        needed = [strategy.readouts for strategy in self.strategies if strategy.readouts]
        return tuple(name for name in own if all(name in each for each in needed))

    @property
    def needs_rewards(self) -> bool:
        """Whether any of them needs a verifier."""
        return any(strategy.readouts for strategy in self.strategies)

    @property
    def whole_answers(self) -> bool:
        """Whether all of them request whole answers alone."""
        return all(isinstance(each, Whole) and each.whole_answers for each in self.strategies)

    @property
    def prompts(self) -> bool:
        """Whether any of them asks anything else than the task's question."""
        return any(map(prompts, self.strategies))

    @property
    def in_chat(self) -> bool:
        """Whether any of them shows earlier turns of a chat."""
        return any(map(in_chat, self.strategies))

    @property
    def knows_answers(self) -> bool:
        """Whether any of them uses the reference answers."""
        return any(map(knows_answers, self.strategies))

    @property
    def num_answers(self) -> int | None:
        """How many answers the one that draws most does; None where nothing bounds those of one."""
        each = [most_answers(strategy) for strategy in self.strategies]
        bounds = [most for most in each if most is not None]
        return max(bounds) if len(bounds) == len(each) else None
