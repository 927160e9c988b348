"""accuracy(k, T): one of k samples drawn by softmax(log-odds / T), from the best (T = 0) to any (infinity).

A verifier that misjudges should be followed less: k*(T) and T*(k) show how many samples it can be given, and
how strictly. See "Demystifying LLM-as-a-Judge" (abstract: k* is finite for a misspecified judge).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.allocation.bounds import Interval, over_problems
from orchestrator.allocation.subsets import Bools, Floats, drawn_of

TEMPERATURES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, math.inf)


@dataclass(frozen=True, slots=True)
class Surface:
    """Accuracies ``[problems, K, T]`` for the sizes ``ks`` and the temperatures."""

    ks: tuple[int, ...]
    temperatures: tuple[float, ...]
    by_problem: Floats

    @property
    def means(self) -> Floats:
        """Accuracies ``[K, T]``."""
        return np.asarray(self.by_problem.mean(axis=0))

    @property
    def best_temperatures(self) -> tuple[float, ...]:
        """T*(k) for each k; a tie goes to the lower."""
        return tuple(self.temperatures[int(i)] for i in self.means.argmax(axis=1))

    @property
    def best_sizes(self) -> tuple[int, ...]:
        """k*(T) for each temperature: the k of the greatest mean, the smaller one of a tie."""
        return tuple(self.ks[int(i)] for i in self.means.argmax(axis=0))

    def fall(self, column: int) -> Interval:
        """Return by how much accuracy falls from k*(T) to the greatest k, for one temperature.

        Above 0, also with its interval, more samples harm: k* is finite. The interval is of problems alone:
        it does not include that k* was chosen on them.
        """
        best = self.ks.index(self.best_sizes[column])
        return over_problems(self.by_problem[:, best, column] - self.by_problem[:, -1, column])


def powers_of_two(most: int) -> tuple[int, ...]:
    """Return 1, 2, 4 ... up to ``most``, which is the last in any case."""
    return tuple(sorted({*(2**i for i in range(most.bit_length())), most}))


def surface(
    right: Sequence[Bools],
    log_odds: Sequence[Floats],
    num_samples: int,
    temperatures: Sequence[float] = TEMPERATURES,
) -> Surface:
    """Return the surface up to k = ``num_samples``; problems with fewer samples are left out."""
    ks, temperatures = powers_of_two(num_samples), tuple(temperatures)
    grid = [
        [[drawn_of(x, r, k, t) for t in temperatures] for k in ks]
        for x, r in zip(log_odds, right, strict=True)
        if len(r) >= num_samples
    ]
    return Surface(ks, temperatures, np.asarray(grid))
