"""Measure what a draft gives and costs: ``python -m tests.bench.bench_speculative``.

From ``chain-policy``, which drafts, to ``chain-base``, which rewrites: one path a problem, over levels of
acceptance, by three judges. The shipped verifier and the base's likelihood are those of a search; a coin is
the control, which refuses without reading. Writes docs/data/speculative.json and the block of docs/roles.md.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from actors.transformers_engine.config import TransformersEngineConfig, TransformersVerifierConfig
from orchestrator.protocols import Engine, Verifier
from orchestrator.search.asking import Ledger
from orchestrator.search.session import Session
from orchestrator.seeds import derive_rng
from orchestrator.storage.atomic import write_atomically
from orchestrator.tasks.chain import ChainTask
from orchestrator.testing import FakeVerifier
from orchestrator.types import DraftRecord, Problem, Sampling, Solution
from strategies.speculative import Speculative
from tests.bench.measuring import commit
from tests.bench.pages import fill
from tests.bench.role_pages import roles_blocks
from tests.bench.stored import DATA, spread_out
from tests.bench.sweeps import REPOSITORY

SAMPLING = Sampling(temperature=0.6, top_p=0.95, max_tokens=16)
LEVELS: Mapping[str, tuple[float, ...]] = {
    "none": (0.0, 1.01),
    "verifier": (0.1, 0.3, 0.5, 0.7, 0.9),
    "likelihood": (0.7, 0.9, 0.95, 0.98, 0.995),
    "coin": (0.25, 0.5, 0.75),
}
"""The levels of ``accept`` by judge; at its two limits nothing judges."""


@dataclass(frozen=True)
class Models:
    """What is loaded once for all levels."""

    draft: Engine
    base: Engine
    verifier: Verifier

    async def close(self) -> None:
        for model in (self.draft, self.base, self.verifier):
            await model.close()


def coin(question: str, steps: tuple[str, ...]) -> float:
    """A reward in [0, 1) that has not looked at the step; the same whenever the same is asked."""
    return float(derive_rng("coin", question, steps).random())


def load(args: argparse.Namespace) -> Models:
    draft, base = (
        TransformersEngineConfig(m, template="{question}\n").build() for m in (args.draft, args.base)
    )
    return Models(draft, base, TransformersVerifierConfig("embedded:chain-verifier").build())


def strategy_of(judge: str, accept: float) -> Speculative:
    strategy = Speculative(
        accept=accept, max_steps=10, max_tokens=128, sampling=SAMPLING, draft_sampling=SAMPLING
    )
    return replace(strategy, judge="likelihood") if judge == "likelihood" else strategy


async def solve(
    models: Models, judge: str, accept: float, problem: Problem, task: ChainTask
) -> dict[str, Any]:
    """Return what one problem came to."""
    verifier: Verifier = FakeVerifier(coin) if judge == "coin" else models.verifier
    policies = {"draft": models.draft}
    ledger = Ledger(problem, engine=models.base, verifier=verifier, task=task, policies=policies)
    solution = await strategy_of(judge, accept).solve(Session(ledger))
    await ledger.release()
    best = None if solution.answer_index is None else solution.trajectories[solution.answer_index]
    answer = task.extract(best.text) if best is not None and best.finished else None
    spent = ledger.account.by_policy
    return {
        "right": await task.grade(answer, problem.answer),
        **_written(solution),
        "draft_tokens": spent["draft"].generated_tokens if "draft" in spent else 0,
        "base_tokens": spent["engine"].generated_tokens if "engine" in spent else 0,
        "sequential_tokens": solution.usage.sequential_tokens,
    }


def _written(solution: Solution) -> dict[str, int]:
    """Return how many drafts there were and stayed, and how many tokens the answers have of either policy."""
    drafts = [record for record in solution.history if isinstance(record, DraftRecord)]
    of_drafts = sum(record.tokens for record in drafts if record.accepted)
    return {
        "drafts": len(drafts),
        "accepted": sum(record.accepted for record in drafts),
        "answer_tokens": sum(t.num_tokens for t in solution.trajectories),
        "kept_tokens": of_drafts,
    }


async def measure_level(
    models: Models, judge: str, accept: float, problems: Sequence[Problem], task: ChainTask
) -> dict[str, Any]:
    """Return the sums of one level over the problems, and a digit a problem: whether it is right."""
    outcomes = await asyncio.gather(*(solve(models, judge, accept, p, task) for p in problems))
    sums = {key: sum(o[key] for o in outcomes) for key in outcomes[0] if key != "right"}
    return {
        "judge": judge,
        "accept": accept,
        "right": "".join(str(int(o["right"])) for o in outcomes),
        **sums,
    }


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return all levels, and what they are of."""
    task, models = ChainTask(split="test"), load(args)
    problems = list(task.problems(0, args.problems))
    rows = []
    for judge, levels in LEVELS.items():
        for accept in levels:
            rows.append(await measure_level(models, judge, accept, problems, task))
            print(rows[-1], flush=True)
    await models.close()
    return {
        "commit": commit(),
        "problems": args.problems,
        "draft": args.draft,
        "base": args.base,
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--draft", default="embedded:chain-policy")
    parser.add_argument("--base", default="embedded:chain-base")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--data", type=Path, default=DATA, help="a folder to keep the figures in")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    figures = asyncio.run(measure(args))
    write_atomically(args.data / "speculative.json", spread_out(figures, 2) + "\n")
    if args.data == DATA:
        fill(REPOSITORY / "docs" / "roles.md", roles_blocks())


if __name__ == "__main__":
    main()
