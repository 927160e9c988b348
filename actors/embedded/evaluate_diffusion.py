"""Evaluate a shipped masked-diffusion model: each block schedule alone against the vote over all of them.

``python -m actors.embedded.evaluate_diffusion``: the best block length is chosen on development problems;
every figure is measured on test problems.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from actors.diffusion_engine.config import DiffusionEngineConfig
from actors.diffusion_engine.decoding import Filled
from actors.diffusion_engine.engine import DiffusionEngine
from actors.embedded.diffusion import DiffusionFamily
from actors.embedded.families import DIFFUSION_FAMILIES
from actors.embedded.trainer import console
from orchestrator.intervals import paired_interval
from orchestrator.protocols import Failure, GenerateRequest, Task
from orchestrator.seeds import derive_seed
from orchestrator.tasks.draws import Split
from orchestrator.types import Denoising, Problem

_CHUNK = 20  # problems denoised between two lines of progress


@dataclass(frozen=True, slots=True)
class Denoised:
    """A path's result: its answer, whether that is right, and whether end-of-text was its first token."""

    answer: str | None
    is_right: bool
    begins_with_end: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """All paths of some problems: ``paths[block_length][problem][i]``."""

    problems: Sequence[Problem]
    paths: dict[int, list[list[Denoised]]]

    @property
    def num_paths(self) -> int:
        return len(next(iter(self.paths.values()))[0])

    def single(self, block: int) -> list[float]:
        """Return the share of right paths of each problem."""
        return [fmean(path.is_right for path in paths) for paths in self.paths[block]]

    def vote(self, block: int) -> list[float]:
        """Return 1 for each problem that a vote of all paths of one schedule gets right, else 0."""
        return [float(is_won(paths)) for paths in self.paths[block]]

    def vote_over_all(self) -> list[float]:
        """Return the same for as many paths over all schedules; a tie goes to the smallest block."""
        each = self.num_paths // len(self.paths)
        groups = zip(*(self.paths[block] for block in sorted(self.paths)), strict=True)
        return [float(is_won([path for paths in group for path in paths[:each]])) for group in groups]

    def by_kind(self, values: Sequence[float], key: str) -> dict[str, float]:
        """Return the mean over all problems, and over those of each kind."""
        kinds = [problem.metadata[key] for problem in self.problems]
        split = {k: fmean(v for v, own in zip(values, kinds, strict=True) if own == k) for k in set(kinds)}
        return {"all": fmean(values), **dict(sorted(split.items()))}


def is_won(paths: Sequence[Denoised]) -> bool:
    """Return whether the most frequent answer is right: the first of equal ones. None has no vote."""
    votes = Counter(path.answer for path in paths if path.answer is not None)
    if not votes:
        return False
    winner = votes.most_common(1)[0][0]
    return any(path.is_right for path in paths if path.answer == winner)


async def denoise(
    engine: DiffusionEngine, task: Task, problems: Sequence[Problem], params: Denoising, num_paths: int
) -> list[list[Denoised]]:
    """Return ``[problems][num_paths]`` paths of one schedule."""
    requests = [
        GenerateRequest(
            home=problem.id,
            question=problem.question,
            instruction=task.instruction,
            token_ids=(),
            params=params,
            seed=derive_seed(problem.id, params.block_length, i),
            delimiter=task.delimiter,
            answer_marker=task.answer_marker,
            to_end=True,
        )
        for problem in problems
        for i in range(num_paths)
    ]
    replies = iter(await engine.fill(requests))
    return [[await _judge(engine, task, p, next(replies)) for _ in range(num_paths)] for p in problems]


async def _judge(engine: DiffusionEngine, task: Task, problem: Problem, reply: Filled | Failure) -> Denoised:
    if isinstance(reply, Failure):
        raise RuntimeError(f"{reply.type}: {reply.message}")
    canvas, eos_ids = reply.canvas, engine.loaded.eos_ids
    text = engine.loaded.tokenizer.decode(canvas.tokens[: canvas.text_length - 1].tolist())
    answer = task.extract(text)
    first = canvas.tokens[canvas.passes == 0]
    return Denoised(
        answer,
        is_right=await task.grade(answer, problem.answer),
        begins_with_end=any(int(token) in eos_ids for token in first),
    )


async def judge(
    engine: DiffusionEngine, family: DiffusionFamily, split: Split, num_problems: int, num_paths: int
) -> Judged:
    """Return all paths of the first problems of a split, under each of the family's schedules."""
    task = family.task(split)
    problems, paths = list(task.problems(0, num_problems)), {}
    for params in family.schedules:
        rows: list[list[Denoised]] = []
        for start in range(0, len(problems), _CHUNK):
            rows += await denoise(engine, task, problems[start : start + _CHUNK], params, num_paths)
            console.print(f"{split}: block {params.block_length}, {len(rows)} of {len(problems)} problems")
        paths[params.block_length or params.gen_length] = rows
    return Judged(problems, paths)


def best_block(figures: Mapping[int, float]) -> int:
    """Return the block length of the highest figure; the smallest of equal ones."""
    return min(figures, key=lambda block: (-figures[block], block))


def table(judged: Judged, key: str) -> dict[str, Any]:
    """Return for each block length: right paths, the vote of that schedule alone, and how its paths fail."""
    rows = {}
    for block, problems in judged.paths.items():
        paths = [path for row in problems for path in row]
        rows[str(block)] = {
            "single": judged.by_kind(judged.single(block), key),
            "vote": judged.by_kind(judged.vote(block), key),
            "unreadable": fmean(path.answer is None for path in paths),
            "begins_with_end": fmean(path.begins_with_end for path in paths),
        }
    return {"blocks": rows, "vote_over_all": judged.by_kind(judged.vote_over_all(), key)}


def compare(chosen: Judged, judged: Judged) -> dict[str, Any]:
    """Return the vote over all schedules minus its rivals, chosen by ``chosen``; paired 95 % intervals."""
    single = {block: fmean(chosen.single(block)) for block in chosen.paths}
    vote = {block: fmean(chosen.vote(block)) for block in chosen.paths}
    median = sorted(single, key=lambda block: single[block])[len(single) // 2]
    rivals = {
        f"vote at block {best_block(vote)}, the best": judged.vote(best_block(vote)),
        f"one path at block {best_block(single)}, the best": judged.single(best_block(single)),
        f"one path at block {median}, the median": judged.single(median),
    }
    ours = [[won] for won in judged.vote_over_all()]
    return {name: paired_interval(ours, [[v] for v in values]) for name, values in rivals.items()}


async def evaluate(
    family: DiffusionFamily, model: str, num_dev: int, num_problems: int, num_paths: int
) -> dict[str, Any]:
    """Return every figure of the model's card."""
    engine = DiffusionEngineConfig(model, template="{question}\n", max_batch_size=256).build()
    dev = await judge(engine, family, "dev", num_dev, num_paths)
    test = await judge(engine, family, "test", num_problems, num_paths)
    await engine.close()
    return {
        "paths": num_paths,
        "dev": {"problems": num_dev, **table(dev, family.kind)},
        "test": {"problems": num_problems, **table(test, family.kind)},
        "vote_over_all_less": compare(dev, test),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", choices=sorted(DIFFUSION_FAMILIES), default="twoway")
    parser.add_argument("--model", help="default: the shipped model of the task")
    parser.add_argument("--dev", type=int, default=200, help="development problems")
    parser.add_argument("--problems", type=int, default=500, help="test problems")
    parser.add_argument("--paths", type=int, default=25)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="write the figures here, as JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = args.model or f"embedded:{args.task}-diffusion"
    family = DIFFUSION_FAMILIES[args.task]
    figures = asyncio.run(evaluate(family, model, args.dev, args.problems, args.paths))
    text = json.dumps(figures, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
