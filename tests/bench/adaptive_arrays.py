"""What best_of_n and self_consistency answer and cost under a rule, read off the samples of a problem.

``python -m orchestrator.replay`` runs the strategies themselves on stored samples; for every rule at every
level, on several lists, that takes minutes. ``test_adaptive_arrays`` holds these functions to it, token by
token.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.config.build import build_task
from orchestrator.protocols import Task
from orchestrator.replay.whatif import Recorded
from orchestrator.storage.result_lines import in_recorded_order
from orchestrator.types import Reward
from strategies.parts.stopping import confidence_of
from strategies.parts.voting import lead, vote

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sample:
    """A stored sample: whether it has an end and is right, the key of its answer, and each step's numbers."""

    finished: bool
    right: bool
    key: str | None
    log_odds: tuple[float, ...]
    tokens: tuple[int, ...]

    @property
    def reward(self) -> float:
        """The log-odds of the last reward; -inf without any."""
        return self.log_odds[-1] if self.log_odds else -math.inf

    @property
    def num_tokens(self) -> int:
        return sum(self.tokens)


Problem = Sequence[Sample]


@dataclass(frozen=True)
class Answered:
    """A list of samples under a setting, by problem: right or wrong, and what it cost."""

    right: Floats
    samples: Floats
    tokens: Floats
    sequential: Floats
    calls: Floats


Outcome = tuple[bool, int, int, int, int]
"""Right, samples, tokens, sequential tokens, reward calls."""


def problems_of(run: Recorded) -> list[Problem]:
    """Return the samples of each problem of a run, in the order of their numbers."""
    task: Task = build_task(run.config["task"])
    return [_samples(in_recorded_order(line), task) for line in run.lines]


def _samples(candidates: Sequence[Mapping[str, Any]], task: Task) -> list[Sample]:
    keys = asyncio.run(task.keys([c["answer"] for c in candidates]))
    return [
        Sample(
            finished=bool(c["finished"]),
            right=bool(c["correct"]),
            key=key,
            log_odds=tuple(float(x) for x in c["step_log_odds"] if x is not None),
            tokens=tuple(c["step_tokens"]),
        )
        for c, key in zip(candidates, keys, strict=True)
    ]


def answered(problems: Sequence[Problem], outcome: Callable[[Problem], Outcome]) -> Answered:
    """Return every problem's outcome as columns."""
    columns = zip(*(outcome(each) for each in problems), strict=True)
    return Answered(*(np.asarray(column, dtype=float) for column in columns))


def best_of(samples: Problem) -> bool:
    """Return whether the sample of the greatest reward is right, among those with an end if there is one."""
    offered = [s for s in samples if s.finished] or samples
    return max(offered, key=lambda s: s.reward).right


def voted(samples: Problem) -> bool:
    """Return whether the answer of most samples is right; a tie goes to the earliest."""
    winner = vote([s.key for s in samples], [-math.inf] * len(samples))
    return (
        samples[winner].right
        if winner is not None
        else ([s for s in samples if s.finished] or samples)[0].right
    )


def at_once(samples: Problem, votes: bool = False) -> Outcome:
    """Return what all of these samples give, drawn in one call."""
    tokens = [s.num_tokens for s in samples]
    right = voted(samples) if votes else best_of(samples)
    return right, len(samples), sum(tokens), max(tokens), 0 if votes else len(samples)


def one_by_one(samples: Problem, stops: Callable[[Problem, int], bool], votes: bool = False) -> Outcome:
    """Return what the first samples give until ``stops`` says so of them and of the number that is left."""
    num = next((n for n in range(1, len(samples)) if stops(samples[:n], len(samples) - n)), len(samples))
    right, drawn, tokens, _, calls = at_once(samples[:num], votes)
    return right, drawn, tokens, tokens, calls


def threshold(at: float) -> Callable[[Problem, int], bool]:
    """Return the rule that stops at a reward."""
    level = Reward.from_value(at).log_odds
    return lambda drawn, _: drawn[-1].finished and drawn[-1].reward >= level


def beta(at: float) -> Callable[[Problem, int], bool]:
    """Return the rule that stops at a confidence in the leader of the vote."""
    return lambda drawn, _: confidence_of([s.key for s in drawn]) >= at


def decided(drawn: Problem, num_left: int) -> bool:
    """Return whether no vote still to come can change the answer."""
    return lead([s.key for s in drawn]) > num_left


def pruned(samples: Problem, step: int, num_kept: int) -> Outcome:
    """Return what is left of samples of which the best are continued after a step."""
    so_far = [s.log_odds[:step][-1] if s.log_odds else -math.inf for s in samples]
    kept = set(sorted(range(len(samples)), key=lambda i: (-so_far[i], i))[:num_kept])
    longer = [len(s.tokens) > step for s in samples]
    tokens = [sum(s.tokens if i in kept else s.tokens[:step]) for i, s in enumerate(samples)]
    waits = [max((s.tokens[j] for s in samples if len(s.tokens) > j), default=0) for j in range(step)]
    rest = [sum(samples[i].tokens[step:]) for i in kept]
    calls = len(samples) + sum(longer[i] for i in kept)
    cut = [i not in kept and longer[i] for i in range(len(samples))]
    texts = [replace(s, finished=False, right=False, log_odds=s.log_odds[:step]) if is_cut else s
             for s, is_cut in zip(samples, cut, strict=True)]  # fmt: skip
    return best_of(texts), len(samples), sum(tokens), sum(waits) + max(rest, default=0), calls
