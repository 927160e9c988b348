"""MLflow and Trackio: what their own libraries read back, and servers that do not answer."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.observe import background
from orchestrator.observe.background import Background
from orchestrator.observe.mlflow_tracker import MlflowTracker
from orchestrator.observe.tracking import GuardedTracker, Tracker
from orchestrator.observe.trackio_tracker import TrackioTracker
from orchestrator.storage.run_files import CONFIG, MLFLOW_IDENTITY, RESULTS, SUMMARY, TRACKIO_IDENTITY
from orchestrator.storage.totals import Totals
from tests.orchestrator.observe.test_tracking import make_line

CONFIGURATION = {"strategy": {"knob": 3}, "engine": {"api_key": "sk-1"}, "text": "x" * 7000}
LINES = [make_line("a", correct=True), make_line("b", correct=False)]


def track(tracker: Tracker, run_dir: Path, lines: list[dict[str, Any]] = LINES) -> None:
    """A run of two problems, or a part of one: results.jsonl is written as the run writes it."""
    totals = Totals()
    for line in read(run_dir):
        totals.add(line)
    tracker.start(run_dir, CONFIGURATION, totals)
    for line in lines:
        with (run_dir / RESULTS).open("a") as file:
            file.write(json.dumps(line) + "\n")
        totals.add(line)
        tracker.problem(line)
    (run_dir / SUMMARY).write_text("{}")
    (run_dir / CONFIG).write_text("{}")
    tracker.finish({"accuracy": 0.5, "complete": True, "usage": {"generated_tokens": 14}})


def read(run_dir: Path) -> list[dict[str, Any]]:
    path = run_dir / RESULTS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def hole() -> Iterator[str]:
    """The address of a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(scope="module")
def mlflow_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "points.json").write_text('{"points": []}')
    run_dir = folder / "budget=2,strategy=a%b"
    run_dir.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        track(MlflowTracker(), run_dir, LINES[:1])
        track(MlflowTracker(), run_dir, LINES[1:])  # resumed
        yield run_dir


@pytest.mark.heavy
def test_mlflow_has_what_the_results_have(mlflow_run: Path) -> None:
    from mlflow.tracking import MlflowClient

    identity = json.loads((mlflow_run / MLFLOW_IDENTITY).read_text())
    client = MlflowClient(tracking_uri=identity["uri"])
    assert identity["uri"] == (mlflow_run / "mlruns").as_uri()
    experiment = client.get_experiment_by_name("murmuration")
    (run,) = client.search_runs([experiment.experiment_id])  # a resumed run is the same one
    assert (run.info.run_id, run.info.status) == (identity["id"], "FINISHED")
    assert run.info.run_name == mlflow_run.name and run.data.tags["group"] == mlflow_run.parent.name
    history = client.get_metric_history(run.info.run_id, "run/accuracy")
    assert [(m.step, m.value) for m in history] == [(1, 1.0), (2, 0.5)]
    assert [m.value for m in client.get_metric_history(run.info.run_id, "smc/min_ess")] == [2.5, 2.5]
    assert run.data.metrics["summary/usage.generated_tokens"] == 14
    assert run.data.params["strategy.knob"] == "3" and len(run.data.params["text"]) == 6000
    assert not [key for key in run.data.params if "api_key" in key]


@pytest.mark.heavy
def test_mlflow_has_the_tables_and_the_files(mlflow_run: Path) -> None:
    from mlflow.tracking import MlflowClient

    identity = json.loads((mlflow_run / MLFLOW_IDENTITY).read_text())
    client = MlflowClient(tracking_uri=identity["uri"])
    names = {item.path for item in client.list_artifacts(identity["id"])}
    assert names == {"candidates.json", "smc.json", RESULTS, SUMMARY, CONFIG}
    (path,) = (mlflow_run / "mlruns").glob("*/*/artifacts/candidates.json")
    table = json.loads(path.read_text())
    assert [dict(zip(table["columns"], row, strict=True))["problem_id"] for row in table["data"]] == [
        "a",
        "b",
    ]
    assert (path.parent / RESULTS).read_text() == (mlflow_run / RESULTS).read_text()


@pytest.mark.heavy
def test_trackio_has_what_the_results_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = tmp_path / "run7"
    run_dir.mkdir()
    track(TrackioTracker(project="readback", group="g"), run_dir, LINES[:1])
    track(TrackioTracker(project="readback", group="g"), run_dir, LINES[1:])  # resumed
    assert capsys.readouterr() == ("", "")
    from trackio import Api
    from trackio.sqlite_storage import SQLiteStorage

    (run,) = Api().runs("readback")  # a resumed run is the same one
    name = json.loads((run_dir / TRACKIO_IDENTITY).read_text())["name"]
    assert run.name == name and name.startswith("run7-")
    rows = SQLiteStorage.get_logs("readback", run_id=run.id)
    figures = [row for row in rows if "run/accuracy" in row]
    assert [(row["step"], row["run/accuracy"], row["smc/min_ess"]) for row in figures] == [
        (1, 1.0, 2.5),
        (2, 0.5, 2.5),
    ]
    (*_, ended) = [row for row in rows if "summary/accuracy" in row]
    assert ended["summary/usage.generated_tokens"] == 14
    assert [row["problem_id"] for row in ended["candidates"]["_value"]] == ["a", "b"]
    assert run.config["strategy.knob"] == 3 and run.config["_Group"] == "g"
    assert not [key for key in run.config if "api_key" in key]


@pytest.mark.heavy
@pytest.mark.parametrize(
    "make",
    [
        lambda url: MlflowTracker(uri=url, timeout_s=0.3),
        lambda url: TrackioTracker(server_url=url, timeout_s=0.3),
    ],
    ids=["mlflow", "trackio"],
)
def test_a_server_that_does_not_answer_costs_a_line_and_a_few_seconds(
    make: Callable[[str], Tracker],
    hole: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("TRACKIO_WRITE_TOKEN", "x")
    with caplog.at_level(logging.WARNING, "orchestrator"):
        for point in ("first", "second"):
            (tmp_path / point).mkdir()
            begun = time.monotonic()
            track(GuardedTracker(make(hole)), tmp_path / point)
            assert time.monotonic() - begun < (40 if point == "first" else 10)
    (message,) = [r.getMessage() for r in caplog.records if r.name.startswith("orchestrator")]
    assert "the run is kept offline" in message
    for point in ("first", "second"):
        kept = [tmp_path / point / name for name in (MLFLOW_IDENTITY, TRACKIO_IDENTITY)]
        assert sum(path.exists() for path in kept) == 1


def test_a_library_that_hangs_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """The start of the first run waits for its server, the second does not; later calls get a new thread."""
    free, asked = threading.Event(), list[str | None]()
    library = Background("slow")

    def begin(server: str | None) -> str:
        asked.append(server)
        if server is not None:
            free.wait(30)
        return server or "here"

    with caplog.at_level(logging.WARNING, "orchestrator"):
        for _ in range(2):
            assert library.begin("far", begin, 0.05, "below x") == "here"
    assert asked == ["far", None, None]
    assert [r.getMessage() for r in caplog.records] == [
        "slow: no answer in 0.05 s; the run is kept offline below x"
    ]
    free.set()
    done = list[int]()
    library.later(lambda: done.append(1))
    assert library.wait_for(lambda: [*done, 2], 5) == [1, 2]


def test_what_fails_later_fails_the_next_call() -> None:
    library, failed = Background("failing"), threading.Event()

    def fail() -> None:
        failed.set()
        raise ZeroDivisionError

    library.later(fail)
    assert failed.wait(5)
    with pytest.raises(ZeroDivisionError):
        library.wait_for(time.monotonic, 5)


@pytest.mark.parametrize("make", [MlflowTracker, TrackioTracker])
def test_a_library_that_is_missing_is_one_line(
    make: Callable[[], Tracker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "find_spec", lambda _: None)
    with pytest.raises(
        ConfigError, match=r"tracker=.*is not installed: pip install 'murmuration\[trackers\]'"
    ):
        make()


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda: MlflowTracker(uri="https://me:secret0word@host/x"), "MLFLOW_TRACKING_PASSWORD"),
        (lambda: TrackioTracker(server_url="https://host/?write_token=secret0word"), "TRACKIO_WRITE_TOKEN"),
    ],
)
def test_an_address_with_a_login_is_refused(make: Callable[[], Tracker], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert where in str(caught.value) and "secret0word" not in str(caught.value)


def test_a_login_from_the_environment_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    def begin(server: str | None) -> None:
        if server is not None:
            raise OSError(f"{server}/api does not answer")

    with caplog.at_level(logging.WARNING, "orchestrator"):
        Background("x").begin("http://me:secret0word@host", begin, 5, "below y")
    assert "http://host/api does not answer" in caplog.text and "secret0word" not in caplog.text
