"""Ends what a Ray of our own leaves behind when its run ends, however it ends: ``python reaper.py MARK``.

Ray's own processes end with the one that started them. Its agents look for that every few seconds, and one
that was being started when a ``kill -9`` came looks for a minute or more first. This is a process of its own,
which outlives the run for a moment. It knows Ray's processes by a mark in their environment.
"""

import contextlib
import os
import select
import signal
import sys
import time

MARK = "MURMURATION_RAY"
"""The environment variable that Ray's processes have, and no other."""

_POLL_S = 1.0
_PAUSE_S = 0.25
_GRACE_S = 1.0
_PATIENCE_S = 20.0


def main(mark: str) -> None:
    """Waits for the end of the parent, whose pipe is standard input, and ends what it has left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    parent = os.getppid()
    while os.getppid() == parent and not select.select([0], [], [], _POLL_S)[0]:
        pass
    begun, num_quiet = time.monotonic(), 0
    while num_quiet < 2 and time.monotonic() - begun < _PATIENCE_S:  # one that ends may have started another
        left = marked(mark)
        num_quiet = 0 if left else num_quiet + 1
        if time.monotonic() - begun > _GRACE_S:
            kill(left)
        time.sleep(_PAUSE_S)


def kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def marked(mark: str) -> list[int]:
    """The processes that were started with the mark in their environment."""
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if is_marked(pid, mark)]


def is_marked(pid: int, mark: str) -> bool:
    """Whether a process that is alive was started with the mark in its environment."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"{MARK}={mark}".encode() in file.read().split(b"\0")
    except OSError:
        return False


if __name__ == "__main__":
    main(sys.argv[1])
