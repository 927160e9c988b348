"""Our particle filter beside that of its_hub 1.2.0: ``python -m tests.bench.bench_its_hub``.

The same engine and verifier stand behind both (tests/bench/its_hub_seam.py), with the same N, temperature and
step limit. Three questions:

1. With its parity options (``final_resample=true``, multinomial, absolute) do we give the same distribution
   of final answers? A two-sample chi-square test over many seeds, on a language whose trajectories end after
   one to three steps; the same test must reject our default, which resamples one time less.
2. How often does each lose the best finished particle between its last reward and the answer?
3. Whose answers are right more often, on fakes with a confident and with a hesitant verifier, and on the
   shipped models?

Needs its_hub (the bench extra), and says so where it is not installed. ``--docs`` puts the tables between the
comments of a document.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from actors.fake import Copying, FakeEngine, FakeTask, FakeVerifier, RewardFunction, letters_right
from orchestrator.protocols import Engine, Task, Verifier
from orchestrator.session import Session
from orchestrator.statistics import paired_interval
from orchestrator.tasks.chain import ChainTask
from orchestrator.types import Problem, Reward, Sampling
from strategies.particle_filter import ParticleFilter
from tests.bench.curves import filled, markdown, short
from tests.bench.sweeps import interval
from tests.bench.two_samples import two_sample_test
from tests.toy import PROBLEM, Table

PARITY = {"final_resample": True, "resampling": "multinomial", "weighting": "absolute"}
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
COLUMNS = ["", "N", "ours, default", "its_hub", "difference", "best lost, ours", "best lost, its_hub"]
FAKE_SEEDS = 20


@dataclass(frozen=True)
class World:
    """What both libraries search in."""

    name: str
    task: Task
    engine: Engine
    verifier: Verifier
    sampling: Sampling
    max_steps: int
    problems: tuple[Problem, ...]

    async def ours(self, problem: Problem, num_particles: int, seed: int, **knobs: Any) -> str:
        """The text of our answer."""
        strategy = ParticleFilter(num_particles, self.max_steps, self.sampling, **knobs)
        session = Session(problem, engine=self.engine, verifier=self.verifier, task=self.task, seed=seed)
        solution = await strategy.solve(session)
        assert solution.answer_index is not None
        return solution.trajectories[solution.answer_index].text

    async def theirs(self, problem: Problem, num_particles: int, seed: int) -> str:
        """The text of their answer."""
        from tests.bench.its_hub_seam import their_filter

        # They take one step more than they are asked for.
        result = await their_filter(
            self.engine, self.verifier, self.task, problem, self.sampling,
            num_particles=num_particles, max_steps=self.max_steps - 1, seed=seed,
        )  # fmt: skip
        return str(result.the_one["content"])


def fake_world(name: str, engine: FakeEngine, reward: RewardFunction, problems: Iterable[Problem]) -> World:
    """Words of four letters, or the toy language; the policy as it is, at temperature 1."""
    sampling = Sampling(temperature=1.0, max_tokens=16)
    return World(name, FakeTask(), engine, FakeVerifier(reward), sampling, 5, tuple(problems))


def hesitant(question: str, steps: tuple[str, ...]) -> float:
    """The fakes' reward with a third of its log-odds: as good a ranking, less sure of it."""
    return Reward(Reward.from_value(letters_right(question, steps)).log_odds / 3).value


def chain_world(num_problems: int) -> World:
    """The shipped models, in this process."""
    import torch

    from actors.configs import TransformersEngine, TransformersVerifier

    torch.set_num_threads(1)
    task = ChainTask()
    engine = TransformersEngine("embedded:chain-policy", template="{question}\n").build()
    verifier = TransformersVerifier("embedded:chain-verifier").build()
    sampling = Sampling(temperature=0.8, max_tokens=task.max_step_tokens)
    problems = tuple(task.problems(0, num_problems))
    return World("chain, shipped models", task, engine, verifier, sampling, task.max_steps, problems)


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


def forget(world: World) -> None:
    """Fakes keep every request: drop those of earlier runs."""
    for fake in (world.engine, world.verifier):
        assert isinstance(fake, FakeEngine | FakeVerifier)
        fake.requests.clear()


def lost_best(world: World, num_particles: int, text: str) -> bool:
    """Whether the answer is worth less than the best of the last step; all particles end there."""
    verifier = world.verifier
    assert isinstance(verifier, FakeVerifier)
    last = verifier.requests[-num_particles:]
    best = max(verifier.reward(r.question, r.steps) for r in last)
    return verifier.reward(last[0].question, tuple(text.splitlines(keepends=True))) < best - 1e-9


async def compare_fakes(world: World, budgets: Sequence[int], num_seeds: int) -> list[list[str]]:
    """Questions 2 and 3 on a fake world: a row for each N."""
    table = []
    for n in budgets:
        right: dict[str, list[list[float]]] = {"ours": [], "theirs": []}
        lost = Counter[str]()
        for problem in world.problems:
            for name, solve in (("ours", world.ours), ("theirs", world.theirs)):
                texts = []
                for seed in range(num_seeds):
                    forget(world)
                    texts.append(await solve(problem, n, seed))
                    lost[name] += lost_best(world, n, texts[-1])
                right[name].append(await _graded(world, problem, texts))
        num_runs = len(world.problems) * num_seeds
        shares = [f"{100 * lost[name] / num_runs:.1f} %" for name in ("ours", "theirs")]
        table.append(_row(world, n, right["ours"], right["theirs"], shares))
    return table


async def compare_models(world: World, budgets: Sequence[int], num_seeds: int) -> list[list[str]]:
    """Question 3 on real models, many problems in flight: a row for each N."""
    limit = asyncio.Semaphore(32)

    async def rows_of(solve: Any, n: int) -> list[list[float]]:
        async def one(problem: Problem) -> list[float]:
            async with limit:
                return await _graded(world, problem, [await solve(problem, n, s) for s in range(num_seeds)])

        return list(await asyncio.gather(*(one(p) for p in world.problems)))

    return [
        _row(world, n, await rows_of(world.ours, n), await rows_of(world.theirs, n), ["", ""])
        for n in budgets
    ]


async def _graded(world: World, problem: Problem, texts: Sequence[str]) -> list[float]:
    return [float(await world.task.grade(world.task.extract(t), problem.answer)) for t in texts]


def _row(
    world: World, n: int, ours: list[list[float]], theirs: list[list[float]], lost: Sequence[str]
) -> list[str]:
    cells = [_interval(interval(rows)) for rows in (ours, theirs)]
    return [world.name, str(n), *cells, _interval(paired_interval(ours, theirs), signed=True), *lost]


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
    words, engine = list(FakeTask().problems(0, args.problems)), FakeEngine(Copying(stop=0.0))
    confident = fake_world("fakes, confident verifier", engine, letters_right, words)
    doubtful = fake_world("fakes, hesitant verifier", engine, hesitant, words)
    rows = [row for w in (confident, doubtful) for row in await compare_fakes(w, args.budgets, FAKE_SEEDS)]
    if args.chain_problems:
        world = chain_world(args.chain_problems)
        rows += await compare_models(world, args.budgets, args.chain_seeds)
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
    parser.add_argument("--budgets", nargs="+", type=int, default=[2, 4, 8, 16])
    parser.add_argument("--problems", type=int, default=100, help=f"of the fake task, x {FAKE_SEEDS} seeds")
    parser.add_argument("--chain-problems", type=int, default=100, help="of the task chain; 0 leaves it out")
    parser.add_argument("--chain-seeds", type=int, default=3)
    parser.add_argument("--docs", type=Path, help="a document to put the tables into")
    args = parser.parse_args()
    if find_spec("its_hub") is None:
        print("left out: its_hub is not installed (pip install -e '.[bench]')")
        return
    text = f"its_hub {version('its_hub')}.\n\n{asyncio.run(report(args))}"
    print(text)
    if args.docs is not None:
        args.docs.write_text(filled(args.docs.read_text(), "its_hub", text))


if __name__ == "__main__":
    main()
