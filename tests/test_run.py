"""The command line, for real: the shipped models on a local Ray, files, exit statuses, interruption."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.storage.results import read_results

REPOSITORY = Path(__file__).parents[1]
QUICK = ("task.limit=8", "budget=4")
RunCommand = Callable[..., "subprocess.CompletedProcess[str]"]
pytestmark = pytest.mark.heavy


def command(*arguments: str) -> list[str]:
    return [sys.executable, "run.py", *arguments]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*arguments), cwd=REPOSITORY, capture_output=True, text=True, timeout=110, check=False
    )


def summary_of(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "summary.json").read_text())  # type: ignore[no-any-return]


def answers_of(run_dir: Path) -> dict[str, Any]:
    """Everything a search decides: not seconds, not what a cache held."""
    spent = ("generated_tokens", "prompt_tokens", "reward_calls")
    return {
        line["problem_id"]: (
            line["answer"],
            line["candidates"],
            line["history"],
            [line["usage"][k] for k in spent],
        )
        for line in read_results(run_dir)
    }


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two strategies, one process; a third does not exist."""
    run_dir = tmp_path_factory.mktemp("sweep")
    done = run("-m", "strategy=particle_filter,gredy,best_of_n", *QUICK, f"run_dir={run_dir}")
    assert done.returncode == 2, done.stderr
    (mistake,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert mistake.startswith("error: [strategy=gredy] strategy=gredy: must be one of")
    assert "[2/2] strategy=best_of_n" in done.stdout and f"sweep: {run_dir}" in done.stdout
    return run_dir


@pytest.fixture(scope="module")
def undisturbed(sweep: Path) -> Path:
    """The particle filter's point of the sweep."""
    return next(p.parent for p in sweep.rglob("summary.json") if "particle_filter" in p.read_text())


def test_a_point_has_its_files(undisturbed: Path) -> None:
    summary = summary_of(undisturbed)
    assert (summary["strategy"], summary["task"]) == ("particle_filter", "chain")
    assert (summary["engine"], summary["verifier"]) == ("embedded", "embedded")
    assert summary["complete"] is True
    assert summary["num_problems"] == 8 and summary["num_errors"] == 0
    assert summary["replicas"] == {"engine": 1, "verifier": 1}
    assert summary["batch_invariant"] is True
    assert summary["accuracy_ci95"][0] <= summary["accuracy"] <= summary["accuracy_ci95"][1]
    assert summary["pass_at_budget"] >= summary["accuracy"]
    lines = read_results(undisturbed)
    for key in ("generated_tokens", "reward_calls", "reward_tokens"):
        assert summary["usage"][key] == sum(line["usage"][key] for line in lines) > 0
    assert all(len(line["candidates"]) == 4 and line["history"] for line in lines)
    assert (undisturbed / ".hydra" / "overrides.yaml").exists()
    assert len((undisturbed / "metrics.jsonl").read_text().splitlines()) == 8
    assert json.loads((undisturbed / "config.json").read_text())["budget"] == 4


def test_the_sweep_has_a_folder_a_point(sweep: Path) -> None:
    strategies = {summary_of(p.parent)["strategy"] for p in sweep.rglob("summary.json")}
    assert strategies == {"particle_filter", "best_of_n"}
    for path in sweep.rglob("summary.json"):
        assert path.parent.parent == sweep


@pytest.mark.slow
def test_replicas_and_concurrency_change_no_answer(undisturbed: Path, tmp_path: Path) -> None:
    point = ["cluster.engine_replicas=2", "cluster.verifier_replicas=2", "concurrency=1"]
    done = run(*QUICK, f"run_dir={tmp_path}", *point)
    assert done.returncode == 0, done.stderr
    assert summary_of(tmp_path)["replicas"] == {"engine": 2, "verifier": 2}
    assert answers_of(tmp_path) == answers_of(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_is_whole(number: int, status: int, tmp_path: Path) -> None:
    limit = "task.limit=200"
    process = subprocess.Popen(
        command(limit, "budget=4", f"run_dir={tmp_path}", "concurrency=4"),
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    wait_for(lambda: len(read_results(tmp_path)) >= 3, process)
    process.send_signal(number)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)  # an impatient second one changes nothing
    output, _ = process.communicate(timeout=60)
    assert process.returncode == status, output
    assert f"resume={tmp_path}" in output
    lines = (tmp_path / "results.jsonl").read_bytes()
    assert lines.endswith(b"\n")
    done = read_results(tmp_path)
    assert 3 <= len(done) < 200
    summary = summary_of(tmp_path)
    assert summary["complete"] is False and summary["num_problems"] == len(done)


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "nothing came in 90 s"
        time.sleep(0.05)


@pytest.mark.slow
def test_resume_finishes_with_the_answers_of_an_undisturbed_run(undisturbed: Path, tmp_path: Path) -> None:
    """Half of the lines are lost, one is torn and one ended in an error: all are made up for."""
    run_dir = tmp_path / "run"
    subprocess.run(["cp", "-r", str(undisturbed), str(run_dir)], check=True)
    lines = [json.dumps(line) for line in read_results(undisturbed)]
    broken = {**json.loads(lines[1]), "error": {"type": "EngineError", "message": "x"}, "answer": None}
    (run_dir / "results.jsonl").write_text("\n".join([lines[0], json.dumps(broken), lines[2], lines[3][:50]]))
    done = run(f"resume={run_dir}")
    assert done.returncode == 0, done.stderr
    assert answers_of(run_dir) == answers_of(undisturbed)
    assert len((run_dir / "results.jsonl").read_text().splitlines()) == 8
    assert summary_of(run_dir)["complete"] is True


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_in_mid_problem(undisturbed: Path, tmp_path: Path) -> None:
    """With -9, the shipped models at work: what was answered stands, and the end is that of a quiet run."""
    process = subprocess.Popen(
        command(*QUICK, "strategy=particle_filter", f"run_dir={tmp_path}", "concurrency=2"),
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    wait_for(partial(stopped_in_mid_problem, process, tmp_path), process)
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    kept, done = half_solved(tmp_path), answers_of(tmp_path)
    assert kept and 2 <= len(done) < 8 and not (tmp_path / "summary.json").exists()
    resumed = run(f"resume={tmp_path}")
    assert resumed.returncode == 0, resumed.stderr
    assert answers_of(tmp_path) == answers_of(undisturbed)
    assert done.items() <= answers_of(tmp_path).items()
    assert summary_of(tmp_path)["complete"] is True and not (tmp_path / "journal").exists()
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    parts = [i for i, line in enumerate(lines) if line["event"] in ("run_started", "run_resumed")]
    assert [lines[i]["event"] for i in parts] == ["run_started", "run_resumed"]
    begun = {x["problem"]: x for x in lines[parts[1] :] if x["event"] == "problem_started"}
    assert begun.keys().isdisjoint(done)
    assert {k: begun[k]["recorded_calls"] for k in kept} == kept


def stopped_in_mid_problem(process: "subprocess.Popen[str]", run_dir: Path) -> bool:
    """Stands still while it is looked at, as a problem may be done, and its journal gone, at any moment."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    if len(read_results(run_dir)) >= 2 and half_solved(run_dir):
        return True
    process.send_signal(signal.SIGCONT)
    return False


def half_solved(run_dir: Path) -> dict[str, int]:
    """Answered calls of each problem that has some, and no result."""
    done = {line["problem_id"] for line in read_results(run_dir)}
    calls = {f.stem: f.read_bytes().count(b"\n") for f in (run_dir / "journal").glob("*.jsonl")}
    return {k: num for k, num in calls.items() if num and k not in done}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["strategy.max_stepz=3"], "strategy.max_stepz=3: unknown key; did you mean 'strategy.max_steps'?"),
        (["cluster.address=127.0.0.1:1"], "cluster.address=127.0.0.1:1: "),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments: list[str], line: str, tmp_path: Path) -> None:
    """As a process; tests/test_bad_input.py has the others."""
    done = run(f"run_dir={tmp_path}/new", *arguments)
    assert done.returncode == 2, done.stderr
    assert line in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_results_are_never_overwritten_and_a_refusal_breaks_nothing(
    undisturbed: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "a,b=c"
    subprocess.run(["cp", "-r", str(undisturbed), str(run_dir)], check=True)
    before = (run_dir / "results.jsonl").read_bytes()
    done = run(*QUICK, f"run_dir={run_dir}")
    assert done.returncode == 2
    assert "resume=true" in done.stderr
    done = run(*QUICK, f"run_dir={run_dir}", "resume=true", "seed=5")
    assert done.returncode == 2
    assert "seed=5: differs" in done.stderr
    done = run(f"resume={run_dir}")
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    assert (run_dir / "results.jsonl").read_bytes() == before
    assert summary_of(run_dir) == summary_of(undisturbed)


def test_dry_run_loads_and_writes_nothing(tmp_path: Path) -> None:
    done = run(*QUICK, f"run_dir={tmp_path}/new", "dry_run=true")
    assert done.returncode == 0, done.stderr
    assert "placement: 1 engine replicas and 1 verifier replicas on a local Ray" in done.stdout
    assert "8 problems x budget 4" in done.stdout
    assert not (tmp_path / "new" / "results.jsonl").exists()


def test_help_is_quick_to_load_and_worth_reading() -> None:
    code = "import run, sys; sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'ray')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0
    done = run("--help")
    assert done.returncode == 0
    for word in ("strategy:", "particle_filter", "budget=N", "Exit status"):
        assert word in done.stdout
    assert os.fspath(REPOSITORY) not in done.stdout
