"""What a process inherits from its parent: standard streams, and how many files it may open."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from typing import TextIO

from orchestrator.errors import ConfigError

_NAMES = ("stdin", "stdout", "stderr")
_FEWEST_FILES = 64
_MODES = ("r", "w", "w")


def open_streams() -> None:
    """Open closed standard streams (``2>&-``, as some daemons start their children) on the null device.

    Libraries write to them without a check, and the next file to be opened would get the number.
    """
    for number, (name, mode) in enumerate(zip(_NAMES, _MODES, strict=True)):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="replace", closefd=False))  # noqa: SIM115


def silence(stream: TextIO) -> None:
    """Send a stream that no process reads any more to the null device, with what is in its buffer."""
    with suppress(OSError, ValueError):
        number = stream.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        os.close(null)


def write_error(text: str) -> None:
    """Write a line to stderr, if it is still open: a closed terminal must not end a search."""
    try:
        sys.stderr.write(f"{text}\n")
    except (OSError, ValueError):
        silence(sys.stderr)


def flush_streams() -> None:
    """Flush the standard streams; with a closed reader Python itself would exit with another status."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            silence(stream)


def raise_file_limit() -> None:
    """Raise the process's limit of open files to the most it may have: it is often 1,024, or 256.

    Raises ConfigError where that is too few for Ray and the files of a run.
    """
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # "unlimited" is more than some systems accept
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        soft = most
    if soft != resource.RLIM_INFINITY and soft < _FEWEST_FILES:
        raise ConfigError("ulimit -n", soft, f"must be {_FEWEST_FILES} open files or more")
