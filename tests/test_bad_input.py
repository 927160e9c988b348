"""What the command line refuses, in one line and with status 2; tests/test_run.py has two real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.in_process import run_here


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["stratgy=x"], "stratgy=x: unknown key; did you mean 'strategy'?"),
        (["strategy=gredy"], "strategy=gredy: must be one of"),
        (["budget=-1"], "budget=-1: must be greater than or equal to 1"),
        (["engine.model=/nonexistent"], "engine.model=/nonexistent: no such model"),
        (["task.limit=abc"], "task.limit=abc: must be a valid integer"),
        (["task.offset=10000"], "task.offset=10000: must be below 10000"),
        (["strategy.resampling=best"], "strategy.resampling=best: must be"),
        (["cluster.engine_replicas=0"], "cluster.engine_replicas=0: must be"),
        (["verifier.format=nothing"], "verifier.format=nothing: must be"),
        (["resume=/nonexistent"], "resume=/nonexistent: must be true, false or the directory of a run"),
        *(
            pytest.param(*case, marks=pytest.mark.heavy)
            for case in [
                (["budget="], "budget=: must be a valid integer"),
                (["+foo=1"], "foo=1: unknown key"),
                (["verifier=null"], "verifier=null: must be the name of a file of conf/verifier"),
                (["limits=null"], "limits=null: must be"),
                (["limits.seconds=inf"], "limits.seconds=inf: must be above 0 and finite"),
                (["engine.template=abc"], "engine.template='abc': must hold {question}"),
                (["engine.device=tpu"], "engine.device=tpu: must be"),
                (["verifier.cache_bytes=-1"], "verifier.cache_bytes=-1: must be"),
                (["strategy=greedy", "strategy.resampling=ssp"], "strategy.resampling=ssp: unknown key"),
                (["budget=(1"], "budget=(1: "),
                (["-m", "budget=(1"], "budget=(1: "),
                (["-m", "budget=range(8,4)"], "budget=range(8,4): must have at least one value"),
                (["-m", "strategy=glob(best_off_*)"], "strategy=glob(best_off_*): must have at least one"),
                (["~limits"], "limits: a run needs this key"),
                (["~cluster"], "cluster: a run needs this key"),
                (["~seed"], "seed: a run needs this key"),
                (["-m", "bugdet=1", "seed=1,2"], "bugdet=1: unknown key; did you mean 'budget'?"),
                (["task.limit=${nope}"], "Interpolation key 'nope' not found"),
                (["+task.limitt=3"], "task.limitt=3: unknown key; did you mean 'limit'?"),
                (["strategy.sampling.temp=1"], "unknown key; did you mean 'strategy.sampling.temperature'?"),
                (
                    ["strategy=astar", "strategy.num_goal=2"],
                    "unknown key; did you mean 'strategy.num_goals'?",
                ),
                (
                    ["task=countdown"],
                    "task=countdown: engine=embedded with embedded:chain-policy knows task=chain",
                ),
                (["run_dir=/dev/null/x"], "run_dir: "),
                (["--no-such-flag"], "no-such-flag"),
            ]
        ),
    ],
)
@pytest.mark.heavy
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run_here(capsys, f"run_dir={tmp_path}/new", *arguments)
    assert done.returncode == 2, done.stderr
    assert line in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    if not arguments[0].startswith("--"):
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_strategy_without_its_verifier_names_both_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run_here(capsys, f"run_dir={tmp_path}/new", "verifier=none")
    assert done.returncode == 2
    assert "strategy=particle_filter" in done.stderr and "verifier=none" in done.stderr


def test_a_bad_point_of_a_sweep_is_named_and_the_rest_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run_here(
        capsys, "-m", "budget=-1,2", "strategy=greedy", "dry_run=true", f"run_dir={tmp_path}/sweep"
    )
    assert done.returncode == 2
    assert done.stderr == "error: [budget=-1] budget=-1: must be greater than or equal to 1\n"
    assert "[1/1] budget=2" in done.stdout


def test_a_ray_job_needs_a_lasting_run_dir(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    for run_dir in ("outputs/x", "/tmp/ray/x"):
        done = run_here(capsys, f"run_dir={run_dir}")
        assert done.returncode == 2
        assert f"run_dir={run_dir}: must be absolute and outside" in done.stderr
