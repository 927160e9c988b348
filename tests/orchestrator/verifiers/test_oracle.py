"""The oracle knows the answers, and whatever it touches says so."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console

from orchestrator.backend import DirectBackend
from orchestrator.config.plan import Plan, make_plan
from orchestrator.observe.progress import summary_table
from orchestrator.protocols import Failure, ScoreReply, ScoreRequest
from orchestrator.search.controller import Controller
from orchestrator.storage.result_lines import oracle_mark
from orchestrator.testing import FakeEngine, FakeTask
from orchestrator.types import Sampling
from orchestrator.verifiers.oracle import UNDECIDED, Oracle, OracleConfig
from orchestrator.verifiers.self_certainty import SelfCertainty
from strategies.best_of_n import BestOfN

CONF = Path(__file__).parents[3] / "conf"
NO_VERIFIER = DirectBackend(FakeEngine())


def request(*steps: str, num_locked: int = 0, home: str = "p") -> ScoreRequest:
    return ScoreRequest(home, "abc", steps, num_locked)


async def test_the_grader_decides_once_there_is_an_answer() -> None:
    oracle = Oracle(FakeTask(), {"p": "abc"})
    right, wrong, locked = await oracle.score(
        [request("a\n", "=A bc\n"), request("=abd\n"), request("a\n", "b\n", num_locked=1)]
    )
    assert isinstance(right, ScoreReply) and isinstance(wrong, ScoreReply) and isinstance(locked, ScoreReply)
    assert [r.log_odds for r in right.rewards] == [0.0, math.inf]
    assert [r.value for r in wrong.rewards] == [0.0]
    assert locked.rewards == (UNDECIDED,)
    (whole,) = await Oracle(FakeTask(), {"p": "abc"}, "whole").score([request("a\n", "=abc\n")])
    assert isinstance(whole, ScoreReply) and [r.value for r in whole.rewards] == [1.0]


async def test_a_problem_that_it_does_not_know_is_an_error() -> None:
    (reply,) = await Oracle(FakeTask(), {}).score([request("a\n")])
    assert reply == Failure("VerifierError", "the oracle has no reference answer for problem p")


async def test_best_of_n_with_the_oracle_is_pass_at_n() -> None:
    """The upper bound of every way to choose: right wherever some candidate is."""
    task = FakeTask(num_problems=40)
    oracle = Oracle(task, {p.id: p.answer for p in task.problems(0, None)})
    strategy = BestOfN(num_samples=4, sampling=Sampling(temperature=1.0, max_tokens=40))
    results: list[Any] = []
    await Controller(strategy, FakeEngine(), oracle, task).run(task.problems(0, None), results.append)
    right = [r.correct for r in results]
    assert right == [any(c.correct for c in r.candidates) for r in results]
    assert 0 < sum(right) < len(right)


def plan_with(verifier: str, tmp_path: Path) -> Plan:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(
            "config", [f"verifier={verifier}", "strategy=best_of_n", f"run_dir={tmp_path}", "task.limit=3"]
        )
    OmegaConf.resolve(config)
    names = {"strategy": "best_of_n", "task": "chain", "engine": "embedded", "verifier": verifier}
    return make_plan(config, names, str(tmp_path), [])


def test_it_is_built_in_the_controller_with_the_answers_of_the_run(tmp_path: Path) -> None:
    plan = plan_with("oracle", tmp_path)
    assert plan.knows_answers
    assert plan.verifier.of_replicas is None
    oracle = plan.verifier.open(NO_VERIFIER, plan.task, plan.references)
    assert isinstance(oracle, Oracle)
    assert oracle.references == {p.id: p.answer for p in plan.task.problems(0, 3)}
    assert OracleConfig().open(NO_VERIFIER, plan.task, {}).info.batch_invariant


def test_a_local_verifier_need_not_know_the_answers(tmp_path: Path) -> None:
    plan = plan_with("self_certainty", tmp_path)
    assert not plan.knows_answers
    assert plan.references == {}
    assert isinstance(plan.verifier.open(NO_VERIFIER, plan.task, {}), SelfCertainty)


def test_its_numbers_are_marked() -> None:
    assert oracle_mark({"oracle": True}) == {"oracle": True}
    assert oracle_mark({"verifier": "embedded"}) == {}
    usage = dict.fromkeys(("generated_tokens", "reward_calls", "cached_tokens", "prompt_tokens"), 1)
    summary: dict[str, Any] = {
        "strategy": "best_of_n",
        "task": "chain",
        "budget": 4,
        "seed": 0,
        "usage": usage,
        "overhead": {"retried_tokens": 0},
        "accuracy": 1.0,
        "accuracy_ci95": [0.5, 1.0],
        "num_problems": 1,
        "pass_at_budget": 1.0,
        "num_errors": 0,
        "wall_seconds": 1.0,
        "complete": True,
    }
    json.dumps(summary)
    assert "UPPER BOUND" in shown({**summary, "oracle": True})
    assert "UPPER BOUND" not in shown(summary)


def shown(summary: dict[str, Any]) -> str:
    console = Console(width=100, record=True, quiet=False)
    with console.capture() as capture:
        console.print(summary_table(summary))
    return capture.get()


@pytest.mark.slow
def test_a_run_marks_every_file(tmp_path: Path) -> None:
    import subprocess
    import sys

    command = [sys.executable, "run.py", "verifier=oracle", "strategy=best_of_n", "budget=2", "task.limit=3"]
    ran = subprocess.run(
        [*command, f"run_dir={tmp_path}"],
        cwd=CONF.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert "UPPER BOUND" in ran.stdout
    assert json.loads((tmp_path / "summary.json").read_text())["oracle"] is True
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["oracle"] for line in lines] == [True] * 3
