"""A chain of attempts at one problem, and what a prompt shows of it.

The ways to carry attempts into the next prompt, by their sources:

    last            the latest attempt (self-refine)
    last_four       the latest four, oldest first (revisions, https://arxiv.org/abs/2408.03314)
    all             every attempt, oldest first
    best_and_worst  those of the greatest and the least reward (review, refine, repeat)
    conversation    every attempt, and what was said of it, as earlier turns of a chat (sequential hints)

What has no room is left out: the oldest attempts, and of the best and the worst the latter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from orchestrator.prompts.template import Filled, Template, without
from orchestrator.types import AttemptRecord, RoleRecord, Trajectory, Turn
from strategies.parts.voting import argmax
from strategies.parts.weights import Aggregation, log_odds_of

Carry = Literal["last", "last_four", "all", "best_and_worst", "conversation"]
CARRIES: tuple[Carry, ...] = get_args(Carry)

_ALWAYS = ("question", "attempts", "answer", "number", "notes")
_SCORED = ("best", "best_score", "worst", "worst_score")


@dataclass
class Chain:
    """Attempts in the order of their iterations; those of one iteration are side by side.

    ``asked`` is for each attempt the text that requested it, empty where that was the task's question.
    """

    number: int
    attempts: list[Trajectory] = field(default_factory=list)
    iterations: list[int] = field(default_factory=list)
    read: list[tuple[int, ...]] = field(default_factory=list)
    num_dropped: list[int] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    said: list[RoleRecord] = field(default_factory=list)

    def add(
        self,
        attempts: Sequence[Trajectory],
        iteration: int,
        read: Sequence[int] = (),
        num_dropped: int = 0,
        asked: str = "",
    ) -> None:
        """Add the attempts of an iteration, each made from the chain's attempts at ``read``.

        What a limit withheld is no attempt.
        """
        for attempt in attempts:
            if attempt.steps:
                self.attempts.append(attempt)
                self.iterations.append(iteration)
                self.read.append(tuple(read))
                self.num_dropped.append(num_dropped)
                self.asked.append(asked)

    def records(self, places: Sequence[int]) -> list[AttemptRecord]:
        """Return the record of each attempt, where the solution has them at ``places``."""
        return [
            AttemptRecord(place, self.number, iteration, tuple(places[i] for i in read), num_dropped)
            for place, iteration, read, num_dropped in zip(
                places, self.iterations, self.read, self.num_dropped, strict=True
            )
        ]


def carried(chain: Chain, how: Carry, aggregation: Aggregation) -> list[int]:
    """Return which attempts of a chain the next prompt shows, in its order. A chain has one at least."""
    numbers = range(len(chain.attempts))
    if how == "best_and_worst":
        scores = [log_odds_of(t, aggregation) for t in chain.attempts]
        return [argmax(scores), argmax([-score for score in scores])]
    return list({"last": numbers[-1:], "last_four": numbers[-4:]}.get(how, numbers))


def kept(how: Carry, shown: Sequence[int], num: int) -> list[int]:
    """Return the ``num`` attempts of those that are carried which a prompt shows first of all."""
    return list(shown[:num] if how == "best_and_worst" else shown[len(shown) - num :])


def turns(question: str, chain: Chain, shown: Sequence[int], special: Sequence[str]) -> tuple[Turn, ...]:
    """Return the attempts at ``shown`` as turns of a chat, the first one after the question."""
    told = [
        (question if number == shown[0] else chain.asked[number], chain.attempts[number].text)
        for number in shown
    ]
    return tuple(
        turn
        for asked, text in told
        for turn in (Turn("user", asked), Turn("assistant", without(text.strip(), special)[0]))
    )


def fields_of(how: Carry) -> tuple[str, ...]:
    """Return the fields that a template may hold with this way to carry attempts."""
    return (*_ALWAYS, *_SCORED) if how == "best_and_worst" else _ALWAYS


def show(
    template: Template, question: str, chain: Chain, shown: Sequence[int], notes: str, special: Sequence[str]
) -> Filled:
    """Return a prompt about the attempts at ``shown``, in that order; the last one is the answer."""
    texts = [chain.attempts[i].text.strip() for i in shown]
    numbered = "\n\n".join(f"[{number}] {text}" for number, text in enumerate(texts, start=1))
    first, last = chain.attempts[shown[0]], chain.attempts[shown[-1]]
    given = {
        "question": question,
        "number": str(len(chain.attempts)),
        "best_score": _score(first),
        "worst_score": _score(last) if len(shown) > 1 else "none",
    }
    written = {
        "attempts": numbered,
        "answer": texts[-1],
        "best": texts[0],
        "worst": texts[-1] if len(shown) > 1 else "",
        "notes": notes,
    }
    return template.fill(given, written, special)


def _score(attempt: Trajectory) -> str:
    return "none" if attempt.reward is None else f"{attempt.reward.value:.2f}"
