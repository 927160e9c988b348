"""Evaluate the shipped models on development problems: ``python -m actors.embedded.evaluate``."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from actors.embedded.families import FAMILIES
from actors.embedded.family import Family
from actors.embedded.solutions import Sample, sample_solutions, score_solutions
from actors.transformers_engine.config import TransformersEngineConfig, TransformersVerifierConfig
from orchestrator.intervals import pass_at_k
from orchestrator.types import Reward

BUDGETS = (1, 2, 4, 8, 16, 32, 64)
MIN_AUC = 0.80


@dataclass(frozen=True, slots=True)
class Group:
    """The samples of one problem, with their labels.

    ``are_right[i][k]``: the state after step k of sample i is right; ``is_right[i]``: its answer is right;
    ``answers[i]``: the answer in a form that can be counted, or None.
    """

    samples: Sequence[Sample]
    are_right: Sequence[Sequence[bool]]
    is_right: Sequence[bool]
    answers: Sequence[Hashable | None]

    @property
    def num_right(self) -> int:
        return sum(self.is_right)

    def at_step(self, step: int, *, of_answer: bool = False) -> tuple[list[float], list[bool]]:
        """Return log-odds and labels (of the state, or of the answer) of the samples that have that step."""
        rows = [i for i, marks in enumerate(self.are_right) if len(marks) > step]
        labels = [self.is_right[i] if of_answer else self.are_right[i][step] for i in rows]
        return [reward_of(self.samples[i], step) for i in rows], labels


def judge(family: Family, problems: Sequence[Any], samples: Sequence[Sequence[Sample]]) -> list[Group]:
    """Return the samples of each problem as a Group."""
    groups = []
    for problem, rows in zip(problems, samples, strict=True):
        texts = [[step.text for step in steps] for steps in rows]
        groups.append(
            Group(
                samples=rows,
                are_right=[family.are_right(problem, lines) for lines in texts],
                is_right=[family.is_right(problem, lines) for lines in texts],
                answers=[family.answer(lines) for lines in texts],
            )
        )
    return groups


def auc(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """Return the probability that a positive outranks a negative; a tie counts half."""
    positive = np.array([s for s, y in zip(scores, labels, strict=True) if y])
    negative = np.array([s for s, y in zip(scores, labels, strict=True) if not y])
    difference = positive[:, None] - negative[None, :]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


def within_problem_auc(
    groups: Sequence[Group], steps: Sequence[int], *, of_answer: bool = False
) -> float | None:
    """Return the mean AUC of "the state is right" (or the answer) among samples of one problem at one step.

    A problem's difficulty and a step's position do not help here. Weighted by the number of pairs; None
    without any.
    """
    values, weights = [], []
    for group in groups:
        for step in steps:
            scores, labels = group.at_step(step, of_answer=of_answer)
            num_pairs = sum(labels) * (len(labels) - sum(labels))
            if num_pairs:
                values.append(auc(scores, labels))
                weights.append(num_pairs)
    return float(np.average(values, weights=weights)) if values else None


def by_step(groups: Sequence[Group], num_steps: int) -> list[dict[str, float | None]]:
    """Return for each step the verifier's mean reward, how often states and answers are right, and its AUCs.

    ``mean_reward`` above ``ends_right`` is over-confidence; an ``auc_of_answer`` that rises late means that
    the evidence comes late. ``confidence`` is the mean of max(r, 1 - r), and ``judged_right`` how often the
    likelier of the two is true of the state; ``calibration_error`` is that of ten bins of r. ``slips`` is the
    share of right states before the step that are wrong after it.
    """
    rows: list[dict[str, float | None]] = []
    for step in range(num_steps):
        scored = [group.at_step(step) for group in groups]
        rewards = np.array([Reward(x).value for scores, _ in scored for x in scores])
        labels = np.array([label for _, marks in scored for label in marks])
        ends = [label for group in groups for label in group.at_step(step, of_answer=True)[1]]
        if not ends:
            break
        rows.append(
            {
                "step": step + 1,
                "mean_reward": float(rewards.mean()),
                "confidence": float(np.maximum(rewards, 1 - rewards).mean()),
                "state_right": float(labels.mean()),
                "judged_right": float(((rewards > 0.5) == labels).mean()),
                "calibration_error": calibration_error(rewards, labels),
                "slips": slips(groups, step),
                "ends_right": fmean(ends),
                "auc_of_state": within_problem_auc(groups, [step]),
                "auc_of_answer": within_problem_auc(groups, [step], of_answer=True),
            }
        )
    return rows


def calibration_error(rewards: np.ndarray, labels: np.ndarray, num_bins: int = 10) -> float:
    """Return the mean distance of a bin's mean reward from its share of right states, weighted by size."""
    bins = np.minimum((rewards * num_bins).astype(int), num_bins - 1)
    gaps = [abs((rewards[bins == b] - labels[bins == b]).sum()) for b in range(num_bins)]
    return float(sum(gaps) / len(rewards))


def slips(groups: Sequence[Group], step: int) -> float | None:
    """Return the share of states that a step, from 0, turns from right to wrong; None without any."""
    marks = [m for group in groups for m in group.are_right if len(m) > step]
    after = [m[step] for m in marks if step == 0 or m[step - 1]]
    return 1 - fmean(after) if after else None


def best_of(groups: Sequence[Group], score: Callable[[Sample], float], n: int) -> float:
    """Return the accuracy of the best of n, averaged over disjoint groups of n samples."""
    hits = [
        group.is_right[max(range(i, i + n), key=lambda row: score(group.samples[row]))]
        for group in groups
        for i in range(0, len(group.samples) - n + 1, n)
    ]
    return fmean(hits)


def majority(groups: Sequence[Group], n: int) -> float:
    """Return the accuracy of the most frequent answer of n; the earliest wins a tie."""
    hits = []
    for group in groups:
        for i in range(0, len(group.samples) - n + 1, n):
            rows = [row for row in range(i, i + n) if group.answers[row] is not None]
            votes = Counter(group.answers[row] for row in rows)
            winner = votes.most_common(1)[0][0] if votes else None
            hits.append(any(group.is_right[row] for row in rows if group.answers[row] == winner))
    return fmean(hits)


def reward_of(sample: Sample, step: int = -1) -> float:
    """Return the log-odds of a step's reward."""
    reward = sample[step].reward
    assert reward is not None
    return reward.log_odds


def likelihood_of(sample: Sample) -> float:
    """Return the log-likelihood of the solution: the policy as its own verifier."""
    return sum(step.logprob or 0.0 for step in sample)


async def evaluate(
    family: Family, policy: str, verifier: str, num_problems: int, num_samples: int
) -> dict[str, Any]:
    """Return every figure of the two model cards that the shipped files can reproduce."""
    problems = list(family.draw("dev", 0, num_problems))
    most = family.max_tokens
    engine = TransformersEngineConfig(policy, template="{question}\n").build()
    scorer = TransformersVerifierConfig(verifier).build()
    greedy = judge(family, problems, await sample_solutions(engine, problems, 1, 0.0, max_tokens=most))
    samples = await sample_solutions(engine, problems, num_samples, 0.8, max_tokens=most)
    groups = judge(family, problems, await score_solutions(scorer, problems, samples))
    await engine.close()
    await scorer.close()
    budgets = [n for n in BUDGETS if n <= num_samples]
    num_steps = max(len(marks) for group in groups for marks in group.are_right)
    return {
        "problems": num_problems,
        "samples": num_samples,
        "greedy": fmean(group.is_right[0] for group in greedy),
        "pass_at": {n: fmean(pass_at_k(num_samples, g.num_right, n) for g in groups) for n in budgets},
        "majority_at": {n: majority(groups, n) for n in budgets},
        "within_problem_auc": within_problem_auc(groups, range(num_steps)),
        "best_of": {n: best_of(groups, reward_of, n) for n in budgets},
        "best_of_by_policy_likelihood": {n: best_of(groups, likelihood_of, n) for n in budgets},
        "by_step": by_step(groups, num_steps),
    }


def failed_gates(figures: dict[str, Any]) -> list[str]:
    """Return the release criteria that a verifier does not meet."""
    curve = list(figures["best_of"].values())
    failed = []
    area = figures["within_problem_auc"]
    if area is None or area < MIN_AUC:
        failed.append(f"within-problem AUC {area if area is None else round(area, 3)} is below {MIN_AUC}")
    if any(later < earlier for earlier, later in pairwise(curve)):
        failed.append(f"best-of-N does not rise with N: {', '.join(f'{v:.3f}' for v in curve)}")
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=sorted(FAMILIES), default="chain")
    parser.add_argument("--policy", help="default: the shipped policy of the task")
    parser.add_argument("--verifier", help="default: the shipped verifier of the task")
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="write the figures here, as JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    policy = args.policy or f"embedded:{args.task}-policy"
    verifier = args.verifier or f"embedded:{args.task}-verifier"
    figures = asyncio.run(evaluate(FAMILIES[args.task], policy, verifier, args.problems, args.samples))
    text = json.dumps(figures, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    if failed := failed_gates(figures):
        raise SystemExit("; ".join(failed))


if __name__ == "__main__":
    main()
