"""The command line as a function: it may be called as often as one likes, and leaves nothing behind."""

from __future__ import annotations

import gc
import json
import logging
import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback

from orchestrator.runs.main import main
from orchestrator.storage.results import read_results
from tests.fake_plans import fake_conf


@pytest.fixture
def quick(tmp_path: Path) -> list[str]:
    """Two problems of the fakes."""
    return fake_conf(tmp_path / "conf")


def process_state() -> dict[str, Any]:
    """What a run sets for its process."""
    loggers = [logging.getLogger(name) for name in (None, "actors", "orchestrator")]
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return {
        "signals": [signal.getsignal(number) for number in numbers],
        "lastResort": logging.lastResort,
        "loggers": [(logger.level, list(logger.handlers)) for logger in loggers],
        "hook": sys.unraisablehook,
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "gc": gc.get_threshold(),
        "hydra": GlobalHydra.instance().is_initialized(),
        "argv": list(sys.argv),
        "environment": dict(os.environ),
        "folder": Path.cwd(),
    }


@pytest.mark.heavy
def test_runs_and_mistakes_leave_the_process_as_it_was(
    quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))  # less than it may have
    before, folder = process_state(), f"run_dir={tmp_path / 'a'}"
    assert main([*quick, folder]) == 0
    assert "results:" in capsys.readouterr().out
    assert main([*quick, folder]) == 2
    assert "continue with resume=true" in capsys.readouterr().err
    assert main(["cluster=inproces"]) == 2
    assert "did you mean 'inprocess'?" in capsys.readouterr().err
    assert main(["--no-such-flag"]) == 2
    assert main(["cluster=inprocess", f"run_dir={tmp_path / 'b'}", "dry_run=true"]) == 0
    assert "placement: 1 engine replicas and 1 verifier replicas in this process" in capsys.readouterr().out
    assert process_state() == before
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.heavy
def test_a_sweep_runs_in_process(
    quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = process_state()
    assert main(["-m", *quick, "seed=0,1", f"run_dir={tmp_path / 'sweep'}"]) == 0
    assert process_state() == before
    assert len(list((tmp_path / "sweep").glob("*/summary.json"))) == 2


class Returned(Callback):
    """What Hydra's sweepers get of each job."""

    values: ClassVar[list[Any]] = []

    def on_job_end(self, config: Any, job_return: Any, **_: Any) -> None:
        self.values.append(job_return.return_value)


@pytest.mark.heavy
def test_another_sweeper_gets_the_accuracy_of_each_run(quick: list[str], tmp_path: Path) -> None:
    callback = f"+hydra.callbacks.returned._target_={__name__}.Returned"
    sweep = ["-m", "hydra/sweeper=basic", "budget=1,4", f"run_dir={tmp_path / 'sweep'}"]
    assert main([*quick, callback, *sweep]) == 0
    found = [json.loads(f.read_text())["accuracy"] for f in sorted(tmp_path.glob("sweep/*/summary.json"))]
    assert Returned.values == found and len(found) == 2


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.heavy
def test_a_signal_stops_a_run_that_goes_on_where_it_was(
    number: signal.Signals, status: int, quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = process_state()
    keys = [*quick, "task.limit=60", "concurrency=1", f"run_dir={tmp_path / 'run'}"]
    results, stopped = tmp_path / "run" / "results.jsonl", threading.Event()

    def strike() -> None:
        while not stopped.wait(0.01):
            if results.exists() and results.stat().st_size:
                os.kill(os.getpid(), number)
                return

    thread = threading.Thread(target=strike)
    thread.start()
    try:
        assert main(keys) == status
    finally:
        stopped.set()
        thread.join()
    assert "resume with: python run.py resume=" in capsys.readouterr().out
    assert process_state() == before
    done = read_results(tmp_path / "run")
    assert (
        1 <= len(done) < 60
        and json.loads((tmp_path / "run" / "summary.json").read_text())["complete"] is False
    )
    assert main(["--config-dir", str(tmp_path / "conf"), f"resume={tmp_path / 'run'}"]) == 0
    assert read_results(tmp_path / "run")[: len(done)] == done and len(read_results(tmp_path / "run")) == 60


RAY = {"engine_replicas": 2, "address": "10.0.0.1:6379"}


@pytest.mark.heavy
@pytest.mark.parametrize(
    "cluster",
    [{"_target_": "actors.pool.placement.ClusterConfig", **RAY}, RAY, {"_target_": "actors.gone.Gone"}],
    ids=["as it was", "without a target", "of another release"],
)
def test_a_run_of_any_cluster_goes_on_with_another(
    cluster: dict[str, Any], quick: list[str], tmp_path: Path
) -> None:
    assert main([*quick, f"run_dir={tmp_path / 'run'}"]) == 0
    lines = read_results(tmp_path / "run")
    results, config = tmp_path / "run" / "results.jsonl", tmp_path / "run" / "config.json"
    results.write_bytes(results.read_bytes().splitlines(keepends=True)[0])
    config.write_text(json.dumps(json.loads(config.read_text()) | {"cluster": cluster}))
    assert main([*quick, f"run_dir={tmp_path / 'run'}", "resume=true"]) == 0
    again = read_results(tmp_path / "run")
    assert [line["answer"] for line in again] == [line["answer"] for line in lines]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["replicas"] == {
        "engine": 1,
        "verifier": 1,
    }
