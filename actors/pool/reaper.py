"""Ends what a Ray started here leaves behind when its run ends, however it ends: ``python reaper.py MARK``.

Ray's own processes end with the one that started them. Its agents check that every few seconds, but one
that was being started at a ``kill -9`` first runs for a minute or more; so does one that reports the end to a
control service that is gone as well. This is a separate process, which outlives the run for a moment. It
finds Ray's processes by a mark in their environment, and those that have overwritten it (as Ray's
agents do when they set their title) by the process that started them.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Iterable

MARK = "MURMURATION_RAY"
"""The environment variable that Ray's processes have, and no other."""

_POLL_S = 1.0
_PAUSE_S = 0.25
_GRACE_S = 1.0
_PATIENCE_S = 20.0


def main(mark: str) -> None:
    """Wait for the end of the parent, whose pipe is standard input, and end what it has left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    parent = os.getppid()
    seen = family(mark)
    while os.getppid() == parent and not select.select([0], [], [], _POLL_S)[0]:
        seen |= family(mark)
    begun, num_quiet = time.monotonic(), 0
    while num_quiet < 2 and time.monotonic() - begun < _PATIENCE_S:  # one that ends may have started another
        seen |= family(mark)
        seen = left = {process for process in seen if started(process[0]) == process[1]}
        num_quiet = 0 if left else num_quiet + 1
        if time.monotonic() - begun > _GRACE_S:
            kill(pid for pid, _ in left)
        time.sleep(_PAUSE_S)


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def family(mark: str) -> set[tuple[int, str]]:
    """Return the processes with the mark and their descendants, each with the time when it started."""
    children: dict[int, list[int]] = {}
    for pid in processes():
        children.setdefault(parent_of(pid), []).append(pid)
    found, todo = set(), [pid for pid in processes() if is_marked(pid, mark)]
    while todo:
        pid = todo.pop()
        if (process := (pid, started(pid))) not in found and process[1]:
            found.add(process)
            todo += children.get(pid, [])
    return found


def processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def parent_of(pid: int) -> int:
    """Return the parent of a process; 0 where there is none."""
    return int((fields_of(pid) or ["", "0"])[1])


def started(pid: int) -> str:
    """Return when a living process was started, in ticks since boot; "" where it is not alive.

    With its number this identifies a process: numbers are reused.
    """
    fields = fields_of(pid)
    return fields[19] if fields and fields[0] not in ("Z", "X") else ""


def fields_of(pid: int) -> list[str]:
    """Return the fields of ``/proc/PID/stat`` from the third, the state, on; none without such a process.

    See proc_pid_stat(5). The second, the name, may hold anything but ends with the last parenthesis.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def is_marked(pid: int, mark: str) -> bool:
    """Return whether a living process has the mark in its environment."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"{MARK}={mark}".encode() in file.read().split(b"\0")
    except OSError:
        return False


if __name__ == "__main__":
    main(sys.argv[1])
