"""The gates of the shipped models, on development problems: ``python -m actors.embedded.evaluate``."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from actors.embedded.solutions import Sample, sample_solutions, score_solutions
from actors.transformers_engine import TransformersEngine
from actors.transformers_verifier import TransformersVerifier
from orchestrator.statistics import pass_at_k
from orchestrator.tasks.chain import Chain, draw_chains, read_value

BUDGETS = (1, 2, 4, 8, 16, 32, 64)
MIN_AUC = 0.80


def stated_answer(sample: Sample) -> int | None:
    """The number of an answer line, or None."""
    return read_value(sample[-1].text) if sample and sample[-1].text.startswith("#") else None


def is_right(chain: Chain, sample: Sample) -> bool:
    return stated_answer(sample) == chain.values[-1]


def auc(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """Chance that a positive outranks a negative; a tie counts half."""
    positive = np.array([s for s, y in zip(scores, labels, strict=True) if y])
    negative = np.array([s for s, y in zip(scores, labels, strict=True) if not y])
    difference = positive[:, None] - negative[None, :]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


def within_problem_auc(chains: Sequence[Chain], samples: Sequence[Sequence[Sample]]) -> float:
    """Mean AUC of "the state is right" among samples of one problem at one step.

    Neither how hard a problem is nor how late a step is helps here. Weighted by the number of pairs.
    """
    values, weights = [], []
    for chain, group in zip(chains, samples, strict=True):
        true_values = (*chain.values, chain.values[-1])
        for k, true_value in enumerate(true_values):
            rows = [steps[k] for steps in group if len(steps) > k]
            labels = [read_value(step.text) == true_value for step in rows]
            num_pairs = sum(labels) * (len(labels) - sum(labels))
            if num_pairs:
                values.append(auc([s.reward.log_odds for s in rows if s.reward], labels))
                weights.append(num_pairs)
    return float(np.average(values, weights=weights))


def best_of(
    chains: Sequence[Chain], samples: Sequence[Sequence[Sample]], score: Callable[[Sample], float], n: int
) -> float:
    """Accuracy of the best of n, averaged over disjoint groups of n samples."""
    hits = [
        is_right(chain, max(group[i : i + n], key=score))
        for chain, group in zip(chains, samples, strict=True)
        for i in range(0, len(group) - n + 1, n)
    ]
    return fmean(hits)


def majority(chains: Sequence[Chain], samples: Sequence[Sequence[Sample]], n: int) -> float:
    """Accuracy of the most frequent answer of n; the earliest wins a tie."""
    hits = []
    for chain, group in zip(chains, samples, strict=True):
        for i in range(0, len(group) - n + 1, n):
            votes = Counter(a for s in group[i : i + n] if (a := stated_answer(s)) is not None)
            hits.append(bool(votes) and votes.most_common(1)[0][0] == chain.values[-1])
    return fmean(hits)


def reward_of(sample: Sample) -> float:
    reward = sample[-1].reward
    assert reward is not None
    return reward.log_odds


def likelihood_of(sample: Sample) -> float:
    """The policy as its own judge: the log-likelihood of the solution."""
    return sum(step.logprob or 0.0 for step in sample)


async def evaluate(policy: str, verifier: str, num_problems: int, num_samples: int) -> dict[str, Any]:
    """Every figure of the two model cards that can be had from the shipped files."""
    chains = list(draw_chains("dev", 0, num_problems))
    engine, judge = TransformersEngine(policy, template="{question}\n"), TransformersVerifier(verifier)
    greedy = await sample_solutions(engine, chains, 1, 0.0)
    samples = await sample_solutions(engine, chains, num_samples, 0.8)
    scored = await score_solutions(judge, chains, samples)
    await engine.close()
    await judge.close()
    num_right = [sum(is_right(c, s) for s in group) for c, group in zip(chains, samples, strict=True)]
    budgets = [n for n in BUDGETS if n <= num_samples]
    return {
        "problems": num_problems,
        "samples": num_samples,
        "greedy": fmean(is_right(c, g[0]) for c, g in zip(chains, greedy, strict=True)),
        "pass_at": {n: fmean(pass_at_k(num_samples, r, n) for r in num_right) for n in budgets},
        "majority_at": {n: majority(chains, samples, n) for n in budgets},
        "within_problem_auc": within_problem_auc(chains, scored),
        "best_of": {n: best_of(chains, scored, reward_of, n) for n in budgets},
        "best_of_by_policy_likelihood": {n: best_of(chains, samples, likelihood_of, n) for n in budgets},
    }


def failed_gates(figures: dict[str, Any]) -> list[str]:
    """What keeps a verifier from being shipped."""
    curve = list(figures["best_of"].values())
    failed = []
    if figures["within_problem_auc"] < MIN_AUC:
        failed.append(f"within-problem AUC {figures['within_problem_auc']:.3f} is below {MIN_AUC}")
    if any(later < earlier for earlier, later in pairwise(curve)):
        failed.append(f"best-of-N does not rise with N: {', '.join(f'{v:.3f}' for v in curve)}")
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", default="embedded:chain-policy")
    parser.add_argument("--verifier", default="embedded:chain-verifier")
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="write the figures here, as JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    figures = asyncio.run(evaluate(args.policy, args.verifier, args.problems, args.samples))
    text = json.dumps(figures, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    if failed := failed_gates(figures):
        raise SystemExit("; ".join(failed))


if __name__ == "__main__":
    main()
