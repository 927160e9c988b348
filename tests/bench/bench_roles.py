"""What roles cost the controller: ``python -m tests.bench.bench_roles``.

Expansions (rows that the engine has answered) per second of processor time, of strategies that prompt in
roles over those of best-of-N, with the same fakes, journal and result files. A call costs more than a row, so
each is compared with best-of-N in waves, which makes as many calls of as many rows, and with best-of-N in one
call.
Processor time, since a fake engine never waits: other processes then leave the ratios as they are.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console

from orchestrator.prompts.template import Template
from orchestrator.search.controller import Controller
from orchestrator.search.strategy import Strategy
from orchestrator.storage.journal import Journals
from orchestrator.storage.result_lines import result_line
from orchestrator.storage.results import ResultLog
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier
from orchestrator.types import Sampling
from strategies import BestOfN, Refine

SAMPLING = Sampling(max_tokens=64)
REVISE = Template(
    "{question}\n\nEarlier attempts, oldest first:\n\n{attempts}\n\nWrite a new, better solution."
)
REVIEWED = Template("{question}\n\n{answer}\n\nA review:\n\n{notes}\n\nWrite a new solution.")
CRITIQUE = Template("{question}\n\n{answer}\n\nName each error.", instruction="")
GOAL = 0.9


@dataclass(frozen=True, slots=True)
class Pair:
    """A strategy with roles; best-of-N in calls of as many rows, and in one call."""

    name: str
    roles: Strategy
    in_waves: Strategy
    at_once: Strategy


PAIRS = (
    Pair(
        "refine, 2 x 4",
        Refine(8, width=4, sampling=SAMPLING, prompt=REVISE),
        BestOfN(8, wave_size=4, sampling=SAMPLING),
        BestOfN(8, sampling=SAMPLING),
    ),
    Pair(
        "refine, 8 x 1",
        Refine(8, sampling=SAMPLING, prompt=REVISE),
        BestOfN(8, wave_size=1, sampling=SAMPLING),
        BestOfN(8, sampling=SAMPLING),
    ),
    Pair(
        "self_refine, 3 x 1",
        Refine(
            3,
            sampling=SAMPLING,
            prompt=REVIEWED,
            carry="last",
            feedback="critique",
            critique=CRITIQUE,
            critique_sampling=SAMPLING,
            within="last",
        ),
        BestOfN(5, wave_size=1, sampling=SAMPLING),
        BestOfN(5, sampling=SAMPLING),
    ),
)


def written(_: str, prefix: str) -> Mapping[str, float]:
    """Return what follows a prefix: three letters and an answer, whatever the prompt is."""
    lines = prefix.count("\n")
    return {"": 1.0} if lines > 3 else {"=abc\n": 1.0} if lines == 3 else {"a\n": 0.6, "b\n": 0.4}


async def expansions_per_second(strategy: Strategy, num_problems: int) -> float:
    """Solve some problems as a run does; return the rows answered per second of processor time."""
    engine, task = FakeEngine(written), FakeTask(num_problems=num_problems)
    with tempfile.TemporaryDirectory() as folder:
        log, journals = ResultLog(Path(folder)), Journals(Path(folder))
        controller = Controller(strategy, engine, FakeVerifier(), task, journals=journals)
        begun = time.process_time()
        await controller.run(task.problems(0, None), lambda result: log.append(result_line(result)))
        seconds = time.process_time() - begun
        log.close()
    return len(engine.requests) / seconds


async def ratios(pair: Pair, args: argparse.Namespace) -> tuple[list[float], list[float], float]:
    """Return the ratios to best-of-N in waves and in one call, and the median rate of the roles."""
    over_waves, over_one, rates = [], [], []
    for i in range(-1, args.pairs):
        rate, waves, once = [
            await expansions_per_second(s, args.problems) for s in (pair.roles, pair.in_waves, pair.at_once)
        ]
        if i >= 0:
            over_waves.append(rate / waves)
            over_one.append(rate / once)
            rates.append(rate)
    return over_waves, over_one, median(rates)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=5)
    args, console = parser.parse_args(), Console()
    for pair in PAIRS:
        over_waves, over_one, rate = asyncio.run(ratios(pair, args))
        verdict = "" if median(over_waves) >= GOAL else f", below {GOAL}"
        console.print(
            f"{pair.name}: {rate:,.0f} expansions/s, {median(over_waves):.2f} of best_of_n in equal calls "
            f"({min(over_waves):.2f} to {max(over_waves):.2f}){verdict}; {median(over_one):.2f} of one call"
        )


if __name__ == "__main__":
    main()
