"""A search over pipelines: the grid, successive halving against planted arms, and its command line."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from orchestrator.architectures.__main__ import main, ranking_table, search, strategy_file
from orchestrator.architectures.grid import LASTS, Architecture, grid
from orchestrator.architectures.halving import Measured, Outcome, halve
from orchestrator.architectures.measuring import Runs, first_problem
from orchestrator.architectures.request import read_request
from orchestrator.backend import Backend, DirectBackend
from orchestrator.config.build import Range
from orchestrator.config.plan import Plan
from orchestrator.config.policies import NO_POLICIES, Policies
from orchestrator.errors import ConfigError
from orchestrator.runs.execution import Status
from orchestrator.runs.main import process_as_it_was
from orchestrator.runs.models import Models
from orchestrator.runs.point import run_point
from orchestrator.search.prices import Price
from orchestrator.storage.run_files import read_summary
from orchestrator.testing import FakeEngine, FakeTask
from orchestrator.types import Sampling
from orchestrator.verifiers.none import NoVerifier
from strategies import SelfConsistency
from tests.fake_plans import fake_conf, fake_plan
from tests.in_process import run_here


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        (Architecture(samples=8), "generate 8 > select vote"),
        (Architecture(samples=1, fusions=2, ranked=True, last="fuse"), "generate 1"),
        (Architecture(samples=8, fusions=1, fusers=1), "generate 8 > fuse 1"),
        (
            Architecture(samples=8, fusions=2, fusers=4, last="reward"),
            "generate 8 > fuse 4 > fuse 4 > select reward",
        ),
        (
            Architecture(("engine", "draft"), 1, ranked=True, last="fuse", judge="strong"),
            "generate 1 engine+draft > critique strong > rank 5 strong > fuse 1",
        ),
    ],
)
def test_an_architecture_is_layers(architecture: Architecture, name: str) -> None:
    assert architecture.name == name


def test_a_grid_holds_each_pipeline_once() -> None:
    """What no draft is left for makes no other pipeline: one sample has no fusions."""
    found = grid(
        policies=[("engine",)],
        samples=[1, 8],
        fusions=[0, 1],
        fusers=[1, 4],
        ranked=[False, True],
        last=LASTS,
    )
    names = [each.name for each in found]
    assert len(set(names)) == len(names) and names.count("generate 1") == 1
    # 8 samples: 5 selections, one fusion that is ranked or not, and 4 fusers, ranked or not, with 6 lasts.
    assert len(names) == 1 + 5 + 2 + 12
    with pytest.raises(ConfigError, match="samples=0"):
        Architecture(samples=0)


def worlds(rates: list[float], seed: int) -> tuple[list[list[float]], list[tuple[int, int, int]]]:
    """Right answers of arms on problems of different ease, and an empty record of what was measured."""
    rng = random.Random(seed)
    return [[float(rng.random() < rate) for _ in range(1024)] for rate in rates], []


def searched(
    rates: list[float], seed: int = 0, cost: float = math.inf, most: int = 1024
) -> tuple[Outcome, list[tuple[int, int, int]]]:
    right, measured = worlds(rates, seed)

    def measure(arm: int, offset: int, num: int) -> Measured:
        measured.append((arm, offset, num))
        return Measured(tuple(right[arm][offset : offset + num]), (10.0 + arm,) * num, 10.0 * num)

    return halve(len(rates), measure, first=32, num_problems=most, cost=cost), measured


def test_halving_finds_the_planted_best_of_64() -> None:
    """At a seventh of what all 64 would cost on as many problems as the last two see."""
    for seed in range(6):
        planted = random.Random(seed).randrange(64)
        outcome, measured = searched([0.85 if i == planted else 0.45 for i in range(64)], seed)
        assert outcome.best.number == planted and outcome.stopped == "one is left"
        assert [r.num_problems for r in outcome.rounds] == [32, 64, 128, 256, 512, 1024]
        assert [len(r.ranking) for r in outcome.rounds] == [64, 32, 16, 8, 4, 2]
        assert outcome.spent == sum(10.0 * num for _, _, num in measured) < 64 * 1024 * 10 / 7


@given(
    st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=9), st.integers(1, 5), st.integers(1, 40)
)
def test_no_problem_is_measured_twice_and_every_arm_is_ranked(
    rates: list[float], first: int, most: int
) -> None:
    right, _ = worlds(rates, 1)
    seen: set[tuple[int, int]] = set()

    def measure(arm: int, offset: int, num: int) -> Measured:
        problems = {(arm, i) for i in range(offset, offset + num)}
        assert not problems & seen and max(i for _, i in problems) < most
        seen.update(problems)
        return Measured(tuple(right[arm][offset : offset + num]), (1.0,) * num, 1.0)

    outcome = halve(len(rates), measure, first=first, num_problems=most)
    assert sorted(outcome.ranking) == list(range(len(rates)))
    assert {arm for arm, _ in seen} == set(range(len(rates)))


def test_of_equal_arms_the_cheaper_is_better() -> None:
    def measure(arm: int, _offset: int, num: int) -> Measured:
        return Measured((1.0,) * num, (float(9 - arm),) * num, 0.0)

    assert halve(8, measure, first=1, num_problems=8).ranking[0] == 7
    one = halve(1, measure, first=4, num_problems=8)
    assert (one.stopped, len(one.best.right), one.ranking) == ("one is left", 4, (0,))
    few = halve(4, measure, first=4, num_problems=4)
    assert (few.stopped, few.ranking) == ("no problem is left", (3, 2, 1, 0))


def test_a_cost_ends_the_search() -> None:
    """A round that it cuts off decides nothing; the first decides among what was measured."""
    rates = [0.2, 0.9, 0.5, 0.6]
    whole, _ = searched(rates, cost=4 * 320)
    assert (whole.stopped, whole.ranking[0], len(whole.rounds)) == ("the cost is reached", 1, 1)
    cut, measured = searched(rates, cost=4 * 320 + 1)
    assert len(measured) == 5 and cut.ranking == whole.ranking
    early, measured = searched(rates, cost=600)
    assert (len(measured), early.ranking[0]) == (2, 1) and sorted(early.ranking) == [0, 1, 2, 3]
    assert (early.arms[3].accuracy, early.arms[3].cost) == (0.0, math.inf)


def test_the_table_and_the_file_say_what_was_found() -> None:
    architectures = [Architecture(samples=1), Architecture(samples=8, ranked=True, last="fuse")]
    outcome, _ = searched([0.2, 0.9])
    table = ranking_table(outcome, architectures)
    assert (table.row_count, next(iter(table.columns[1].cells))) == (2, architectures[1].name)
    unseen, _ = searched([0.2, 0.9], cost=1)
    assert list(ranking_table(unseen, architectures).columns[2].cells) == ["32", "0"]
    text = strategy_file(architectures[1], outcome)
    assert text.startswith("# generate 8 > critique > rank 5 > fuse 1: chosen of 2 by python -m")
    node = OmegaConf.to_container(OmegaConf.create(text))
    assert node == {"defaults": ["pipeline", "_self_"], "layers": architectures[1].layers}


class Fakes(Models):
    """The fakes, with what they are asked."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = FakeEngine()

    def of(self, plan: Plan) -> Backend:
        return DirectBackend(self.engine)


def run_samples(arguments: Sequence[str], models: Models, others: Policies = NO_POLICIES) -> Status:
    """Run a command line of the search, with the vote over its samples in place of the pipeline."""
    given = {key: value.strip("'") for key, _, value in (a.partition("=") for a in arguments)}
    offset, limit = int(given["task.offset"]), int(given["task.limit"])
    num = int(re.findall(r"samples:(\d+)", given["strategy.layers"])[0])
    strategy = SelfConsistency(num, Sampling(max_tokens=64))
    folder, task = Path(given["run_dir"]), FakeTask(num_problems=offset + limit)
    plan = fake_plan(folder, task, strategy, range=Range(offset, limit), verifier=NoVerifier())
    settings = plan.settings.model_copy(update={"cassette": given["cassette"]})
    return run_point(replace(plan, settings=settings, others=others), models, {})


def test_a_search_runs_what_is_new(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pipelines that share their samples share their cost; a search that is started again has none."""
    axes = ["samples=1,2", "fusions=0", "last=vote", "first=1", "problems=2"]
    request = read_request([str(tmp_path / "search"), f"to={tmp_path / 'conf/strategy/best.yaml'}", *axes])
    for num_calls in (2, 0):
        with process_as_it_was(), closing(models := Fakes()):
            runs = Runs(request.folder, request.architectures, (), models, run=run_samples)
            assert search(request, runs) is Status.FINISHED
        seen = {(r.home, r.seed) for r in models.engine.requests}
        assert len(models.engine.requests) == len(seen) >= num_calls
        assert bool(seen) == bool(num_calls)
        told = capsys.readouterr().out
    assert f"strategy: {request.to}" in told and " generated tokens\n" in told
    samples = {int(name) for name in re.findall(r"generate (\d)", request.to.read_text())}
    assert samples <= {1, 2} and request.to.read_text().startswith("# generate ")


def test_at_prices_what_is_spent_is_money(tmp_path: Path) -> None:
    """Repeated replies count in a pipeline's own cost, and are not spent."""

    def run_priced(arguments: Sequence[str], models: Models) -> Status:
        return run_samples(arguments, models, Policies(prices={"engine": Price(generated=1e6)}))

    axes = ["samples=2,4", "fusions=0", "last=vote", "first=2", "problems=2", "cost=1000"]
    request = read_request([str(tmp_path), f"to={tmp_path / 'best.yaml'}", *axes])
    with process_as_it_was(), closing(Fakes()) as models:
        runs = Runs(request.folder, request.architectures, (), models, run=run_priced, priced=True)
        both = [runs.measure(arm, 0, 2) for arm in range(2)]
        assert both[0].spent == sum(both[0].costs)
        assert both[0].spent + both[1].spent == sum(both[1].costs)
        free = Runs(tmp_path / "free", request.architectures, (), models, run=run_samples, priced=True)
        with pytest.raises(ConfigError, match="needs the prices of policies"):
            free.measure(0, 0, 2)


@pytest.mark.parametrize("status", [Status.BAD_CONFIGURATION, Status.INTERRUPTED])
def test_a_run_that_is_refused_or_interrupted_ends_the_search(status: Status, tmp_path: Path) -> None:
    request = read_request([str(tmp_path), f"to={tmp_path / 'best.yaml'}"])
    with closing(Fakes()) as models:
        runs = Runs(tmp_path, request.architectures, (), models, run=lambda *_: status)
        assert search(request, runs) is status
    assert not request.to.exists()


def test_a_command_line_is_read(tmp_path: Path) -> None:
    own = ["policies=engine,engine+draft", "samples=2", "fusions=0", "ranked=true", "last=vote,reward"]
    found = read_request([str(tmp_path), "to=a/strategy/b.yaml", "tokens=5000", *own, "task=gsm8k", "seed=3"])
    assert [each.name for each in found.architectures] == [
        "generate 2 > select vote",
        "generate 2 > select reward",
        "generate 2 engine+draft > select vote",
        "generate 2 engine+draft > select reward",
    ]
    assert (found.overrides, found.most, found.priced) == (["task=gsm8k", "seed=3"], 5000.0, False)
    assert (first_problem(found.overrides), first_problem(["task.offset=7"])) == (0, 7)
    assert math.isinf(read_request([str(tmp_path), "to=a.yaml"]).most)
    priced = read_request([str(tmp_path), "to=a.yaml", "cost=0.5", "engine.price.generated=15"])
    assert (priced.most, priced.priced, priced.first) == (0.5, True, 8)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "DIR=null: must be one directory"),
        (["x"], "to=null: must be the file to write, and end in .yaml"),
        (["x", "to=a.yaml", "samples=0"], "samples=0: must be a whole number of 1 or more"),
        (
            ["x", "to=a.yaml", "last=vote,rewards"],
            "must be one of vote, reward, random, mbr, checklist, fuse",
        ),
        (["x", "to=a.yaml", "ranked=yes"], "ranked=yes: must be one of false, true"),
        (["x", "to=a.yaml", "strategy=best_of_n"], "strategy=best_of_n: is set by the search"),
        (["x", "to=a.yaml", "+strategy.layers=[]"], "strategy.layers=[]: is set by the search"),
        (["x", "to=a.yaml", "cost=0"], "cost=0: must be above 0 and finite"),
        (["x", "to=a.yaml", "cost=much"], "cost=much: must be above 0 and finite"),
        (["x", "to=a.yaml", "cost=1", "tokens=9"], "cost=1: is another unit of tokens=: give one of them"),
        (["x", "to=a.yaml", "budget=8"], "budget=8: is set by the search: leave it out"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments or ["to=a.yaml"]) == 2
    assert line in capsys.readouterr().err


def test_a_wrong_offset_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"task\.offset=x: must be a whole number"):
        first_problem(["task.offset=x"])
    assert (main([]), main(["--help"])) == (2, 0)
    assert "usage: python -m orchestrator.architectures DIR" in capsys.readouterr().out


@pytest.mark.heavy
def test_a_command_searches_pipelines_and_its_file_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real runs of strategy=pipeline, and a run of the strategy that they chose."""
    conf = tmp_path / "conf"
    kept = [a for a in fake_conf(conf)[2:] if a != "strategy=best_of_n"]
    lengths = "strategy.role_sampling.max_tokens=64"
    axes = ["samples=2", "fusions=0,1", "fusers=1", "ranked=false", "last=vote", "first=2", "problems=2"]
    mine = [*kept, lengths, f"hydra.searchpath=['file://{conf}']"]
    found = conf / "strategy" / "best.yaml"
    assert main([str(tmp_path / "search"), f"to={found}", *axes, *mine]) == 0
    told = capsys.readouterr().out
    for pipeline in ("generate 2 > select vote", "generate 2 > fuse 1"):
        assert pipeline in told
    summaries = [read_summary(f.parent, "DIR") for f in (tmp_path / "search").rglob("summary.json")]
    asked = sum(summary["cassette"]["asked_tokens"] for summary in summaries)
    assert f"{asked:,} generated tokens" in told
    assert asked < sum(summary["usage"]["generated_tokens"] for summary in summaries)
    command = ["--config-dir", str(conf), *kept, lengths, "strategy=best", f"run_dir={tmp_path / 'run'}"]
    assert run_here(capsys, *command).returncode == 0
    assert main([str(tmp_path / "other"), f"to={found}", *axes, *mine, "task.nonsense=1"]) == 2
