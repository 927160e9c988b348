"""Resuming is running again on the recorded replies: nothing is asked twice, and the end is the same."""

from __future__ import annotations

import asyncio
import json
import math
import resource
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import EngineError, JournalError
from orchestrator.protocols import ScoreRequest
from orchestrator.search.asking import Ledger
from orchestrator.search.session import Session
from orchestrator.storage import journal as journal_module
from orchestrator.storage.appending import OpenFiles
from orchestrator.storage.journal import Content, Journal, Journals, read_content
from orchestrator.storage.journal_lines import Record, checksum_of, read_record, write_record
from orchestrator.testing import RandomLatency
from orchestrator.types import RoundRecord, Solution, Trajectory, Usage
from strategies.parts.concurrent import concurrently
from tests.laws import assert_sound
from tests.toy import PROBLEM, STRATEGIES, World, load, sampling

PATIENCE = 2.0
"""Seconds: a search that waits forever is one that went another way, which is said soon."""
REQUEST = ScoreRequest("p", "q", ("a\n",), 0)
ARRIVAL_DEPENDENT = {"particle_cascade"}
# Branches compete for what a limit leaves, so which of them gets it depends on arrival.
BRANCHING = {"parallel_tempering", "speculative"}


class Case:
    """One search, which can be run again on what is left of its journal."""

    patience = PATIENCE

    def __init__(self, folder: Path, name: str, seed: int = 3, **limits: float) -> None:
        self.path = folder / "toy.jsonl"
        self.name, self.seed, self.limits = name, seed, limits

    async def solve(self, latency_seed: int | None = None, seconds: float = 0.002) -> tuple[Solution, World]:
        world = World()
        if latency_seed is not None:
            world.engine.latency = RandomLatency(latency_seed, seconds)
        files = OpenFiles()
        journal = Journal(self.path, files, patience=self.patience)
        session = world.session(self.seed, journal, **self.limits)
        try:
            solution = await load(self.name).solve(session)
            journal.check_over()
        finally:
            files.close_all()
        return solution, world

    def lines(self) -> list[bytes]:
        return self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []

    def records(self) -> list[Record]:
        """What the lines say."""
        before, records = 0, []
        for line in self.lines():
            records.append(read_record(line, before))
            before = checksum_of(line)
        return records

    def write(self, records: list[Record]) -> None:
        """A journal that says this."""
        lines, before = [], 0
        for record in records:
            lines.append(write_record(record, before))
            before = checksum_of(lines[-1])
        self.path.write_bytes(b"".join(lines))


def num_asked(world: World) -> int:
    assert world.verifier is not None
    return len(world.engine.requests) + len(world.verifier.requests)


@pytest.mark.parametrize(
    "limits",
    [
        {},
        *(
            pytest.param(each, marks=pytest.mark.heavy)
            for each in ({"generated_tokens": 40}, {"reward_calls": 7})
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", STRATEGIES)
async def test_a_search_goes_on_from_any_line(name: str, limits: dict[str, float], tmp_path: Path) -> None:
    """Wherever it was cut off, it ends as if it had not been, and asks for nothing that was answered."""
    case = Case(tmp_path, name, **limits)
    whole, world = await case.solve()
    lines = case.lines()
    for num_kept in {0, 1, len(lines) // 2, len(lines) - 1, len(lines)} & set(range(len(lines) + 1)):
        torn = lines[num_kept][: len(lines[num_kept]) // 2] if num_kept < len(lines) else b""
        if lines:
            case.path.write_bytes(b"".join([*lines[:num_kept], torn]))
        again, asked = await case.solve()
        assert case.lines()[:num_kept] == lines[:num_kept]
        assert num_asked(asked) == num_rows(case.lines()[num_kept:])
        if name in ARRIVAL_DEPENDENT or (limits and name in BRANCHING):
            assert_sound(again)
            assert again.usage.generated_tokens <= limits.get("generated_tokens", math.inf)
            continue
        assert again == whole
        assert num_asked(asked) == num_asked(world) - num_rows(lines[:num_kept])


def num_rows(lines: list[bytes]) -> int:
    return sum(len(json.loads(line)["replies"]) for line in lines)


@pytest.mark.parametrize(
    "limits", [{}, pytest.param({"generated_tokens": 60}, marks=pytest.mark.heavy)], ids=str
)
@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.heavy
async def test_any_order_of_arrival_is_met_again(name: str, limits: dict[str, float], tmp_path: Path) -> None:
    """Also by methods that depend on it, and by branches that compete for the last tokens."""
    for latency_seed in range(4):
        case = Case(tmp_path / str(latency_seed), name, **limits)
        whole, _ = await case.solve(latency_seed)
        again, world = await case.solve(latency_seed + 100)
        assert again == whole
        assert num_asked(world) == 0


async def test_a_cascade_depends_on_arrival_and_its_journal_knows(tmp_path: Path) -> None:
    """The order is worth writing down: other orders end otherwise."""
    case = Case(tmp_path, "particle_cascade")
    orders = []
    for latency_seed in range(6):
        orders.append((await case.solve(latency_seed))[0])
        case.path.unlink()
    assert any(order != orders[0] for order in orders)


@pytest.mark.parametrize("name", ["particle_filter", "particle_cascade", "dvts"])
async def test_a_time_limit_strikes_where_it_struck(name: str, tmp_path: Path) -> None:
    case = Case(tmp_path, name, seconds=0.08)
    whole, _ = await case.solve(1, seconds=0.06)
    assert any(json.loads(line)["replies"] is None for line in case.lines())
    again, world = await case.solve()
    assert again == whole
    assert num_asked(world) == 0


async def test_the_clock_goes_on_where_it_was(tmp_path: Path) -> None:
    """An interruption does not count; what went before does."""
    case = Case(tmp_path, "particle_filter", seconds=5.0)
    await case.solve()
    case.write([replace(case.records()[0], elapsed=4.9)])
    await case.solve(1, seconds=1.0)
    last = json.loads(case.lines()[-1])
    assert 4.99 < last["elapsed"] < 5.5 and last["replies"] is None


async def test_another_request_is_a_mismatch_that_names_the_call(tmp_path: Path) -> None:
    case = Case(tmp_path, "particle_filter")
    await case.solve()
    case.seed = 4
    with pytest.raises(JournalError, match=r"toy.jsonl: call 'generate 1' requests something else"):
        await case.solve()


async def test_a_search_that_ends_too_early_is_a_mismatch(tmp_path: Path) -> None:
    case = Case(tmp_path, "particle_filter")
    await case.solve()
    records = case.records()
    case.write([*records, replace(records[-1], call=records[-1].call.replace("score ", "score 9"))])
    with pytest.raises(JournalError, match=r"call 'score 9\d' was answered, but the search ended without it"):
        await case.solve()


async def test_a_search_that_goes_another_way_is_not_waited_for(tmp_path: Path) -> None:
    case = Case(tmp_path, "particle_filter")
    case.patience = 0.05
    await case.solve()
    first, *others = case.records()
    case.write([replace(first, call="generate 7"), *others])
    with pytest.raises(JournalError, match="call 'generate 7' was answered, but is not repeated now"):
        await case.solve()


@pytest.mark.parametrize("name", ["particle_filter", "parallel_tempering", "speculative"])
async def test_a_search_on_a_loop_that_is_always_late_has_not_gone_another_way(
    name: str, tmp_path: Path
) -> None:
    """As where thousands of problems resume at once: each wait is over before the search has its turn."""
    case = Case(tmp_path, name)
    whole, _ = await case.solve()
    case.patience = 1e-9
    again, world = await case.solve()
    assert again == whole
    assert num_asked(world) == 0


async def test_a_failed_call_is_not_written_down(tmp_path: Path) -> None:
    """A problem that ended in an error goes on before it, should the fault have been a passing one."""
    case = Case(tmp_path, "particle_filter")
    whole, world = await case.solve()
    lines = case.lines()
    case.path.unlink()
    failing, files = World(), OpenFiles()
    ask, calls = failing.engine.generate, []

    async def fail_at_the_third(requests):  # type: ignore[no-untyped-def]
        calls.append(requests)
        if len(calls) == 3:
            raise RuntimeError("a passing fault")
        return await ask(requests)

    failing.engine.generate = fail_at_the_third  # type: ignore[method-assign]
    session = Session(Ledger(
        PROBLEM, engine=failing.engine, verifier=failing.verifier, task=failing.task, seed=case.seed,
        journal=Journal(case.path, files, patience=PATIENCE),
    ))  # fmt: skip
    with pytest.raises(EngineError, match="a passing fault"):
        await load(case.name).solve(session)
    files.close_all()
    kept = case.lines()
    assert [json.loads(x)["call"] for x in kept] == ["generate 1", "score 1", "generate 2", "score 2"]
    again, asked = await case.solve()
    assert again == whole and len(case.lines()) == len(lines)
    assert num_asked(asked) == num_asked(world) - num_rows(kept)


async def test_usage_counts_recorded_replies_once(tmp_path: Path) -> None:
    case = Case(tmp_path, "particle_filter")
    whole, world = await case.solve()
    case.path.write_bytes(b"".join(case.lines()[:3]))
    again, asked = await case.solve()
    assert again.usage == whole.usage != Usage()
    assert asked.engine.usage.generated_tokens < whole.usage.generated_tokens
    assert world.engine.usage.generated_tokens == whole.usage.generated_tokens


async def test_branches_of_one_name_have_calls_of_their_own(tmp_path: Path) -> None:
    world, files = World(), OpenFiles()

    async def search() -> list[list[Trajectory]]:
        session = Session(Ledger(
            PROBLEM, engine=world.engine, verifier=None, task=world.task,
            journal=Journal(tmp_path / "x.jsonl", files),
        ))  # fmt: skip
        branches = [session.fork("same"), session.fork("same"), session.fork("same").fork("inner")]
        asked = [branch.generate([Trajectory()] * (i + 1), sampling()) for i, branch in enumerate(branches)]
        return await concurrently(asked)

    first = await search()
    num_requests = len(world.engine.requests)
    assert await search() == first
    assert len(world.engine.requests) == num_requests
    files.close_all()


async def test_rubbish_in_the_middle_ends_a_journal(tmp_path: Path) -> None:
    """A machine that went down may leave a hole: what follows it is asked again."""
    case = Case(tmp_path, "particle_filter")
    whole, _ = await case.solve()
    lines = case.lines()
    for rubbish in (b"\0" * 100 + b"\n", b"{}\n", b"[1]\n", b'{"call":"x"}\n'):
        case.path.write_bytes(b"".join([*lines[:2], rubbish, *lines[2:]]))
        assert (await case.solve())[0] == whole
        assert [json.loads(x)["call"] for x in case.lines()] == [json.loads(x)["call"] for x in lines]


@pytest.mark.parametrize("name", ["particle_filter", "astar"])
async def test_a_flipped_bit_is_noticed_wherever_it_is(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also in a digit, which still parses: what is damaged, and what came after it, is asked again."""
    case = Case(tmp_path, name)
    whole, _ = await case.solve()
    written, lines = case.path.read_bytes(), case.lines()
    places = [(i, bit) for i in range(0, len(written), max(1, len(written) // 80)) for bit in (0, 1, 4)]
    for place, bit in places:
        damaged = bytearray(written)
        damaged[place] ^= 1 << bit
        case.path.write_bytes(damaged)
        num_before = written.count(b"\n", 0, place)
        journal = Journal(case.path, patience=PATIENCE)
        assert journal.num_left == num_before
        assert case.lines() == lines[:num_before]
    assert f"toy.jsonl: {len(lines)} lines are damaged, or of another release" in caplog.text
    case.path.write_bytes(damaged)
    assert (await case.solve())[0] == whole


async def test_a_line_that_is_gone_or_stands_elsewhere_is_noticed(tmp_path: Path) -> None:
    """Each line is whole for itself: a page that a machine lost, a copy that went wrong, another's file."""
    case = Case(tmp_path, "particle_filter")
    whole, _ = await case.solve()
    lines = case.lines()
    other = Case(tmp_path / "other", "particle_filter", seed=9)
    other.path.parent.mkdir()
    await other.solve()
    for changed, num_good in (
        ([lines[0], *lines[2:]], 1),
        (lines[1:], 0),
        ([lines[0], lines[2], lines[1], *lines[3:]], 1),
        ([lines[0], *lines], 1),
        ([*lines[:2], *other.lines()[2:]], 2),
    ):
        case.path.write_bytes(b"".join(changed))
        assert Journal(case.path).num_left == num_good
        assert (await case.solve())[0] == whole


async def test_a_journal_of_another_release_is_told_of_and_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    case = Case(tmp_path, "particle_filter")
    whole, world = await case.solve()
    old = [json.loads(line) | {"format": 2, "request": "0" * 32} for line in case.lines()]
    for line in old:
        del line["crc32"]
    case.path.write_text("".join(json.dumps(line) + "\n" for line in old))
    again, asked = await case.solve()
    assert again == whole and num_asked(asked) == num_asked(world)
    assert f"toy.jsonl: {len(old)} lines are damaged, or of another release" in caplog.text
    caplog.clear()
    case.path.write_bytes(case.path.read_bytes()[:-5])
    assert (await case.solve())[0] == whole
    assert caplog.text == ""  # a last line that was cut short is nothing to tell


ODD_IDS = [
    "plain-1",
    "a/b",
    "../../etc/passwd",
    ".",
    "",
    "Ü",
    "A",
    "a",
    "x" * 300,
    "x" * 301,
    "con:1",
    "\ud800",
]


async def test_every_problem_has_a_file_of_its_own_in_the_folder(tmp_path: Path) -> None:
    journals = Journals(tmp_path)
    for problem_id in ODD_IDS:
        journal = await journals.open(problem_id)
        journal.record(await journal.ask(problem_id, [REQUEST]), 0.0, [])
    files = list((tmp_path / "journal").iterdir())
    assert len({f.name.lower() for f in files}) == len(ODD_IDS)
    assert (tmp_path / "journal" / "plain-1.jsonl").exists()
    for problem_id in ODD_IDS:
        assert (await (await journals.open(problem_id)).ask(problem_id, [REQUEST])).record is not None
        journals.done(problem_id)
    journals.close()
    assert not (tmp_path / "journal").exists()


async def test_kept_journals_stay_and_forgotten_ones_go(tmp_path: Path) -> None:
    async def write(journals: Journals) -> None:
        for problem_id in ("a", "b"):
            journal = await journals.open(problem_id)
            journal.record(await journal.ask("c", [REQUEST]), 0.0, [])

    kept = Journals(tmp_path, keep=True)
    await write(kept)
    kept.done("a")
    kept.close()
    assert {f.name for f in (tmp_path / "journal").iterdir()} == {"a.jsonl", "b.jsonl"}
    journals = Journals(tmp_path)
    journals.forget({"a", "never begun"})
    assert {f.name for f in (tmp_path / "journal").iterdir()} == {"b.jsonl"}
    written = (tmp_path / "journal" / "b.jsonl").read_bytes()
    journals.set_aside("b")
    assert (tmp_path / "journal" / "b.jsonl.unrepeated").read_bytes() == written
    assert journals.others(()) == ["b.jsonl"] and journals.others({"b"}) == []
    assert not (await journals.open("b")).num_left
    journals.done("b")
    journals.close()
    assert not (tmp_path / "journal").exists()


async def test_journals_are_read_one_at_a_time_while_the_loop_runs_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large run has a gigabyte of them, and all its problems begin at once."""
    (tmp_path / "journal").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "journal" / f"{name}.jsonl").touch()
    runs_on, alone = threading.Event(), threading.Lock()
    read: list[str] = []

    def slowly(path: Path) -> Content:
        assert alone.acquire(blocking=False)
        assert runs_on.wait(0.5)
        read.append(path.stem)
        alone.release()
        return read_content(path)

    async def go_on() -> None:
        runs_on.set()

    monkeypatch.setattr(journal_module, "read_content", slowly)
    journals = Journals(tmp_path)
    await asyncio.gather(*map(journals.open, "abc"), go_on())
    assert read == ["a", "b", "c"]


def test_few_files_are_open_at_once(tmp_path: Path) -> None:
    files = OpenFiles(most=3)
    paths = [tmp_path / str(i) for i in range(10)]
    for line in (b"one\n", b"two\n"):
        for path in paths:
            files.append(path, line)
    assert len(files._files) == 3
    files.close_all()
    assert {path.read_bytes() for path in paths} == {b"one\ntwo\n"}


def test_a_full_disk_leaves_whole_lines_and_says_which_file(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for the disk: the kernel takes a part of the line, and refuses the rest."""
    files, path = OpenFiles(), tmp_path / "journal" / "x.jsonl"
    files.append(path, b"whole\n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: .*x\.jsonl"):
            files.append(path, b"not all of this fits\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"whole\n"
    files.append(path, b"again\n")
    files.close_all()
    assert path.read_bytes() == b"whole\nagain\n"


def test_a_grant_is_read_again_until_it_is_given_back(tmp_path: Path) -> None:
    """Of two lines of one bid the later one counts; they are no calls, whose order matters."""
    path, first, second = tmp_path / "p.jsonl", RoundRecord(1, 0.25, 1.0, 1), RoundRecord(4, 1 / 3, 2.0, 0)
    journal = Journal(path)
    journal.record_grant("1", 0.5, first)
    journal.record_grant("2", 0.75, second)
    again = Journal(path)
    assert again.grants == [first, second] and again.grant("2") == second and not again.num_left
    again.record_grant("1", 0.75, None)
    assert Journal(path).grant("1") is None and Journal(path).grants == [second]
    again.record_grant("1", 0.75, second)
    assert Journal(path).grant("1") == second
