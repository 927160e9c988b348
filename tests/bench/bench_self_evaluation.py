"""A policy that judges itself, beside a verifier: ``python -m tests.bench.bench_self_evaluation``.

Samples of a chain policy with two option tokens are rewarded step by step by the policy itself
(``verifier=self_evaluation``), by the shipped verifier, and by ``self_certainty``. What is compared: the AUC
within a problem by step, and what stopping and pruning by each of them cost and give (docs/adaptive.md). How
far the copy has kept the behaviour of ``chain-policy`` stands beside it. ``--docs`` writes
docs/data/self_evaluation.json and fills docs/roles.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import starmap
from statistics import fmean
from typing import Any

import numpy as np
import torch

from actors.embedded.chain_options import OPTIONS
from actors.embedded.evaluate import Group, by_step, judge
from actors.embedded.families import CHAIN
from actors.embedded.solutions import Sample, sample_solutions
from actors.transformers_engine.config import TransformersEngineConfig, TransformersVerifierConfig
from orchestrator.intervals import paired_interval
from orchestrator.prompts.question import PrefixQuestion
from orchestrator.protocols import Failure, PolicyPrefix, ScoreRequest, Verifier
from orchestrator.storage.atomic import write_atomically
from orchestrator.types import Usage, total
from orchestrator.verifiers.self_certainty import SelfCertainty
from orchestrator.verifiers.self_evaluation import SelfEvaluation
from tests.bench import adaptive_arrays as arrays
from tests.bench.pages import fill
from tests.bench.role_pages import roles_blocks
from tests.bench.stored import DATA
from tests.bench.sweeps import REPOSITORY

NUM_STEPS = 8
RULES: Mapping[str, Any] = {
    **{f"N = {n}": lambda s, n=n: arrays.at_once(s[:n]) for n in (1, 2, 4, 8, 16)},
    **{
        f"N = 16, stop at {at:g}": lambda s, at=at: arrays.one_by_one(s, arrays.threshold(at))
        for at in (0.7, 0.9)
    },
    **{
        f"N = 16, after step {step} keep {kept}": lambda s, step=step, kept=kept: arrays.pruned(s, step, kept)
        for step, kept in ((2, 8), (4, 8), (4, 4))
    },
}


async def rewarded(
    verifier: Verifier, problems: Sequence[Any], samples: Sequence[Sequence[Sample]]
) -> tuple[list[list[Sample]], Usage]:
    """Return the solutions with a reward in every step, and what that took."""
    rows = [(problem, steps) for problem, group in zip(problems, samples, strict=True) for steps in group]
    replies = await verifier.score(list(starmap(_request, rows)))
    scored, usages = [], []
    for (_, steps), reply in zip(rows, replies, strict=True):
        if isinstance(reply, Failure):
            raise RuntimeError(f"{reply.type}: {reply.message}")
        scored.append(tuple(replace(s, reward=r) for s, r in zip(steps, reply.rewards, strict=True)))
        usages.append(reply.usage)
    size = len(samples[0])
    return [scored[i : i + size] for i in range(0, len(scored), size)], total(usages)


def _request(problem: Any, steps: Sample) -> ScoreRequest:
    prefix = PolicyPrefix(problem.question, "", (), tuple(s.token_ids for s in steps))
    return ScoreRequest(
        problem.question,
        problem.question,
        tuple(s.text for s in steps),
        0,
        tuple(s.logprob for s in steps),
        tuple(len(s.token_ids) for s in steps),
        prefix=prefix,
    )


def arrays_of(group: Group) -> arrays.Problem:
    """Return a problem's samples as the rules read them."""
    return [
        arrays.Sample(
            finished=answer is not None,
            right=right,
            key=None if answer is None else str(answer),
            log_odds=tuple(s.reward.log_odds for s in steps if s.reward is not None),
            tokens=tuple(len(s.token_ids) for s in steps),
        )
        for steps, right, answer in zip(group.samples, group.is_right, group.answers, strict=True)
    ]


def rules(groups: Sequence[Group]) -> dict[str, dict[str, float]]:
    """Return of each rule its accuracy, with the half of its interval, and its tokens and reward calls."""
    problems, found = [arrays_of(group) for group in groups], {}
    for name, outcome in RULES.items():
        each = arrays.answered(problems, outcome)
        mean, low, high = paired_interval(each.right[:, None].tolist(), [[0.0]] * len(problems))
        costs = {"tokens": float(each.tokens.mean()), "calls": float(each.calls.mean())}
        found[name] = {"accuracy": mean, "low": low, "high": high, **costs}
    return found


async def behaviour(model: str, policy: str, problems: Sequence[Any], num_samples: int) -> dict[str, Any]:
    """Return how the copy's own solutions compare with those of the policy that it is a copy of."""
    figures: dict[str, Any] = {}
    texts = []
    for name, path in (("copy", model), ("policy", policy)):
        engine = TransformersEngineConfig(path, template="{question}\n").build()
        greedy = await sample_solutions(engine, problems, 1, 0.0)
        drawn = judge(CHAIN, problems, await sample_solutions(engine, problems, num_samples, 0.8))
        await engine.close()
        texts.append(["".join(s.text for s in row[0]) for row in greedy])
        figures[f"greedy_{name}"] = fmean(g.is_right[0] for g in judge(CHAIN, problems, greedy))
        figures[f"sampled_{name}"] = fmean(right for g in drawn for right in g.is_right)
    figures["same_greedy"] = fmean(a == b for a, b in zip(*texts, strict=True))
    return figures


async def measure(model: str, num_problems: int, num_samples: int) -> dict[str, Any]:
    """Return every figure, from development problems."""
    problems = list(CHAIN.draw("dev", 0, num_problems))
    engine = TransformersEngineConfig(model, template="{question}\n").build()
    samples = await sample_solutions(engine, problems, num_samples, 0.8)
    shipped = TransformersVerifierConfig("embedded:chain-verifier").build()
    judges: dict[str, Verifier] = {
        "self_evaluation": SelfEvaluation(engine, PrefixQuestion("", OPTIONS)),
        "embedded": shipped,
        "self_certainty": SelfCertainty(),
    }
    found: dict[str, Any] = {}
    for name, verifier in judges.items():
        scored, usage = await rewarded(verifier, problems, samples)
        groups = judge(CHAIN, problems, scored)
        found[name] = {
            "by_step": by_step(groups, NUM_STEPS + 1),
            "rules": rules(groups),
            "read": usage.reward_tokens / (num_problems * num_samples),
            "cached": usage.cached_reward_tokens / (num_problems * num_samples),
        }
    await engine.close()
    await shipped.close()
    return {
        "of": f"{num_problems} development problems x {num_samples} samples at T .8 of `{model}`",
        "behaviour": await behaviour(model, "embedded:chain-policy", problems, 4),
        "judges": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="embedded:chain-options")
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--docs", action="store_true", help="write the figures to docs/data, and fill the page"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    figures = asyncio.run(measure(args.model, args.problems, args.samples))
    text = json.dumps(_rounded(figures), indent=1, allow_nan=False) + "\n"
    print(text)
    if args.docs:
        write_atomically(DATA / "self_evaluation.json", text)
        fill(REPOSITORY / "docs" / "roles.md", roles_blocks())


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(float(value), 4) if isinstance(value, float | np.floating) else value


if __name__ == "__main__":
    main()
