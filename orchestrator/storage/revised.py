"""Accuracy by iteration, and how often a revision mends a wrong attempt and breaks a right one.

    f = P(right | the attempt that it follows is wrong),   b = P(wrong | the attempt that it follows is right)

"Scaling LLM Test-Time Compute Optimally" (arXiv 2408.03314) reports b = .38 for its reviser. The attempt that
a revision follows is the last that its prompt shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from orchestrator.storage.result_lines import in_recorded_order

REVISED = "revised"
"""The entry of summary.json."""

_NUM_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its 95 % interval, bootstrapped over problems, and the number that it is of."""

    value: float
    low: float
    high: float
    num_attempts: int


@dataclass(frozen=True, slots=True)
class Revised:
    """``accuracies`` of the attempts of iteration 1, 2, ...; ``mends`` is f, ``breaks`` is b."""

    accuracies: tuple[Share, ...]
    mends: Share | None
    breaks: Share | None


def revised(lines: Iterable[Mapping[str, Any]]) -> Revised | None:
    """Return what revising has done in these result lines; None where no attempt follows another."""
    revising = Revising()
    for line in lines:
        revising.add(line)
    return revising.found


class Revising:
    """Counts over result lines whose history holds the attempts of a chain; other lines count nothing."""

    def __init__(self) -> None:
        self._problems: list[_Counts] = []

    def add(self, line: Mapping[str, Any]) -> None:
        if attempts := _attempts(line):
            self._problems.append(_Counts(attempts))

    @property
    def found(self) -> Revised | None:
        """What revising has done; None where no attempt follows another."""
        last = max((max(own.all) for own in self._problems), default=0)
        if last < 2:
            return None
        by_iteration = (
            _share([(own.right[i], own.all[i]) for own in self._problems]) for i in range(1, last + 1)
        )
        return Revised(
            accuracies=tuple(share for share in by_iteration if share is not None),
            mends=_share([(own.mended, own.after_wrong) for own in self._problems]),
            breaks=_share([(own.broken, own.after_right) for own in self._problems]),
        )

    def summary(self) -> dict[str, Any]:
        """Return the entry ``revised`` of summary.json; nothing where no attempt follows another."""
        found = self.found
        return {} if found is None else {REVISED: asdict(found)}


_Attempt = tuple[int, bool, bool | None]


class _Counts:
    """The attempts of a problem: all and right ones by iteration, and what follows wrong and right ones."""

    def __init__(self, attempts: Sequence[_Attempt]) -> None:
        self.all = Counter(iteration for iteration, _, _ in attempts)
        self.right = Counter(iteration for iteration, right, _ in attempts if right)
        after_wrong = [right for _, right, before in attempts if before is False]
        after_right = [right for _, right, before in attempts if before is True]
        self.mended, self.after_wrong = sum(after_wrong), len(after_wrong)
        self.broken, self.after_right = len(after_right) - sum(after_right), len(after_right)


def _attempts(line: Mapping[str, Any]) -> list[_Attempt]:
    """Return the iteration of each attempt, whether it is right, and whether the one that it follows was.

    A chain begins with an attempt that has read nothing. A pipeline records its fusions alone: those are
    attempts of no chain.
    """
    entries = [entry for entry in line.get("history", ()) if "candidate" in entry]
    if not any(entry["iteration"] == 1 for entry in entries):
        return []
    right = [bool(candidate["correct"]) for candidate in in_recorded_order(line)]
    return [
        (entry["iteration"], right[entry["candidate"]], right[entry["read"][-1]] if entry["read"] else None)
        for entry in entries
    ]


def _share(counts: Sequence[tuple[int, int]]) -> Share | None:
    """Return the share that ``(part, whole)`` of each problem add up to."""
    return share_of([part for part, _ in counts], [whole for _, whole in counts])


def share_of(parts: Sequence[int], wholes: Sequence[int]) -> Share | None:
    """Return what parts are of wholes, both ``[problems]``; the problem is the unit of its interval.

    None where the wholes are nothing.
    """
    true, total = np.array(parts), np.array(wholes)
    if not total.sum():
        return None
    rows = np.random.default_rng(0).integers(len(total), size=(_NUM_RESAMPLES, len(total)))
    shares = true[rows].sum(axis=1) / np.maximum(total[rows].sum(axis=1), 1)
    low, high = np.quantile(shares[total[rows].sum(axis=1) > 0], [0.025, 0.975])
    return Share(float(true.sum() / total.sum()), float(low), float(high), int(total.sum()))
