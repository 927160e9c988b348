"""What is specific to a task in training and evaluating its two shipped models."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from actors.embedded.corpus import Example
from actors.embedded.trainer import Recipe

MAX_TOKENS = 128  # of a whole solution, as conf/task/chain.yaml has it


class Posed(Protocol):
    """A drawn problem: its question is the prompt of the policy and the verifier."""

    @property
    def question(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Family:
    """A task's policy and verifier, ``NAME-policy`` and ``NAME-verifier`` among the shipped weights.

    ``draw(split, start, num)`` gives problems. For the lines of a solution, ``are_right`` says of each line
    whether the state after it is right, ``is_right`` whether its answer is right, and ``answer`` gives the
    answer in a form that can be counted, or None. ``rollouts`` are (snapshot, temperature) pairs: the shipped
    policy and its neighbours, so that the verifier learns their mistakes; each solves
    ``num_rollout_problems``. ``shipped_snapshot`` is under-trained on purpose, so that a search can improve
    on it; it is chosen on development problems by its pass@1 and pass@64. ``base_snapshot``, where there is
    one, is a later one, shipped as ``NAME-base``: a stronger model for methods that have two.
    ``max_tokens`` are those of a whole solution. ``start`` names the shipped policy and verifier that these
    continue from; the letters of this alphabet that they lack begin as mirror images of those eight before.
    """

    name: str
    alphabet: str
    policy: Recipe
    verifier: Recipe
    policy_examples: Callable[[Recipe, int, float], list[Example]]
    verifier_examples: Callable[[Recipe, int, float, list[dict[str, str]]], list[Example]]
    draw: Callable[..., Iterable[Any]]
    are_right: Callable[[Any, Sequence[str]], list[bool]]
    is_right: Callable[[Any, Sequence[str]], bool]
    answer: Callable[[Sequence[str]], Hashable | None]
    shipped_snapshot: int
    rollouts: tuple[tuple[int, float], ...]
    num_rollout_problems: int
    base_snapshot: int | None = None
    max_tokens: int = MAX_TOKENS
    start: tuple[str, str] | None = None
    snapshot_every: int = 200_000
