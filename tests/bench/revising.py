"""How the chain models read an earlier attempt, in the characters that they know, and what revising does.

The attempt precedes the question, so that the question and its solution are as far apart as they are without
an attempt. A line ``##``, which no solution has, ends the attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from orchestrator.storage.revised import share_of

DOUBTED_BELOW = 0.5
"""The verifier doubts the first line whose reward, 0 to 1, is lower."""

END = "##\n"
MARK = "#"


def first_doubted(rewards: Sequence[float]) -> int | None:
    """Return the index of the first line that is doubted, or None."""
    return next((i for i, reward in enumerate(rewards) if reward < DOUBTED_BELOW), None)


def cut(lines: Sequence[str], doubted: int | None) -> str:
    """Return the lines before the doubted one; all of them where none is doubted."""
    return "".join(lines[:doubted])


def marked(lines: Sequence[str], doubted: int | None) -> str:
    """Return all lines, the doubted one with a mark at its end."""
    return "".join(line.rstrip("\n") + MARK + "\n" if i == doubted else line for i, line in enumerate(lines))


ATTEMPTS: Mapping[str, Callable[[Sequence[str], int | None], str]] = {"cut": cut, "marked": marked}
"""What a prompt shows of an attempt, by the name of the variant that is trained on it."""

CONTINUED = "continued"
"""The control without training: the policy continues after the lines before the doubted one."""


def revision(variant: str, question: str, lines: Sequence[str], doubted: int | None) -> str:
    """Return what stands in the place of the question; a newline follows, then the reply."""
    if variant == CONTINUED:
        return f"{question}\n{cut(lines, doubted)}".rstrip("\n")
    return f"{ATTEMPTS[variant](lines, doubted)}{END}{question}"


def of_others(questions: Sequence[str], are_wrong: Sequence[bool]) -> list[int]:
    """Return for each attempt the index of a wrong one at another problem: the control of what is read."""
    wrong = [i for i, is_wrong in enumerate(are_wrong) if is_wrong]
    return [
        next(j for j in [*wrong[i % len(wrong) :], *wrong] if questions[j] != question)
        for i, question in enumerate(questions)
    ]


def rates(before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
    """Return the figures of attempts and their revisions, both ``[problems, attempts]``, right or not.

    Intervals are bootstrapped over problems.
    """
    others = before.shape[1] - 1
    fresh = before.sum(axis=1, keepdims=True) - before
    wrong, mended, broken = ~before, ~before & after, before & ~after
    of_fresh, of_f = (fresh * wrong).sum(axis=1), others * mended.sum(axis=1)
    num_wrong = others * wrong.sum(axis=1)
    ahead = share_of((of_f - of_fresh).tolist(), num_wrong.tolist())
    return {
        "fresh": float(before.mean()),
        "f": float(mended.sum() / wrong.sum()),
        "fresh_on_missed": float(of_fresh.sum() / num_wrong.sum()),
        "ratio": float(of_f.sum() / max(1, of_fresh.sum())),
        "ahead": None if ahead is None else (ahead.value, ahead.low, ahead.high),
        "b": float(broken.sum() / max(1, before.sum())),
        "missed": int(wrong.any(axis=1).sum()),
        "wrong_attempts": int(wrong.sum()),
    }
