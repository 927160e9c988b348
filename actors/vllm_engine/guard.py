"""Ends vLLM's processes when the process that started them ends, however it ends.

vLLM's engine runs forever when its parent is killed (seen on 0.32), and keeps its memory on the card: the
replica that replaces the dead one would find no room. This file is also the program of the guard: it
reads its standard input, which ends with the parent, and then kills every process with the parent's mark.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

MARK = "MURMURATION_GUARD"


class Guard:
    """A process that waits for the end of this one, or for ``release``."""

    def __init__(self) -> None:
        self._mark = uuid.uuid4().hex
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, self._mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a signal to this process must not reach the guard
        )

    @property
    def environ(self) -> dict[str, str]:
        """The environment variable that marks a process as guarded."""
        return {MARK: self._mark}

    @property
    def released(self) -> bool:
        return self._process.returncode is not None

    def release(self) -> None:
        """Kill what is left of the guarded processes, and end the guard."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def kill_marked(mark: str) -> None:
    """Kill every process of this user whose environment holds the mark (Linux)."""
    variable = f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if variable in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)
        except OSError:
            continue  # it has ended, or belongs to another user


if __name__ == "__main__":
    sys.stdin.buffer.read()
    kill_marked(sys.argv[1])
