"""W&B where not all is well: no login, no server, a server that goes away, secrets in a configuration.

What a real run leaves there is compared with its results in tests/test_real_sweep.py.
"""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from orchestrator.observe import wandb_tracker
from orchestrator.observe.tracking import GuardedTracker
from orchestrator.observe.wandb_tracker import WandbTracker, flattened, has_wandb_login
from orchestrator.storage.run_files import IDENTITY
from orchestrator.storage.totals import Totals
from tests.orchestrator.observe.test_tracking import make_line, track

ANSWER = {
    "upsertBucket": {
        "bucket": {
            "id": "b", "name": "x", "displayName": "x", "config": "{}", "historyLineCount": 0,
            "project": {"id": "p", "name": "murmuration", "entity": {"id": "e", "name": "me"}},
        },
        "inserted": True,
    },
}  # fmt: skip


class Server(BaseHTTPRequestHandler):
    """As much of W&B's server as the start of a run asks for."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.dumps({"data": ANSWER}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def logged_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """A server here, and a key for it; wandb keeps the address that it saw first until its teardown."""
    import wandb

    wandb.teardown()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    yield server
    server.server_close()
    wandb.teardown()


def stop(server: ThreadingHTTPServer) -> None:
    server.shutdown()
    server.server_close()


@pytest.mark.heavy
@pytest.mark.timeout(100)
def test_a_server_that_does_not_answer_costs_a_line_and_a_few_seconds(
    logged_in: ThreadingHTTPServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stop(logged_in)
    begun = time.monotonic()
    with caplog.at_level(logging.WARNING, "orchestrator"):
        track(GuardedTracker(WandbTracker(timeout_s=2.0)), tmp_path)
    assert time.monotonic() - begun < 60
    (message,) = [r.getMessage() for r in caplog.records if r.name.startswith("orchestrator")]
    assert "connection refused" in message and f"kept offline below {tmp_path}/wandb" in message
    assert len(list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))) == 1


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_server_that_goes_away_stops_nothing(
    logged_in: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_tracker, "_LOCAL_S", 60.0)  # a busy machine takes long to start W&B's process
    tracker, totals = GuardedTracker(WandbTracker(timeout_s=10.0)), Totals()
    tracker.start(tmp_path, {}, totals)
    line = make_line("a", correct=True)
    totals.add(line)
    (tmp_path / "results.jsonl").write_text(json.dumps(line) + "\n")
    stop(logged_in)
    begun = time.monotonic()
    for _ in range(100):
        tracker.problem(line)
    assert time.monotonic() - begun < 5
    tracker.finish({"accuracy": 1.0})
    assert time.monotonic() - begun < 90
    (path,) = (tmp_path / "wandb").glob("run-*/run-*.wandb")  # on disk, for `wandb sync`
    assert path.stat().st_size > 10_000


@pytest.fixture
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has not met W&B yet."""
    monkeypatch.setattr(wandb_tracker, "HUNG", wandb_tracker.Hung())
    monkeypatch.setattr(wandb_tracker, "_LOCAL_S", 0.2)


@pytest.mark.parametrize("where", ["start", "problem", "finish"])
@pytest.mark.heavy
def test_a_process_that_hangs_is_waited_for_once_a_sweep(
    where: str,
    no_memory: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    import wandb

    free = threading.Event()
    begun: list[object] = []

    class Run:
        id = "x"
        summary: ClassVar[dict[str, Any]] = {}

        def define_metric(self, *_: object, **__: object) -> None: ...

        def log(self, _: object) -> None:
            free.wait(30 if where == "problem" else 0)

        def log_artifact(self, _: object) -> None: ...

        def finish(self) -> None:
            free.wait(30 if where == "finish" else 0)

    def init(**options: object) -> Run:
        begun.append(options)
        free.wait(30 if where == "start" else 0)
        return Run()

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(wandb, "Artifact", lambda *_, **__: Artifact())
    with caplog.at_level(logging.WARNING):
        for point in ("a", "b"):
            (tmp_path / point).mkdir()
            seconds = time.monotonic()
            track(GuardedTracker(WandbTracker(mode="offline", timeout_s=0.3)), tmp_path / point)
            assert time.monotonic() - seconds < (5 if point == "a" else 0.45)
    assert len(begun) == 1
    warning = "WandbTracker: TimeoutError: no answer in 0.5 s; the run continues without it"
    assert [r.getMessage() for r in caplog.records] == [warning]
    free.set()


class Artifact:
    def add_file(self, _: str) -> None: ...


def test_figures_are_those_of_their_moment(
    no_memory: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much later W&B comes to them."""
    import wandb

    logged: list[Any] = []

    class Run:
        id = "x"
        summary: ClassVar[dict[str, Any]] = {}

        def define_metric(self, *_: object, **__: object) -> None:
            time.sleep(0.02)

        def log(self, shown: Any) -> None:
            time.sleep(0.02)
            logged.append(shown)

        def log_artifact(self, _: object) -> None: ...

        def finish(self) -> None: ...

    monkeypatch.setattr(wandb, "init", lambda **_: Run())
    monkeypatch.setattr(wandb, "Artifact", lambda *_, **__: Artifact())
    track(WandbTracker(mode="offline", timeout_s=10), tmp_path)
    assert [x["run/num_problems"] for x in logged if "run/num_problems" in x] == [1, 2]


@pytest.mark.parametrize("text", ["", "[]", "{}", "\x00"])
def test_a_damaged_identity_is_as_good_as_none(text: str, tmp_path: Path) -> None:
    assert wandb_tracker._earlier_id(tmp_path) is None
    (tmp_path / IDENTITY).write_text(text)
    assert wandb_tracker._earlier_id(tmp_path) is None


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_service_that_hangs_ends_no_sweep_late(tmp_path: Path) -> None:
    """W&B's own process is stopped in mid-run: every point gets its table, and the end comes by itself."""
    process = subprocess.Popen(
        [sys.executable, "run.py", "-m", "seed=0,1", "tracker=wandb", "tracker.mode=offline",
         "tracker.timeout_s=2", "task.limit=30", "budget=4", f"run_dir={tmp_path}"],
        cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline, stopped = time.monotonic() + 120, list[psutil.Process]()
    try:
        while not any(tmp_path.glob("*/results.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.05)
        own = psutil.Process(process.pid).children(recursive=True)
        stopped = [p for p in own if "wandb-core" in " ".join(p.cmdline())]
        for each in stopped:
            each.suspend()
        output, error = process.communicate(timeout=110)
    finally:
        for each in stopped:
            if each.is_running():
                each.kill()
        if process.poll() is None:
            process.kill()
    assert stopped and process.returncode == 0, error
    assert error.count("the run continues without it") == 1 and "Traceback" not in error
    summaries = [json.loads(path.read_text()) for path in tmp_path.glob("*/summary.json")]
    assert [s["complete"] for s in summaries] == [True, True] and "sweep: " in output
    assert max(s["wall_seconds"] for s in summaries) < 20  # without the wait


@pytest.mark.heavy
def test_a_failure_of_wandb_is_one_warning_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import wandb

    def refuse(**_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(wandb, "init", refuse)
    with caplog.at_level(logging.WARNING):
        track(GuardedTracker(WandbTracker(mode="offline")), tmp_path)
    message = "WandbTracker: OSError: no space left; the run continues without it"
    assert [r.getMessage() for r in caplog.records] == [message]


@pytest.mark.heavy
def test_without_a_login_it_says_that_it_is_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import wandb

    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    modes: list[object] = []

    def stop(**options: Any) -> None:
        modes.append(options["mode"])
        raise InterruptedError

    monkeypatch.setattr(wandb, "init", stop)
    with caplog.at_level(logging.WARNING):
        GuardedTracker(WandbTracker()).start(tmp_path, {}, Totals())
    assert modes == ["offline"]
    assert "no login found" in caplog.text


def test_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    netrc = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(netrc))
    assert not has_wandb_login()
    netrc.write_text("machine api.wandb.ai login user password secret\n")
    netrc.chmod(0o600)
    assert has_wandb_login()
    netrc.write_text("this is no netrc")
    assert not has_wandb_login()
    monkeypatch.setenv("WANDB_API_KEY", "x")
    assert has_wandb_login()


def test_a_login_is_one_at_the_server_that_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text("machine wandb.example.org login user password secret\n")
    os.chmod(tmp_path / "netrc", 0o600)
    assert not has_wandb_login()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org:8443")
    assert has_wandb_login()


def test_a_configuration_is_flat_and_holds_no_secret() -> None:
    config = {
        "engine": {"api_key": "sk-1", "headers": {"Authorization": "Bearer x"}, "api_key_env": "KEY_OF_MINE"},
        "task": {"max_tokens": 7},
        "seed": 0,
    }
    assert flattened(config) == {"engine.api_key_env": "KEY_OF_MINE", "task.max_tokens": 7, "seed": 0}
