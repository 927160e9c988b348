"""Our particle filter beside that of its_hub 1.2.0: ``python -m tests.bench.bench_its_hub``.

The same engine and verifier stand behind both (tests/bench/its_hub_seam.py), with the same N, temperature and
step limit. Three questions:

1. With its parity options (``final_resample=true``, multinomial, absolute) do we give the same distribution
   of final answers? A two-sample chi-square test over many seeds, on a language whose trajectories end after
   one to three steps; the same test must reject our default, which resamples one time less.
2. Whose answers are right more often, on the shipped models and on fakes whose verifier is confident,
   hesitant, or hesitant and silent before the answer? Ours with the parity options runs beside both: with the
   same seed it differs from our default in the last resampling alone, so that this difference is seen best.
3. How often does their last resampling lose the best particle of the last step? (Ours has none.)

Needs its_hub (the bench extra), and says so where it is not installed. ``--docs`` puts the tables between the
comments of a document.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from orchestrator.intervals import paired_interval
from orchestrator.testing import FakeEngine, FakeVerifier
from orchestrator.types import Problem
from strategies.particle_filter import ParticleFilter
from tests.bench.curves import filled, markdown, short
from tests.bench.its_hub_worlds import Solve, World, chain_world, fake_world, fake_worlds
from tests.bench.stored import write_text
from tests.bench.sweeps import interval
from tests.bench.two_samples import two_sample_test
from tests.toy import PROBLEM, Table

PARITY: dict[str, Any] = {"final_resample": True, "resampling": "multinomial", "weighting": "absolute"}
# Ends after one to three steps. The last rewards lie so near each other that one resampling more is seen.
LANGUAGE = Table(
    {
        "": {"a\n": 0.55, "b\n": 0.35, "=1\n": 0.1},
        "a\n": {"a\n": 0.6, "b\n": 0.35, "=2\n": 0.05},
    },
    otherwise={"=3\n": 0.4, "=4\n": 0.25, "=5\n": 0.18, "=6\n": 0.1, "=7\n": 0.07},
)
REWARDS = {
    "a\n": 0.55, "b\n": 0.4, "=1\n": 0.35, "=2\n": 0.45,
    "=3\n": 0.46, "=4\n": 0.48, "=5\n": 0.5, "=6\n": 0.52, "=7\n": 0.54,
}  # fmt: skip
ANSWERS = "1234567"
COLUMNS = [
    "problems x seeds", "N", "ours, default", "ours, parity options", "its_hub", "default - its_hub",
    "default - parity options", "best lost, its_hub",
]  # fmt: skip
FAKE_SEEDS = 10


async def compare_answers(num_particles: int, num_seeds: int) -> list[list[str]]:
    """Question 1: a row for each library and number of seeds."""
    world = fake_world("", FakeEngine(LANGUAGE), lambda _, steps: REWARDS[steps[-1]], [PROBLEM])
    seeds = range(num_seeds)
    texts = {
        "its_hub": [await world.theirs(PROBLEM, num_particles, s) for s in seeds],
        "ours, parity options": [await world.ours(PROBLEM, num_particles, s, **PARITY) for s in seeds],
        "ours, default": [await world.ours(PROBLEM, num_particles, s) for s in seeds],
    }
    answers = {name: [world.task.extract(t) or "" for t in found] for name, found in texts.items()}
    rows = []
    for name, found in answers.items():
        statistic, p = two_sample_test(answers["its_hub"], found)
        tested = ["", ""] if name == "its_hub" else [f"{statistic:.1f}", f"{p:.2g}"]
        rows.append([name, str(num_seeds), *(str(Counter(found)[a]) for a in ANSWERS), *tested])
    return rows


def lost_best(verifier: FakeVerifier, num_particles: int, text: str) -> bool:
    """Whether the answer is worth less than the best of the last step; all particles end there."""
    last = verifier.requests[-num_particles:]
    best = max(verifier.reward(r.question, r.steps) for r in last)
    return verifier.reward(last[0].question, tuple(text.splitlines(keepends=True))) < best - 1e-9


def forget(world: World) -> None:
    """Fakes keep every request: drop those of runs that are over."""
    for fake in (world.engine, world.verifier):
        assert isinstance(fake, FakeEngine | FakeVerifier)
        fake.requests.clear()


async def solve_all(
    world: World, solve: Solve, num_particles: int, num_seeds: int
) -> tuple[list[list[float]], float]:
    """Right (1) or wrong (0), ``[problems][seeds]``; the share of runs that lost the best, on fakes."""
    num_lost = 0
    is_fake = isinstance(world.verifier, FakeVerifier)
    # Fakes one by one, so that the verifier's last requests are those of the run.
    limit = asyncio.Semaphore(1 if is_fake else 32)

    async def one(problem: Problem) -> list[float]:
        nonlocal num_lost
        right = []
        async with limit:
            for seed in range(num_seeds):
                text = await solve(problem, num_particles, seed)
                right.append(float(await world.task.grade(world.task.extract(text), problem.answer)))
                if isinstance(world.verifier, FakeVerifier):
                    num_lost += lost_best(world.verifier, num_particles, text)
                    forget(world)
        return right

    rows = list(await asyncio.gather(*(one(p) for p in world.problems)))
    return rows, num_lost / (len(rows) * num_seeds)


async def compare_accuracy(world: World, num_particles: int, num_seeds: int) -> list[str]:
    """Questions 2 and 3: a line of the table."""
    parity = partial(world.ours, **PARITY)
    default, _ = await solve_all(world, world.ours, num_particles, num_seeds)
    same, _ = await solve_all(world, parity, num_particles, num_seeds)
    theirs, lost = await solve_all(world, world.theirs, num_particles, num_seeds)
    return [
        f"{world.name}, {len(world.problems)} x {num_seeds}",
        str(num_particles),
        *(_interval(interval(rows)) for rows in (default, same, theirs)),
        _interval(paired_interval(default, theirs), signed=True),
        _interval(paired_interval(default, same), signed=True),
        f"{100 * lost:.1f} %" if isinstance(world.verifier, FakeVerifier) else "",
    ]


def _interval(estimate: tuple[float, float, float], *, signed: bool = False) -> str:
    value, low, high = (short(x, signed=signed) for x in estimate)
    return f"{value} ({low} to {high})"


async def asked_and_got() -> list[list[str]]:
    """Two knobs, and what a filter does that is given them."""
    from tests.bench.its_hub_seam import resampling_kept, their_filter

    world = fake_world("", FakeEngine(Table({}, {"a\n": 1.0})), lambda _, steps: 0.5, [PROBLEM])
    parts = (world.engine, world.verifier, world.task, PROBLEM, world.sampling)
    theirs = await their_filter(*parts, num_particles=2, max_steps=3, seed=0)
    ours = await replace(world, max_steps=3).ours(PROBLEM, 2, seed=0)
    kept = ParticleFilter(2, 3, world.sampling, resampling="systematic").resampling
    return [
        [
            "`max_steps` = 3, a policy that never ends",
            f"{len(ours.split())} steps",
            f"{max(theirs.steps_used_lst)} steps",
        ],
        ["resampling = systematic", kept, resampling_kept("systematic")],
    ]


async def report(args: argparse.Namespace) -> str:
    """All tables."""
    answers = [row for n in args.seeds for row in await compare_answers(args.particles, n)]
    columns = [f"N = {args.particles}", "seeds", *(f"answer {a}" for a in ANSWERS), "chi-square", "p"]
    worlds = fake_worlds(args.problems)
    rows = [await compare_accuracy(w, n, FAKE_SEEDS) for w in worlds for n in args.budgets]
    if args.chain_problems:
        world = chain_world(args.chain_problems)
        rows += [await compare_accuracy(world, n, args.chain_seeds) for n in args.budgets]
        await world.engine.close()
        await world.verifier.close()
    knobs = markdown(["asked for", "ours", "its_hub"], await asked_and_got())
    return "\n\n".join([markdown(columns, answers), markdown(COLUMNS, rows), knobs])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[500, 5000], help="of the first question")
    parser.add_argument("--particles", type=int, default=4, help="N of the first question")
    parser.add_argument("--budgets", nargs="+", type=int, default=[2, 4, 8])
    parser.add_argument("--problems", type=int, default=100, help=f"of the fake task, x {FAKE_SEEDS} seeds")
    parser.add_argument("--chain-problems", type=int, default=200, help="of the task chain; 0 leaves it out")
    parser.add_argument("--chain-seeds", type=int, default=3)
    parser.add_argument("--docs", type=Path, help="a document to put the tables into")
    args = parser.parse_args()
    if find_spec("its_hub") is None:
        print("left out: its_hub is not installed (pip install -e '.[bench]')")
        return
    text = f"its_hub {version('its_hub')}.\n\n{asyncio.run(report(args))}"
    print(text)
    if args.docs is not None:
        write_text("its_hub", text)
        args.docs.write_text(filled(args.docs.read_text(), "its_hub", text))


if __name__ == "__main__":
    main()
