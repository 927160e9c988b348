"""A disk that keeps only what was synced when the machine goes down, and whose writes may fail."""

from __future__ import annotations

import io
import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import ExitStack, contextmanager
from functools import partialmethod
from pathlib import Path
from typing import Any, BinaryIO
from unittest.mock import patch

from orchestrator.storage import appending, atomic, journal, plain_files, results
from orchestrator.storage import group_commit as syncing
from tests.simulation.fate import Fate


class _Raw(io.FileIO):
    """An unbuffered file whose writes are the disk's."""

    disk: Disk

    def write(self, data: Any) -> int:
        return self.disk.write(self.fileno(), data)


class Disk:
    """Stands for the module ``os`` in all that writes to the run directory ``root``.

    The files are real; what is kept here is how much of each was synced, and which names were. A part begins
    with everything on disk.
    """

    def __init__(self, root: Path, fate: Fate, rng: random.Random) -> None:
        self._root = root
        self._fate = fate
        self._rng = rng
        self._synced: dict[int, int] = {}
        self._named: set[Path] = set()
        self._unlinked: list[tuple[Path, bytes]] = []
        self._replaced: dict[Path, bytes | None] = {}
        for path in self._files():
            self._synced[path.stat().st_ino] = path.stat().st_size
            self._named.add(path)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def _files(self) -> list[Path]:
        return sorted(p for p in self._root.rglob("*") if p.is_file())

    def write(self, descriptor: int, data: bytes) -> int:
        """A part of ``data`` where the driver dies in it, or where the disk is full after it."""
        if self._fate.is_due:
            os.write(descriptor, data[: self._rng.randint(0, len(data))])
        self._fate.operation()
        if (code := self._fate.fails("write")) is not None:
            if len(data) > 1 and self._rng.random() < 0.5:  # a part fits
                self._fate.failing = ("write", self._fate._counts["write"] + 1, code)
                return os.write(descriptor, data[: self._rng.randint(1, len(data) - 1)])
            raise OSError(code, os.strerror(code))
        return os.write(descriptor, data)

    def fsync(self, descriptor: int, size: int | None = None) -> None:
        """Syncs a file, up to ``size``: what is written while a sync is under way need not be in it."""
        self._fate.operation()
        if (code := self._fate.fails("sync")) is not None:
            raise OSError(code, os.strerror(code))
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            folder = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            self._named.update(p for p in self._files() if p.parent == folder)
            self._unlinked = [(p, data) for p, data in self._unlinked if p.parent != folder]
            self._replaced = {p: data for p, data in self._replaced.items() if p.parent != folder}
        else:
            synced = found.st_size if size is None else min(size, found.st_size)
            self._synced[found.st_ino] = max(synced, self._synced.get(found.st_ino, 0))

    def ftruncate(self, descriptor: int, size: int) -> None:
        self._fate.operation()
        os.ftruncate(descriptor, size)
        self._cut(os.fstat(descriptor).st_ino, size)

    def truncate(self, path: Path, size: int) -> None:
        self._fate.operation()
        os.truncate(path, size)
        self._cut(path.stat().st_ino, size)

    def _cut(self, inode: int, size: int) -> None:
        self._synced[inode] = min(size, self._synced.get(inode, 0))

    def replace(self, source: Path, target: Path) -> None:
        self._fate.operation()
        if target not in self._replaced:
            self._replaced[target] = target.read_bytes() if target.exists() else None
        os.replace(source, target)
        self._named.add(target)

    def fdopen(self, descriptor: int, mode: str, *args: Any, **keys: Any) -> BinaryIO:
        if keys.get("buffering") != 0:
            return os.fdopen(descriptor, mode, *args, **keys)
        file = _Raw(descriptor, mode)
        file.disk = self
        return file  # type: ignore[return-value]

    def unlink(self, path: Path, missing_ok: bool = False) -> None:
        """``Path.unlink``."""
        if not path.is_relative_to(self._root) or not path.exists():
            return _unlink(path, missing_ok)
        self._fate.operation()
        self._unlinked.append((path, path.read_bytes()))
        return _unlink(path, missing_ok)

    def after_kill(self, target: Path) -> None:
        """What is on disk once the driver alone has died: everything that it has written."""
        shutil.copytree(self._root, target)

    def after_power_cut(self, target: Path) -> None:
        """What is on disk once the machine went down: of what was not synced all, nothing or a part."""
        shutil.copytree(self._root, target)
        for path in self._files():
            copy, size = target / path.relative_to(self._root), path.stat().st_size
            synced = min(size, self._synced.get(path.stat().st_ino, 0))
            os.truncate(copy, self._rng.choice((synced, size, self._rng.randint(synced, size))))
            if path not in self._named and self._rng.random() < 0.5:
                copy.unlink()
        for path, data in [*self._unlinked, *self._replaced.items()]:
            if self._rng.random() < 0.5:
                self._bring_back(target / path.relative_to(self._root), data)

    @staticmethod
    def _bring_back(path: Path, data: bytes | None) -> None:
        """A name as it was before it was changed."""
        if data is None:
            _unlink(path, missing_ok=True)
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """All that writes to a run directory writes here inside."""
        with ExitStack() as patches:
            for module in (appending, atomic, journal, plain_files, results, syncing):
                patches.enter_context(patch.object(module, "os", self))
            patches.enter_context(patch.object(Path, "unlink", partialmethod(_unlinked, self)))
            yield


_unlink = Path.unlink


def _unlinked(path: Path, disk: Disk, missing_ok: bool = False) -> None:
    disk.unlink(path, missing_ok)


class _Work(Future[Any]):
    """What an executor of one thread was given; whoever waits for it does it."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__()
        self._work = work

    def do(self) -> None:
        if not self.done():
            try:
                self.set_result(self._work())
            except Exception as failure:  # noqa: BLE001 - as an executor does
                self.set_exception(failure)

    def result(self, timeout: float | None = None) -> Any:
        self.do()
        return super().result(timeout)


class NoThread(Executor):
    """Stands for a thread that syncs: the event loop does what it is given, ``delay()`` seconds later."""

    def __init__(self, loop: Any, delay: Callable[[], float]) -> None:
        self._loop = loop
        self._delay = delay
        self._given: list[_Work] = []

    def submit(self, work: Callable[..., Any], /, *args: Any, **keys: Any) -> Future[Any]:
        if work.__name__ == "fsync":
            keys["size"] = os.fstat(args[0]).st_size
        given = _Work(lambda: work(*args, **keys))
        self._given = [*(g for g in self._given if not g.done()), given]
        if not self._loop.is_closed():
            self._loop.call_later(self._delay(), given.do)
        return given

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        for given in self._given:
            given.do()
