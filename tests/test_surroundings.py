"""What a run gets from whoever starts it, and from the system: streams, signals, few open files."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from actors.pool import reaper
from orchestrator.runs.execution import Status, heed_signals
from orchestrator.runs.stopping import unless_stopped
from orchestrator.storage.results import read_results
from orchestrator.testing import FakeEngine
from tests.orchestrator.runs.test_execution import CONFIG, make

pytestmark = pytest.mark.heavy

REPOSITORY = Path(__file__).parents[1]
SMALL = ("task.limit=4", "budget=2", "strategy=greedy", "verifier=none")


def shell(redirections: str, *command: str, timeout: float = 110) -> subprocess.CompletedProcess[bytes]:
    """A command with streams as a shell makes them, ``2>&-`` and all."""
    return subprocess.run(
        ["bash", "-c", f'exec "$@" {redirections}', "bash", *command],
        cwd=REPOSITORY, capture_output=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


CLOSED = ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"]


@pytest.mark.parametrize("closed", CLOSED)
def test_closed_streams_lead_nowhere_also_for_children(closed: str, tmp_path: Path) -> None:
    """None is None, none is another file, and a child has three of its own."""
    out = tmp_path / "out"
    code = f"""
import os, subprocess, sys
from orchestrator.streams import open_streams
open_streams()
taken = os.open(os.devnull, os.O_RDONLY)
print("x"), sys.stderr.write("y"), sys.stdin.read()
told = [taken, None in (sys.stdin, sys.stdout, sys.stderr)]
told.append(subprocess.run([sys.executable, "-c", "import os; [os.fstat(i) for i in range(3)]"]).returncode)
open({str(out)!r}, "w").write(str(told))
"""
    assert shell(closed, *python(code)).returncode == 0
    taken, is_missing, status = json.loads(out.read_text().replace("False", "false"))
    assert taken > 2 and not is_missing and status == 0


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_a_run_with_closed_streams(closed: str, tmp_path: Path) -> None:
    done = shell(closed, sys.executable, "run.py", *SMALL, f"run_dir={tmp_path}")
    assert done.returncode == 0 and len(read_results(tmp_path)) == 4
    bad = shell("2>&-", sys.executable, "run.py", "budget=-1")
    assert bad.returncode == 2


@pytest.mark.parametrize("where", [">/dev/full", "| head -c 1", "2>&1 | head -c 1", "2>/dev/full >&2"])
def test_output_that_nobody_reads_changes_no_status(where: str) -> None:
    """A console that draws, complaints, and what is left in the buffers at the end."""
    code = """
import sys
from rich.table import Table
from orchestrator.observe.progress import ProgressDisplay, stdout_console
from orchestrator.storage.totals import Totals
from orchestrator.streams import flush_streams
from orchestrator.terminal import complain
console = stdout_console()
with ProgressDisplay(console, 3, Totals()):
    for _ in range(200):
        console.print("line " * 200)
        complain("error " * 200)
    print("at the end")
flush_streams()
sys.exit(3)
"""
    piped = "|" in where
    command = f'"$@" {where}' + ("; exit ${PIPESTATUS[0]}" if piped else "")
    done = subprocess.run(
        ["bash", "-c", command, "bash", *python(code)],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr[-2000:]
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_help_into_a_pipe_that_is_closed_is_no_failure() -> None:
    command = f"{sys.executable} run.py --help | exit; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and done.stderr == ""


def test_the_limit_of_open_files_is_raised_and_journals_keep_within_it(tmp_path: Path) -> None:
    """64 files at the most, 40 of them taken by others, and 100 problems that are half solved."""
    code = f"""
import os, resource
from pathlib import Path
from orchestrator.storage.appending import OpenFiles
from orchestrator.streams import raise_file_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 64))
raise_file_limit()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (64, 64)
files = OpenFiles()
paths = [Path({str(tmp_path)!r}) / "journal" / str(i) for i in range(100)]
for path in paths:
    files.append(path, b"one\\n")
assert len(files._files) == 16
files.close_all()
others = [os.open(os.devnull, os.O_RDONLY) for _ in range(55)]
files = OpenFiles(50)
for path in paths:
    files.append(path, b"two\\n")
assert 1 <= len(files._files) < 10
files.close_all()
assert all(path.read_bytes() == b"one\\ntwo\\n" for path in paths)
"""
    done = subprocess.run(python(code), cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("limit", [64, 256])
def test_a_run_with_few_open_files(limit: int, tmp_path: Path) -> None:
    knobs = f"task.limit=60 budget=2 concurrency=60 run_dir={tmp_path}"
    command = f"ulimit -n {limit}; exec {sys.executable} run.py {knobs}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=REPOSITORY, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(read_results(tmp_path)) == 60


@pytest.fixture
def handlers() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_terminal_that_is_closed_is_as_a_sigterm(tmp_path: Path, handlers: None) -> None:
    class HangingUp(FakeEngine):
        async def generate(self, requests: Any) -> Any:
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0.01)
            return await super().generate(requests)

    with asyncio.Runner() as runner:
        assert make(tmp_path, HangingUp()).execute(CONFIG, runner) is Status.TERMINATED
    assert json.loads((tmp_path / "summary.json").read_text())["complete"] is False


def test_nohup_is_respected() -> None:
    code = """
import signal
from orchestrator.runs.execution import heed_signals
heed_signals()
print(repr(signal.getsignal(signal.SIGHUP)))
"""
    done = subprocess.run(
        ["bash", "-c", 'trap "" HUP; exec "$@"', "bash", *python(code)],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "SIG_IGN" in done.stdout


def test_signals_after_the_last_problem_change_nothing(tmp_path: Path, handlers: None) -> None:
    """What is left is short, and makes the run readable; a sweep begins no other point."""

    class Late:
        def start(self, run_dir: Path, config: Mapping[str, Any], totals: Any) -> None: ...

        def problem(self, line: Mapping[str, Any]) -> None: ...

        def finish(self, summary: Mapping[str, Any]) -> None:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                os.kill(os.getpid(), number)
            time.sleep(0.01)

    heed_signals()
    one = make(tmp_path)
    one.tracker = Late()
    with asyncio.Runner() as runner:
        assert one.execute(CONFIG, runner) is Status.FINISHED
    assert list(one.caught) == [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]
    assert json.loads((tmp_path / "summary.json").read_text())["complete"] is True


async def test_what_is_being_started_is_cut_off_by_a_signal(handlers: None) -> None:
    cleaned: list[str] = []

    async def start(seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        finally:
            cleaned.append("up")
        return "ready"

    assert await unless_stopped(start(0.01), [signal.SIGHUP]) == "ready"
    asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGHUP)
    assert await unless_stopped(start(60), [signal.SIGHUP]) is None
    assert cleaned == ["up", "up"]


def left_of(mark: str) -> list[psutil.Process]:
    """Processes that were started by a run with the mark in its environment, and are at work."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MARK_OF_TEST") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def test_what_a_killed_process_leaves_behind_is_ended(tmp_path: Path) -> None:
    """And nothing else: the mark is what counts, not who started a process."""
    code = f"""
import os, signal, subprocess, sys
subprocess.Popen([sys.executable, {reaper.__file__!r}, "abc"], stdin=subprocess.PIPE, start_new_session=True)
for mark in ("abc", "abcd"):
    environ = {{**os.environ, {reaper.MARK!r}: mark}}
    print(subprocess.Popen(["sleep", "30"], env=environ, stdout=-3, stderr=-3).pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(python(code), capture_output=True, text=True, check=False)
    marked, other = (psutil.Process(int(pid)) for pid in done.stdout.split())
    try:
        assert within(10, lambda: not marked.is_running() or marked.status() == psutil.STATUS_ZOMBIE)
        assert other.is_running()
    finally:
        other.kill()


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 143), (signal.SIGHUP, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)],
)
@pytest.mark.parametrize("at", ["ray", "replicas"])
def test_a_signal_while_ray_starts_is_one_line_and_leaves_no_process(
    at: str, number: signal.Signals, status: int, tmp_path: Path
) -> None:
    mark = tmp_path.name
    process = subprocess.Popen(
        [sys.executable, "run.py", f"run_dir={tmp_path}"], cwd=REPOSITORY, text=True, stderr=subprocess.PIPE,
        env={**os.environ, "MARK_OF_TEST": mark}, stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    awaited = "gcs_server" if at == "ray" else "agent.py"
    assert within(60, lambda: any(awaited in " ".join(_words(p)) for p in left_of(mark)))
    time.sleep(0.5)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == status, error
    lines = {143: "error: terminated\n", 130: "error: interrupted\n", -9: ""}
    assert error == lines[status]
    assert within(6, lambda: not left_of(mark)), left_of(mark)


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.mark.slow
def test_a_signal_after_the_summary_has_the_status_of_the_run(tmp_path: Path) -> None:
    """Without Ray, whose shutdown sets SIGTERM back to its default for a moment."""
    process = subprocess.Popen(
        [sys.executable, "run.py", "cluster=inprocess", *SMALL, f"run_dir={tmp_path}"],
        cwd=REPOSITORY, text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert within(90, (tmp_path / "summary.json").exists)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0 and error == ""


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_ray_keeps_no_record_of_each_call(tmp_path: Path) -> None:
    """Its control service would grow by 3 KB with each."""
    code = """
import psutil, ray
from actors.pool.cluster import start_ray, stop_ray
from actors.pool.placement import ClusterConfig
start_ray(ClusterConfig())
@ray.remote
class Echo:
    async def say(self, x):
        return x
echo = Echo.options(max_concurrency=1000).remote()
ray.get(echo.say.remote(0))
own = psutil.Process().children(recursive=True)
service = next(p for p in own if p.cmdline() and p.cmdline()[0].endswith("gcs_server"))
before = service.memory_info().rss
for _ in range(12):
    ray.get([echo.say.remote(i) for i in range(1000)])
print(service.memory_info().rss - before)
stop_ray()
"""
    done = subprocess.run(python(code), cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 12e6
