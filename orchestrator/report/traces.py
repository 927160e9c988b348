"""How the texts of right and wrong candidates differ: lengths, markers, and four behaviours.

"Think Deep, Think Fast" (https://arxiv.org/abs/2504.14047) finds right answers of reasoning models shorter,
with fewer hedges; "Cognitive Behaviors that Enable Self-Improving Reasoners"
(https://arxiv.org/abs/2503.01307) names the behaviours. Words are counted from the lists of
``conf/traces.yaml``, per 1,000 tokens of a candidate.

Everything is within problems: hard problems have longer texts and fewer right ones, which would be seen as a
difference of the texts. Of each problem with right and wrong candidates

    difference = mean over its right ones - mean over its wrong ones
    AUC        = P(feature of a right one > feature of a wrong one) + P(equal) / 2

and the problem is the unit of both intervals. p is the sign test of AUC against 0.5, corrected by Holm.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.allocation.wording import Lists, features
from orchestrator.config.files import trace_words
from orchestrator.intervals import holm, mean_interval, sign_test
from orchestrator.report.settings import Setting
from orchestrator.storage.results import stream_results

FEWEST = 10
"""Problems with right and wrong candidates below which nothing is said: no sign test could tell."""

MOST = 2000
"""Problems of a run that are read: more of them would change little, and take long."""

Rows = npt.NDArray[np.float64]
"""``[candidates, features]`` of one problem."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One feature: means of right and wrong candidates, their difference and the AUC with 95 % intervals."""

    feature: str
    right: float
    wrong: float
    difference: tuple[float, float, float]
    auc: tuple[float, float, float]
    p_holm: float


@dataclass(frozen=True, slots=True)
class Traces:
    """The features of one point of the report, over ``num_problems`` with right and wrong candidates."""

    series: str
    label: str
    num_problems: int
    differences: tuple[Difference, ...]


def traces(setting: Setting) -> list[Traces]:
    """Return the features of each method's last point, where its candidates have enough to compare."""
    found = []
    for series in setting.series:
        point = series.points[-1]
        lines = (line for run in point.runs for line in islice(stream_results(run.folder), MOST))
        mixed = mixed_problems(lines)
        if len(mixed) >= FEWEST:
            rows = differences(feature_names(), mixed)
            found.append(Traces(series.name, point.label, len(mixed), rows))
    return found


def feature_names() -> tuple[str, ...]:
    """Return the names of the features, in the order of ``features_of``."""
    return ("tokens", "steps", *trace_words())


def features_of(text: str, num_tokens: int, num_steps: int) -> list[float]:
    """Return tokens, steps, and the counts of each list per 1,000 tokens."""
    return features(text, num_tokens, num_steps, word_lists())


@cache
def word_lists() -> Lists:
    """Return the shipped lists, in the order of ``feature_names``."""
    return tuple(map(tuple, trace_words().values()))


def mixed_problems(lines: Iterable[Mapping[str, Any]]) -> list[tuple[Rows, Rows]]:
    """Return the features of right and of wrong finished candidates, for each problem that has both."""
    by_problem: dict[str, tuple[list[list[float]], list[list[float]]]] = defaultdict(lambda: ([], []))
    for line in lines:
        for c in line["candidates"]:
            if c["finished"]:
                row = features_of(c["text"], c["num_tokens"], len(c["step_lengths"]))
                by_problem[line["problem_id"]][not c["correct"]].append(row)
    return [(np.array(right), np.array(wrong)) for right, wrong in by_problem.values() if right and wrong]


def differences(names: Sequence[str], problems: Sequence[tuple[Rows, Rows]]) -> tuple[Difference, ...]:
    """Return how right and wrong candidates differ: a row for each feature that any candidate has.

    ``problems`` are the features of right and of wrong candidates, ``[candidates, features]`` each.
    """
    rows = []
    for i, name in enumerate(names):
        pairs = [(right[:, i], wrong[:, i]) for right, wrong in problems]
        if not any(a.any() or b.any() for a, b in pairs):
            continue
        right, wrong = [float(a.mean()) for a, _ in pairs], [float(b.mean()) for _, b in pairs]
        aucs = [auc(a, b) for a, b in pairs]
        p = sign_test(sum(x > 0.5 for x in aucs), sum(x < 0.5 for x in aucs))
        apart = [a - b for a, b in zip(right, wrong, strict=True)]
        means = float(np.mean(right)), float(np.mean(wrong))
        rows.append(Difference(name, *means, mean_interval(apart), mean_interval(aucs), p))
    corrected = holm([row.p_holm for row in rows])
    return tuple(replace(row, p_holm=p) for row, p in zip(rows, corrected, strict=True))


def auc(right: npt.NDArray[np.float64], wrong: npt.NDArray[np.float64]) -> float:
    """Return the chance that a right candidate has more of a feature than a wrong one; ties count half."""
    greater = (right[:, None] > wrong[None, :]).mean()
    return float(greater + (right[:, None] == wrong[None, :]).mean() / 2)
