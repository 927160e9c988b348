"""A run and its files through faults: full disks, errors, mismatches, second processes."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from actors.pool.inprocess import InProcessCluster
from orchestrator.backend import DirectBackend
from orchestrator.config.build import Range
from orchestrator.config.command_line import continued_command
from orchestrator.errors import ConfigError
from orchestrator.observe.events import EVENTS, recorded
from orchestrator.observe.progress import summary_table
from orchestrator.protocols import GenerateRequest
from orchestrator.runs.execution import Run, Status
from orchestrator.runs.point import make_run
from orchestrator.search.account import Limits
from orchestrator.storage import run_directory as rundir
from orchestrator.storage.atomic import write_json
from orchestrator.storage.results import ResultLog, read_results
from orchestrator.storage.run_directory import Earlier, claimed, open_run_dir
from orchestrator.storage.run_files import SUMMARY
from orchestrator.storage.totals import finished_summary
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier, RandomLatency
from orchestrator.types import Sampling
from strategies.particle_filter import ParticleFilter
from strategies.self_consistency import SelfConsistency
from tests.fake_plans import fake_plan

TASK = FakeTask(num_problems=12)
STRATEGY = ParticleFilter(num_particles=4, max_steps=8, sampling=Sampling(max_tokens=16))
CONFIG: dict[str, Any] = {"budget": 4, "seed": 0, "verifier": {"model": "a"}}
REPOSITORY = Path(__file__).parents[3]


def run(run_dir: Path, engine: FakeEngine | None = None, **how: Any) -> Status:
    """One part of a run, as run.py makes it: opened for resuming, with whatever is there."""
    with asyncio.Runner() as runner:
        return make(run_dir, engine, **how).execute(how.get("config", CONFIG), runner)


def make(
    run_dir: Path,
    engine: FakeEngine | None = None,
    *,
    seed: int = 0,
    keep: bool = False,
    limits: Limits = Limits(),
    config: dict[str, Any] = CONFIG,
) -> Run:
    plan = fake_plan(run_dir, TASK, STRATEGY, seed=seed, keep_journal=keep, limits=limits,
                     cluster=InProcessCluster(grace_s=20.0))  # fmt: skip
    backend = DirectBackend(engine or FakeEngine(), FakeVerifier())
    run = make_run(plan, backend, open_run_dir(run_dir, config, [], resume=True))
    run.console = Console(quiet=True)
    return run


def lines_of(run_dir: Path) -> dict[str, dict[str, Any]]:
    lines = {line.pop("problem_id"): line for line in read_results(run_dir)}
    return {k: {f: v for f, v in line.items() if f != "seconds"} for k, line in lines.items()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    run_dir = tmp_path_factory.mktemp("undisturbed")
    assert run(run_dir) is Status.FINISHED
    assert not (run_dir / "journal").exists()
    return lines_of(run_dir)


Resize = Callable[[str], None]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Resize]]:
    """A small disk of its own, and how to give it another size."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", disk], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("only root can mount a disk; test_journal.py and test_results.py limit the files' size")
    yield (
        disk,
        lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True) and None,
    )
    subprocess.run(["umount", disk], check=True)


@pytest.mark.heavy
def test_a_full_disk_stops_a_run_that_goes_on_when_there_is_room(
    disk: tuple[Path, Resize], undisturbed: dict[str, dict[str, Any]]
) -> None:
    """The whole run takes 48k at the least: eight pages of results, three small files, an open journal."""
    run_dir, resize = disk
    for size in ("36k", "44k", "16m"):
        resize(size)
        before = lines_of(run_dir)
        if size == "16m":
            assert run(run_dir) is Status.FINISHED
        else:
            with pytest.raises(OSError, match=r"No space left on device: '.*(jsonl|json)'") as full:
                run(run_dir, FakeEngine(latency=RandomLatency(0, 0.005)))
            assert full.value.errno == errno.ENOSPC
            for results in run_dir.glob("results.jsonl"):
                assert results.read_bytes()[-2:] in (b"", b"}\n")
        after = lines_of(run_dir)
        assert before.items() <= after.items() <= undisturbed.items()
    assert after == undisturbed


class BreaksDown(FakeEngine):
    """An engine that fails at one problem from its third call on, until it is mended."""

    def __init__(self, question: str) -> None:
        super().__init__()
        self.bad, self.num_calls = question, 0

    async def generate(self, requests: Any) -> Any:
        if requests[0].question == self.bad:
            self.num_calls += 1
            if self.num_calls > 2:
                raise RuntimeError("out of memory")
        return await super().generate(requests)


def test_a_problem_that_ended_in_an_error_goes_on_from_there(
    tmp_path: Path, undisturbed: dict[str, dict[str, Any]]
) -> None:
    problem = next(TASK.problems(3, 1))
    assert run(tmp_path, BreaksDown(problem.question)) is Status.SOME_ERRORS
    failed = lines_of(tmp_path)[problem.id]
    assert failed["error"] == {"type": "EngineError", "message": "RuntimeError: out of memory"}
    assert [f.name for f in (tmp_path / "journal").iterdir()] == [f"{problem.id}.jsonl"]
    mended = FakeEngine()
    assert run(tmp_path, mended) is Status.FINISHED
    assert lines_of(tmp_path) == undisturbed
    assert {r.home for r in mended.requests} == {problem.id}
    assert len(mended.requests) == undisturbed[problem.id]["usage"]["reward_calls"] - 8  # two calls of four
    assert not (tmp_path / "journal").exists()


def test_a_journal_of_another_search_costs_its_problem_one_try(
    tmp_path: Path, undisturbed: dict[str, dict[str, Any]]
) -> None:
    """As when the code has changed: the error names the call, and the next try begins anew.

    What it had paid for stays on disk until then.
    """
    problem = next(TASK.problems(3, 1))
    run(tmp_path, BreaksDown(problem.question), seed=1)
    paid = (tmp_path / "journal" / f"{problem.id}.jsonl").read_bytes()
    (tmp_path / "results.jsonl").unlink()
    assert run(tmp_path) is Status.SOME_ERRORS
    lines = lines_of(tmp_path)
    assert lines[problem.id]["error"]["type"] == "JournalError"
    assert "call 'generate 1' requests something else" in lines[problem.id]["error"]["message"]
    assert [k for k, line in lines.items() if line["error"]] == [problem.id]
    assert (tmp_path / "journal" / f"{problem.id}.jsonl.unrepeated").read_bytes() == paid
    assert run(tmp_path) is Status.FINISHED
    assert lines_of(tmp_path) == undisturbed
    assert not (tmp_path / "journal").exists()


def test_journals_are_kept_when_asked(tmp_path: Path, undisturbed: dict[str, dict[str, Any]]) -> None:
    assert run(tmp_path, keep=True) is Status.FINISHED
    journals = {f.stem: f.read_bytes() for f in (tmp_path / "journal").iterdir()}
    assert journals.keys() == undisturbed.keys()
    assert all(line == json.dumps(json.loads(line), separators=(",", ":")).encode()
               for text in journals.values() for line in text.splitlines())  # fmt: skip
    (tmp_path / "results.jsonl").unlink()
    silent = FakeEngine()
    assert run(tmp_path, silent, keep=True) is Status.FINISHED
    assert lines_of(tmp_path) == undisturbed
    assert silent.requests == []


def test_a_journal_left_behind_by_a_finished_problem_goes(tmp_path: Path) -> None:
    """Killed between the result and the end of the journal."""
    run(tmp_path, keep=True)
    silent = FakeEngine()
    assert run(tmp_path, silent) is Status.FINISHED
    assert silent.requests == [] and not (tmp_path / "journal").exists()


def test_unfinished_problems_are_not_thrown_away(tmp_path: Path) -> None:
    """Without a single result: starting anew needs another directory, or the user's word."""
    problem = next(TASK.problems(3, 1))
    run(tmp_path, BreaksDown(problem.question))
    (tmp_path / "results.jsonl").unlink()
    with pytest.raises(
        ConfigError, match="holds a journal of unfinished problems; continue with resume=true"
    ):
        open_run_dir(tmp_path, CONFIG, [], resume=False)


def test_a_signal_under_the_last_problem_is_told_of_though_the_run_is_finished(
    tmp_path: Path, undisturbed: dict[str, dict[str, Any]]
) -> None:
    """Its only call comes back in the grace, so nothing is left to do; what was to follow is not wanted."""

    class Signals(FakeEngine):
        async def generate(self, requests: Any) -> Any:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.05)
            return await super().generate(requests)

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    one = replace(make(tmp_path, Signals()), range=Range(0, 1), num_problems=1)
    one.controller = replace(one.controller, strategy=SelfConsistency(4, Sampling(max_tokens=64)))
    try:
        with asyncio.Runner() as runner:
            assert one.execute(CONFIG, runner) is Status.FINISHED
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    assert one.caught == [signal.SIGTERM]
    assert len(read_results(tmp_path)) == 1


def test_a_run_that_was_killed_as_it_began_can_be_continued_by_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two of its files."""
    written: list[str] = []

    def write_one(path: Path, value: dict[str, Any]) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path.name)
        write_json(path, value)

    monkeypatch.setattr(rundir, "write_json", write_one)
    with pytest.raises(KeyboardInterrupt):
        open_run_dir(tmp_path, CONFIG, ["budget=4"], resume=True)
    assert written == ["command.json"]
    assert continued_command([f"resume={tmp_path}"])[0] == "budget=4"
    monkeypatch.undo()
    open_run_dir(tmp_path, CONFIG, ["budget=4"], resume=True)
    (tmp_path / "command.json").unlink()  # by an earlier release, which wrote it last
    open_run_dir(tmp_path, CONFIG, ["budget=4", "resume=true"], resume=True)
    assert continued_command([f"resume={tmp_path}"])[0] == "budget=4"


DAMAGED = ["", "{", "[]", "{}", "null", '{"wall_seconds": NaN}', "\x00" * 20, "[" * 100_000]


@pytest.mark.parametrize("text", DAMAGED)
@pytest.mark.heavy
def test_a_damaged_summary_hinders_nobody(
    text: str, tmp_path: Path, undisturbed: dict[str, dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    assert run(tmp_path) is Status.FINISHED
    results = tmp_path / "results.jsonl"
    results.write_bytes(b"".join(results.read_bytes().splitlines(keepends=True)[:5]))
    (tmp_path / SUMMARY).write_text(text)
    assert run(tmp_path) is Status.FINISHED
    assert lines_of(tmp_path) == undisturbed
    assert "summary.json is damaged, or was not written by Murmuration" in caplog.text
    assert summary_of(tmp_path)["wall_seconds"] is None  # that of the first part is not known any more


@pytest.mark.parametrize(
    "change",
    [
        {"wall_seconds": "1"},
        {"usage": 3},
        {"accuracy_ci95": [0.1]},
        {"num_problems": -1},
        {"complete": "yes"},
        {"wall_seconds": 1e300},  # a report would not take it either
    ],
)
@pytest.mark.heavy
def test_a_summary_of_another_shape_is_as_good_as_none(change: dict[str, Any], tmp_path: Path) -> None:
    assert run(tmp_path) is Status.FINISHED
    totals = open_run_dir(tmp_path, CONFIG, [], resume=True).totals
    assert finished_summary(tmp_path, totals) is not None
    (tmp_path / SUMMARY).write_text(json.dumps(summary_of(tmp_path) | change))
    assert finished_summary(tmp_path, totals) is None
    assert run(tmp_path) is Status.FINISHED


@pytest.mark.parametrize("name", ["results.jsonl", "summary.json", "config.json", "command.json"])
def test_a_directory_in_a_files_place_is_found_before_anything_is_loaded(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(ConfigError, match=rf"{name}: is a directory, and must be a plain file"):
        open_run_dir(tmp_path, CONFIG, [], resume=True)


def test_a_file_in_the_journals_place_is_found_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("")
    with pytest.raises(ConfigError, match="journal: is a file, and must be a folder"):
        open_run_dir(tmp_path, CONFIG, [], resume=True)


class Tripped(FakeEngine):
    """Something happens at its 35th call."""

    def __init__(self, event: Callable[[], object]) -> None:
        super().__init__(latency=RandomLatency(0, 0.002))
        self._event, self._num_calls = event, 0

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Any]:
        self._num_calls += 1
        if self._num_calls == 35:
            self._event()
        return await super().generate(requests)


def test_wall_time_counts_all_parts_and_is_not_known_after_a_kill(tmp_path: Path) -> None:
    """A copy in mid-run is what kill -9 would have left."""
    first, killed, second = tmp_path / "first", tmp_path / "killed", tmp_path / "second"
    assert run(first, Tripped(lambda: shutil.copytree(first, killed))) is Status.FINISHED
    known = summary_of(first)["wall_seconds"]
    assert known > 0 and not (killed / SUMMARY).exists() and lines_of(killed)
    results = first / "results.jsonl"
    results.write_bytes(b"".join(results.read_bytes().splitlines(keepends=True)[:3]))
    assert run(first, Tripped(lambda: shutil.copytree(first, second))) is Status.FINISHED
    assert summary_of(first)["wall_seconds"] > known + 0.02
    # The second part of a run, killed: the summary of the first one tells neither of its time nor of an end.
    assert (summary_of(second)["wall_seconds"], summary_of(second)["complete"]) == (None, False)
    assert summary_of(second)["num_problems"] == 3 < len(lines_of(second))
    for folder in (killed, second):
        assert run(folder) is Status.FINISHED
        summary = summary_of(folder)
        assert (summary["wall_seconds"], summary["complete"]) == (None, True)
        text = summary_text(summary)
        assert "not known" in text and re.search(r"tokens a second +│ +- ", text)


def summary_text(summary: dict[str, Any]) -> str:
    file = io.StringIO()
    Console(file=file, width=90).print(summary_table(summary))
    return file.getvalue()


def summary_of(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / SUMMARY).read_text())  # type: ignore[no-any-return]


def test_a_configuration_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"budget": ')
    with pytest.raises(ConfigError, match=r"run_dir=.*: its config.json is no JSON: Expecting value"):
        open_run_dir(tmp_path, CONFIG, [], resume=True)


def test_a_continuation_with_other_keys_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(ConfigError, match=r"^budget=8: differs from the run in .*; only cluster"):
        open_run_dir(tmp_path, {**CONFIG, "budget": 8}, [], resume=True)
    with pytest.raises(ConfigError, match=r"^verifier.model=b: differs"):
        open_run_dir(tmp_path, {**CONFIG, "verifier": {"model": "b"}}, [], resume=True)
    free = {"cluster": {"engine_replicas": 9}, "concurrency": 1, "tracker": {}, "keep_journal": True}
    assert len(open_run_dir(tmp_path, {**CONFIG, **free}, [], resume=True).problem_ids) == 12


@pytest.mark.parametrize("has_config", [True, False])
def test_a_refused_continuation_changes_nothing(has_config: bool, tmp_path: Path) -> None:
    run(tmp_path)
    lines = (tmp_path / "results.jsonl").read_text().splitlines(keepends=True)
    error = {"error": {"type": "EngineError", "message": "died"}, "candidates": []}
    lines[3] = json.dumps({**json.loads(lines[3]), **error}) + "\n"
    (tmp_path / "results.jsonl").write_text("".join(lines) + "{cut short")
    if not has_config:
        (tmp_path / "config.json").unlink()
    (tmp_path / ".lock").touch()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def refuse(earlier: Earlier) -> None:
        assert len(earlier.problem_ids) == 11
        raise ConfigError("task.path", "x", "has changed")

    with pytest.raises(ConfigError, match="has changed"):
        open_run_dir(tmp_path, CONFIG, [], resume=True, check=refuse)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.heavy
def test_two_processes_do_not_share_a_directory(tmp_path: Path) -> None:
    imports = "from pathlib import Path; from orchestrator.storage.run_directory import claimed"
    program = f"{imports}\nwith claimed(Path({str(tmp_path)!r})): print('mine', flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", program], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None and other.stdout.readline() == b"mine\n"
    with pytest.raises(ConfigError, match="another process is at work in it"), claimed(tmp_path):
        pass
    other.kill()
    other.communicate()
    with claimed(tmp_path), pytest.raises(ConfigError), claimed(tmp_path):
        pass
    with claimed(tmp_path):
        pass


def test_a_file_system_without_locks_refuses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with claimed(tmp_path), claimed(tmp_path):
        pass


def events_of(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / EVENTS).read_text().splitlines()]


def test_a_run_writes_down_what_happens_and_no_line_a_request(tmp_path: Path) -> None:
    problem, secret = next(TASK.problems(3, 1)), CONFIG | {"engine": {"api_key": "sk-none-of-this"}}
    with recorded(tmp_path, "info"):
        run(tmp_path, BreaksDown(problem.question), config=secret)
    begin, *problems, end = events_of(tmp_path)
    assert (begin["event"], begin["strategy"]) == ("run_started", "particle_filter")
    assert Counter(e["event"] for e in problems) == {
        "problem_started": 12, "problem_finished": 11, "problem_failed": 1,
    }  # fmt: skip
    (failed,) = (e for e in problems if e["event"] == "problem_failed")
    assert (failed["problem"], failed["error"]) == (problem.id, "EngineError: RuntimeError: out of memory")
    assert (end["event"], end["num_errors"], end["complete"]) == ("run_finished", 1, True)
    assert "sk-none" not in (tmp_path / EVENTS).read_text()
    with recorded(tmp_path, "info"):
        run(tmp_path, config=secret)
    resumed, started, finished, end = events_of(tmp_path)[len(problems) + 2 :]
    assert (resumed["event"], resumed["num_done"]) == ("run_resumed", 11)
    assert (started["problem"], started["recorded_calls"]) == (problem.id, 4)
    assert (finished["event"], end["event"]) == ("problem_finished", "run_finished")


def test_a_limit_and_a_run_that_breaks_off_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with recorded(tmp_path, "info"):
        run(tmp_path, limits=Limits(generated_tokens=20))
    limits = [e for e in events_of(tmp_path) if e["event"] == "limit_reached"]
    assert {e["limit"] for e in limits} == {"generated_tokens"} and len(limits) == 12

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ResultLog, "append", full)
    with pytest.raises(OSError, match="No space left"), recorded(tmp_path, "info"):
        run(tmp_path / "broken")
    last = events_of(tmp_path)[-1]
    assert last["event"] == "run_failed" and "No space left" in last["error"]
