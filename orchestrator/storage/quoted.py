"""The figures that papers quote of independent samples, from the candidates of result lines.

``pass@k`` is the unbiased estimate of Chen et al. 2021 (arXiv 2107.03374, eq. 1), ``pass@1[avg-of-N]`` the
mean share of right samples, as in NeMo-Skills. ``majority@N``, ``weighted@N`` and ``naive@N`` are the
accuracies of three rules, as in search-and-learn: the answer of most samples, the one with the greatest sum
of rewards, and that of the sample with the greatest reward. Rewards are those of a sample's last scored step.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.intervals import pass_at_k
from orchestrator.storage.result_lines import in_recorded_order

GROUP = "group"
"""The key of a candidate: the first candidate, in the search's order, with an equivalent answer."""

_Candidates = Sequence[Mapping[str, Any]]


class Quoted:
    """Counts over the result lines of a run; a run whose candidates have no groups is not quoted."""

    def __init__(self) -> None:
        self._num_problems = 0
        self._counts = Counter[tuple[int, int]]()  # problems by their samples, and right ones among them
        self._right = Counter[str]()
        self._is_known = self._has_rewards = True

    def add(self, line: Mapping[str, Any]) -> None:
        """Count a line; a problem that ended in an error counts as one without samples."""
        self._num_problems += 1
        samples = in_recorded_order(line) if line["candidates"] else []
        if not samples:
            return
        self._is_known = self._is_known and all(GROUP in c for c in samples)
        if not self._is_known:
            return
        self._counts[len(samples), sum(bool(c["correct"]) for c in samples)] += 1
        self._has_rewards = self._has_rewards and any(c["reward"] is not None for c in samples)
        for name, rule in RULES.items():
            chosen = rule(samples)
            self._right[name] += bool(chosen is not None and chosen["correct"])

    def summary(self) -> dict[str, dict[str, float]]:
        """Return the entry ``quoted`` of summary.json; nothing for a run that is not quoted."""
        if not self._is_known or not self._counts:
            return {}
        most = max(num for num, _ in self._counts)
        return {"quoted": {**self._passes(most), **self._votes(most)}}

    def _passes(self, most: int) -> dict[str, float]:
        average = self._mean(lambda num, right: right / num)
        passes = {f"pass@{k}": self._mean(_pass_at(k)) for k in powers_of_two(most)}
        return {**passes, f"pass@1[avg-of-{most}]": average}

    def _votes(self, most: int) -> dict[str, float]:
        names = RULES if self._has_rewards else ("majority",)
        return {f"{name}@{most}": self._right[name] / self._num_problems for name in names}

    def _mean(self, of: Callable[[int, int], float]) -> float:
        """Return the mean over all problems, of which those without samples count 0."""
        total = math.fsum(times * of(num, right) for (num, right), times in self._counts.items())
        return min(1.0, total / self._num_problems)


def _pass_at(k: int) -> Callable[[int, int], float]:
    """Return pass@k of n samples with c right ones; with fewer than k, all of them are drawn."""
    return lambda num, right: pass_at_k(num, right, min(k, num))


def powers_of_two(most: int) -> Iterator[int]:
    """Yield 1, 2, 4, ... up to ``most``, and ``most`` itself."""
    k = 1
    while k < most:
        yield k
        k *= 2
    yield most


def elect(samples: _Candidates, votes: Sequence[float]) -> Mapping[str, Any] | None:
    """Return the first sample of the answer with the most votes, None without one; the first wins a tie."""
    by_answer: dict[int, list[float]] = defaultdict(list)
    for sample, vote in zip(samples, votes, strict=True):
        if sample["answer"] is not None:
            by_answer[sample[GROUP]].append(vote)
    if not by_answer:
        return None
    elected = max(by_answer, key=lambda group: math.fsum(by_answer[group]))
    return next(s for s in samples if s["answer"] is not None and s[GROUP] == elected)


def _reward(sample: Mapping[str, Any]) -> float:
    return float(sample["reward"] or 0.0)


def majority(samples: _Candidates) -> Mapping[str, Any] | None:
    """Return a sample with the answer of most samples."""
    return elect(samples, [1.0] * len(samples))


def weighted(samples: _Candidates) -> Mapping[str, Any] | None:
    """Return a sample with the answer that has the greatest sum of rewards."""
    return elect(samples, [_reward(s) for s in samples])


def naive(samples: _Candidates) -> Mapping[str, Any] | None:
    """Return the sample with the greatest reward among those that finished, or, where none did, among all."""
    finished = [s for s in samples if s.get("finished", True)]
    return max(finished or samples, key=_reward, default=None)


RULES: Mapping[str, Callable[[_Candidates], Mapping[str, Any] | None]] = {
    "majority": majority,
    "weighted": weighted,
    "naive": naive,
}
