"""The models' replies so far, one file a problem: a search is resumed by running it again on these.

Session writes a line for each reply, and for each grant of an allocator. A strategy is deterministic given
its seed and its replies, so the same coroutine, given the recorded replies, reaches the point where it was,
and calls the models only from there.

A line is passed to the operating system at once, in one write: it outlives this process, even after kill -9.
It is not synced: when the machine goes down its last seconds may be missing, and their calls are repeated.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import JournalError
from orchestrator.storage.appending import OpenFiles
from orchestrator.storage.journal_lines import (
    Record,
    Reply,
    checksum_of,
    digest_of,
    read_record,
    write_record,
)
from orchestrator.types import ENGINE, RoundRecord

log = logging.getLogger(__name__)

JOURNAL = "journal"
_GRANT = "granted "  # begins the names of lines that are grants, as no call's name does
# A recorded call is repeated within milliseconds; a search that does not repeat it has taken another way.
PATIENCE = 60.0
"""Seconds."""
_WAITS = 10  # in which patience is counted
_UNREPEATED = ".unrepeated"  # ends the names of journals that were set aside


@dataclass(frozen=True, slots=True)
class Call:
    """A call under its name in the journal, the ``number``-th call or decision of its search.

    ``record`` is its reply in an earlier part of the run.
    """

    name: str
    digest: str
    number: int
    record: Record | None


class Journal:
    """The answered calls of one problem: recorded replies are returned again, new ones are written.

    While recorded ones are left, calls and replies follow each other in their first order, so that a method
    whose result depends on arrival, and branches that compete for the last tokens, end as they did then.
    A new call waits until every recorded reply was returned; it fails if the search repeats nothing for
    ``patience`` seconds. Without a ``path`` nothing is kept. ``content`` is what the file holds, if it has
    been read already.
    """

    def __init__(
        self,
        path: Path | None = None,
        files: OpenFiles | None = None,
        *,
        patience: float = PATIENCE,
        content: Content | None = None,
    ) -> None:
        self._path = path
        self._patience = patience
        self._files = files or OpenFiles()
        found, self._checksum = ([], 0) if path is None else _sound(path, content or read_content(path))
        self._records = [record for record in found if not _is_grant(record)]
        self._grants = _standing(found)
        self._index = {record.call: i for i, record in enumerate(self._records)}
        self._numbers = {record.asked for record in self._records}
        self._num_given = 0
        self._num_events = 0
        self._entering: dict[str, asyncio.Future[None]] = {}
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._branches: Counter[str] = Counter()

    @property
    def elapsed(self) -> float:
        """The problem's clock at the last recorded reply, in seconds."""
        return self._records[-1].elapsed if self._records else 0.0

    @property
    def num_left(self) -> int:
        """The number of recorded replies that have not been returned."""
        return len(self._records) - self._num_given

    def branch(self, scope: str) -> str:
        """Return a name for the calls of one session: its scope, with a number where the scope is taken."""
        self._branches[scope] += 1
        return scope if self._branches[scope] == 1 else f"{scope}#{self._branches[scope]}"

    async def enter(self, name: str) -> None:
        """Wait until the call may reserve what it needs: after those that did so before it."""
        if self.num_left:
            self._entering[name] = turn = asyncio.get_running_loop().create_future()
            await self._wait(turn)

    def decide(self) -> int:
        """Count a call, or a decision that bears on other calls such as a limit; return its number."""
        self._num_events += 1
        self._continue()
        return self._num_events

    async def ask(self, name: str, requests: Sequence[object], policy: str = ENGINE) -> Call:
        """Count a call to a policy, and wait until its recorded reply is due, or a new one may be requested.

        Raises JournalError where something else was requested under this name.
        """
        digest = "" if self._path is None else digest_of(requests, policy)
        index, record = self._index.get(name, -1), None
        if index >= 0:
            record = self._records[index]
            if record.digest != digest:
                wrong = "requests something else than when it was answered"
                raise JournalError(f"{self._path}: call {name!r} {wrong}")
        call = Call(name, digest, self.decide(), record)
        if self.num_left:
            self._asked[index if record else len(self._records) + call.number] = turn = (
                asyncio.get_running_loop().create_future()
            )
            await self._wait(turn)
        return call

    async def _wait(self, turn: asyncio.Future[None]) -> None:
        # Soon and not now: all that continue together must be waiting, to continue in their order.
        asyncio.get_running_loop().call_soon(self._continue)
        if not await self._comes(turn):
            expected = self._records[min(self._num_given, len(self._records) - 1)].call
            raise JournalError(f"{self._path}: call {expected!r} was answered, but is not repeated now")

    async def _comes(self, turn: asyncio.Future[None]) -> bool:
        """Return whether the turn comes; False once the search has repeated nothing for its patience.

        Patience is counted in short waits. One that ends late does not count: the event loop was blocked, by
        other problems for instance, and this search could repeat nothing.
        """
        loop, seconds = asyncio.get_running_loop(), self._patience / _WAITS
        left = _WAITS
        while left:
            begun, repeated = loop.time(), self._num_given + self._num_events
            if (await asyncio.wait((turn,), timeout=seconds))[0]:
                return True
            if self._num_given + self._num_events > repeated:
                left = _WAITS
            elif loop.time() - begun < 2 * seconds:
                left -= 1
        return False

    def _continue(self) -> None:
        """Continue everything whose turn it is. What arrived together continues together."""
        while self.num_left and self._records[self._num_given].answered <= self._num_events:
            if self._num_given not in self._asked:
                return
            _release(self._asked.pop(self._num_given))
            self._num_given += 1
        for name in [n for n in self._entering if self._may_enter(n)]:
            _release(self._entering.pop(name))
        if not self.num_left:
            for number in sorted(self._asked):
                _release(self._asked.pop(number))

    def _may_enter(self, name: str) -> bool:
        """Return whether all earlier replies were returned; a new call takes a number that no other had."""
        if name not in self._index:
            return not self.num_left or self._num_events + 1 not in self._numbers
        return self._num_events + 1 >= self._records[self._index[name]].asked

    def record(self, call: Call, elapsed: float, replies: Sequence[Reply] | None) -> None:
        """Write the replies to a new call; None: the time limit cancelled it. Raises OSError."""
        if self._path is not None:
            kept = None if replies is None else tuple(replies)
            self._append(Record(call.name, call.digest, elapsed, call.number, self._num_events, kept))

    def _append(self, record: Record) -> None:
        if self._path is not None:
            line = write_record(record, self._checksum)
            self._files.append(self._path, line)
            self._checksum = checksum_of(line)

    @property
    def grants(self) -> list[RoundRecord]:
        """What the problem was granted by an earlier part of the run, in the order of its bids."""
        return list(self._grants.values())

    def grant(self, name: str) -> RoundRecord | None:
        """Return what the bid of this name was granted by an earlier part of the run."""
        return self._grants.get(name)

    def record_grant(self, name: str, elapsed: float, granted: RoundRecord | None) -> None:
        """Write what a bid was granted; None: it was given back. Raises OSError."""
        kept = () if granted is None else (granted,)
        self._append(Record(f"{_GRANT}{name}", "", elapsed, 0, 0, kept))

    def check_over(self) -> None:
        """Raise JournalError where the search has ended before it repeated every recorded call."""
        if self.num_left:
            name = self._records[self._num_given].call
            raise JournalError(f"{self._path}: call {name!r} was answered, but the search ended without it")


def _is_grant(record: Record) -> bool:
    return record.call.startswith(_GRANT)


def _standing(records: Sequence[Record]) -> dict[str, RoundRecord]:
    """Return the grants by the names of their bids, without those that were given back."""
    latest = {r.call.removeprefix(_GRANT): r.replies or () for r in records if _is_grant(r)}
    return {name: x for name, found in latest.items() for x in found if isinstance(x, RoundRecord)}


def _release(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


@dataclass(frozen=True, slots=True)
class Content:
    """The records up to the first bad line, with their bytes and the checksum of the last one.

    ``num_cut`` bytes follow them, in which ``num_damaged`` lines are whole.
    """

    records: list[Record]
    size: int
    checksum: int
    num_cut: int
    num_damaged: int


def read_content(path: Path) -> Content:
    """Read a journal's file and leave it as it is, so that any thread may do it."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = b""
    records, size, checksum = [], 0, 0
    for line in data.splitlines(keepends=True):
        try:
            records.append(read_record(line, checksum))
        except (ValueError, KeyError, TypeError, AttributeError):
            break
        size, checksum = size + len(line), checksum_of(line)
    return Content(records, size, checksum, len(data) - size, data.count(b"\n", size))


def _sound(path: Path, content: Content) -> tuple[list[Record], int]:
    """Return the records and the checksum of the last one; cut off what follows them, as a torn line."""
    if content.num_cut:
        if content.num_damaged:  # more than the last line that a death cut short
            text = "%s: %d lines are damaged, or of another release: their calls are repeated"
            log.warning(text, path, content.num_damaged)
        os.truncate(path, content.size)
    return content.records, content.checksum


class Journals:
    """The journals of a run: ``journal/`` in its directory. ``keep`` leaves them there at the end."""

    def __init__(self, run_dir: Path, *, keep: bool = False) -> None:
        self._folder = run_dir / JOURNAL
        self._keep = keep
        self._files = OpenFiles()
        self._reading = asyncio.Lock()

    async def open(self, problem_id: str) -> Journal:
        """Return the journal of a problem, with what an earlier part of the run has left.

        A thread reads it, and one at a time: a large run has thousands, which would block the event loop.
        """
        path = self._path(problem_id)
        if not path.exists():
            return Journal(path, self._files)
        async with self._reading:
            content = await asyncio.to_thread(read_content, path)
        return Journal(path, self._files, content=content)

    def done(self, problem_id: str) -> None:
        """Close the journal of a problem whose result is on disk; remove it unless they are kept."""
        path = self._path(problem_id)
        self._files.close(path)
        if not self._keep:
            path.unlink(missing_ok=True)
            _aside(path).unlink(missing_ok=True)

    def pause(self, problem_id: str) -> None:
        """Close the journal of a problem that ended in an error: a retry resumes from where it was."""
        self._files.close(self._path(problem_id))

    def set_aside(self, problem_id: str) -> None:
        """Rename the journal of a problem that a retry must solve from its beginning."""
        path = self._path(problem_id)
        self._files.close(path)
        with suppress(FileNotFoundError):
            path.replace(_aside(path))

    def forget(self, problem_ids: Collection[str]) -> None:
        """Remove the journals of problems that are done: a run may be killed between result and ``done``."""
        if self._folder.is_dir():
            for problem_id in problem_ids:
                self.done(problem_id)

    def others(self, problem_ids: Collection[str]) -> list[str]:
        """Return the names of the journals that belong to none of these problems."""
        own = {self._path(problem_id).name for problem_id in problem_ids}
        files = self._folder.iterdir() if self._folder.is_dir() else ()
        return sorted({file.name.removesuffix(_UNREPEATED) for file in files} - own)

    def close(self) -> None:
        """Close every file, and remove the folder where it is empty."""
        self._files.close_all()
        with suppress(OSError):  # it is not empty, or gone, or cannot be written
            self._folder.rmdir()

    def _path(self, problem_id: str) -> Path:
        return self._folder / f"{_file_name(problem_id)}.jsonl"


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}{_UNREPEATED}")


def _file_name(problem_id: str) -> str:
    """Return the id itself where every file system accepts it; otherwise what is left of it, and a digest."""
    if re.fullmatch(r"[a-z0-9_-][a-z0-9._-]{0,99}", problem_id):
        return problem_id
    digest = hashlib.blake2b(problem_id.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', problem_id)[:60]}-{digest}"
