"""A finished run of independent samples is extended: its samples stay, the missing ones are drawn."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.backend import DirectBackend
from orchestrator.errors import ConfigError
from orchestrator.protocols import Completion, Failure, GenerateRequest
from orchestrator.runs.execution import Run, Status
from orchestrator.runs.point import growing_keys, make_run
from orchestrator.search.account import Limits
from orchestrator.search.strategy import Strategy
from orchestrator.storage.atomic import json_bytes
from orchestrator.storage.journal import JOURNAL
from orchestrator.storage.results import read_results
from orchestrator.storage.run_directory import open_run_dir
from orchestrator.storage.samples import SAMPLES, StoredLines, set_aside
from orchestrator.stored.engine import StoredEngineConfig
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier, TokenLatency
from orchestrator.types import Denoising, Sampling
from strategies import BestOfN, Hex, ParticleFilter, SelfConsistency
from tests.fake_plans import fake_conf, fake_plan
from tests.in_process import run_here

TASK = FakeTask(num_problems=5)
SAMPLING = Sampling(max_tokens=64)
METHODS: dict[str, Any] = {
    "best_of_n": lambda n: BestOfN(n, SAMPLING),
    "in waves": lambda n: SelfConsistency(n, SAMPLING, weight="reward", wave_size=2),
    "hex": lambda n: Hex(n, Denoising(gen_length=32), (4, 8, 16)),
}


def make(
    run_dir: Path, strategy: Strategy, budget: int, engine: FakeEngine, *, keep: bool = False, **parts: Any
) -> Run:
    plan = fake_plan(run_dir, TASK, strategy, keep_journal=keep, **parts)
    config = {"budget": budget, "strategy": {strategy.budget_knob: budget}}  # type: ignore[attr-defined]
    earlier = open_run_dir(run_dir, config, [], resume=True, growing=growing_keys(plan))
    run = make_run(plan, DirectBackend(engine, FakeVerifier()), earlier)
    run.console = Console(quiet=True)
    return run


def solve(run_dir: Path, strategy: Strategy, budget: int, **how: Any) -> FakeEngine:
    """Run, or extend; return the engine with its requests."""
    engine = how.pop("engine", None) or FakeEngine()
    with asyncio.Runner() as runner:
        assert make(run_dir, strategy, budget, engine, **how).execute({}, runner) is Status.FINISHED
    return engine


def lines_of(run_dir: Path) -> list[dict[str, Any]]:
    lines = sorted(read_results(run_dir), key=lambda line: line["problem_id"])
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.heavy
def test_an_extended_run_is_one_of_the_larger_budget(method: str, keep: bool, tmp_path: Path) -> None:
    """Line by line and in every figure; what was drawn before is not requested again."""
    solve(tmp_path / "whole", METHODS[method](9), 9)
    first = solve(tmp_path / "run", METHODS[method](4), 4, keep=keep)
    second = solve(tmp_path / "run", METHODS[method](9), 9, keep=keep)
    assert lines_of(tmp_path / "run") == lines_of(tmp_path / "whole")
    assert not {r.seed for r in first.requests} & {r.seed for r in second.requests}
    assert not (tmp_path / "run" / SAMPLES).exists()
    again = solve(tmp_path / "run", METHODS[method](9), 9, keep=keep)
    assert again.requests == []


class Interrupted(FakeEngine):
    """The run is interrupted once it has asked for three problems."""

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        if len({r.home for r in self.requests}) == 3:
            signal.raise_signal(signal.SIGINT)
            await asyncio.get_running_loop().create_future()
        return await super().generate(requests)


@pytest.mark.heavy
def test_an_extension_that_was_interrupted_continues(tmp_path: Path) -> None:
    solve(tmp_path / "whole", METHODS["best_of_n"](9), 9)
    solve(tmp_path, METHODS["best_of_n"](4), 4)
    with asyncio.Runner() as runner:
        run = make(tmp_path, METHODS["best_of_n"](9), 9, Interrupted(), concurrency=1)
        assert run.execute({}, runner) is Status.INTERRUPTED
    num_done = len(lines_of(tmp_path))
    assert 0 < num_done < TASK.num_problems and len(StoredLines(tmp_path)) == TASK.num_problems
    with pytest.raises(ConfigError, match="differs from the run"):
        make(tmp_path, METHODS["best_of_n"](4), 4, FakeEngine())
    engine = solve(tmp_path, METHODS["best_of_n"](9), 9)
    assert len(engine.requests) == 5 * (TASK.num_problems - num_done)
    assert lines_of(tmp_path) == lines_of(tmp_path / "whole")


def test_one_that_was_killed_as_it_began_is_still_the_smaller_run(tmp_path: Path) -> None:
    """Between the two files: nothing is drawn for the old budget, and the new one continues as usual."""
    solve(tmp_path, METHODS["best_of_n"](4), 4)
    before = lines_of(tmp_path)
    set_aside(tmp_path)
    shutil.copytree(tmp_path, other := tmp_path.parent / f"{tmp_path.name}-other")
    assert solve(tmp_path, METHODS["best_of_n"](4), 4).requests == []
    assert lines_of(tmp_path) == before
    assert len(solve(other, METHODS["best_of_n"](6), 6).requests) == 2 * TASK.num_problems


def test_samples_are_never_lost_between_two_files(tmp_path: Path) -> None:
    """Newer lines win over older ones, and a problem that has none keeps its older one."""
    solve(tmp_path, METHODS["best_of_n"](4), 4)
    older = {line["problem_id"]: line for line in read_results(tmp_path)}
    set_aside(tmp_path)
    set_aside(tmp_path)
    assert dict(StoredLines(tmp_path)) == older
    newer = {**older["fake-1"], "seconds": 77.0}
    (tmp_path / "results.jsonl").write_bytes(json_bytes(newer, indent=None))
    set_aside(tmp_path)
    assert dict(StoredLines(tmp_path)) == older | {"fake-1": newer}


def test_limits_hold_over_both_parts(tmp_path: Path) -> None:
    limits = Limits(generated_tokens=150, reward_calls=6)
    solve(tmp_path / "whole", METHODS["best_of_n"](9), 9, limits=limits)
    solve(tmp_path / "run", METHODS["best_of_n"](4), 4, limits=limits)
    solve(tmp_path / "run", METHODS["best_of_n"](9), 9, limits=limits)
    assert lines_of(tmp_path / "run") == lines_of(tmp_path / "whole")
    assert any(line["stopped_by"] for line in lines_of(tmp_path / "run"))


def test_a_smaller_budget_and_a_search_are_refused(tmp_path: Path) -> None:
    solve(tmp_path / "samples", METHODS["best_of_n"](4), 4)
    with pytest.raises(ConfigError, match=r"^budget=2: differs from .*; a larger one than its 4 extends it"):
        make(tmp_path / "samples", METHODS["best_of_n"](2), 2, FakeEngine())
    other = {"budget": 8, "strategy": {"num_samples": 8}, "seed": 1}
    growing = ("budget", "strategy.num_samples")
    with pytest.raises(ConfigError, match=r"^seed=1: differs from the run in"):  # not the budget
        open_run_dir(tmp_path / "samples", other, [], resume=True, growing=growing)
    search = {n: ParticleFilter(num_particles=n, max_steps=8, sampling=SAMPLING) for n in (2, 4)}
    solve(tmp_path / "search", search[2], 2)
    with pytest.raises(ConfigError, match="budget=4: differs from the run"):
        make(tmp_path / "search", search[4], 4, FakeEngine())


def test_an_import_is_not_extended(tmp_path: Path) -> None:
    """Its engine reads the results that an extension would set aside, and has no more samples than they."""
    plan = fake_plan(tmp_path, TASK, METHODS["best_of_n"](4))
    assert growing_keys(plan) == ("budget", "strategy.num_samples")
    for path, keys in ((tmp_path, ()), (tmp_path / "other", growing_keys(plan))):
        assert growing_keys(replace(plan, engine=StoredEngineConfig(path=str(path)))) == keys


def test_a_run_with_unfinished_problems_is_finished_first(tmp_path: Path) -> None:
    solve(tmp_path, METHODS["best_of_n"](4), 4)
    (tmp_path / JOURNAL).mkdir()
    (tmp_path / JOURNAL / "fake-9.jsonl").write_text("{}\n")
    before = lines_of(tmp_path)
    with pytest.raises(ConfigError, match=r"budget=9: extends a finished run; .* 1 problems that are unfin"):
        make(tmp_path, METHODS["best_of_n"](9), 9, FakeEngine())
    assert lines_of(tmp_path) == before


def test_time_and_overhead_add_up(tmp_path: Path) -> None:
    engine = FakeEngine(latency=TokenLatency(0.001))
    solve(tmp_path, METHODS["best_of_n"](4), 4, engine=engine)
    before = {line["problem_id"]: line["seconds"] for line in read_results(tmp_path)}
    solve(tmp_path, METHODS["best_of_n"](9), 9, engine=engine)
    assert all(line["seconds"] > before[line["problem_id"]] for line in read_results(tmp_path))


@pytest.mark.heavy
def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = fake_conf(tmp_path / "conf")
    assert run_here(capsys, *chosen, "budget=3", "run_dir=run").returncode == 0
    assert run_here(capsys, *chosen, "budget=6", "run_dir=whole").returncode == 0
    done = run_here(capsys, "resume=run", "budget=6")
    assert done.returncode == 0, done.stderr
    assert lines_of(tmp_path / "run") == lines_of(tmp_path / "whole")
    assert run_here(capsys, "resume=run").returncode == 0  # it is a run of the larger budget now
