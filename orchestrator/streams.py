"""What the process gets from whoever started it: standard streams, and how many files it may open."""

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
    """Gives standard streams that are closed (``2>&-``, as some daemons start their children) to nowhere.

    Libraries write there without looking; and the next file that is opened would take the number.
    """
    for number, (name, mode) in enumerate(zip(_NAMES, _MODES, strict=True)):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="replace", closefd=False))  # noqa: SIM115


def silence(stream: TextIO) -> None:
    """Sends to nowhere what nobody reads any more, also what is in its buffer."""
    with suppress(OSError, ValueError):
        number = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)


def write_error(text: str) -> None:
    """A line on stderr, if there is somebody to read it: a terminal that is gone ends no search."""
    try:
        sys.stderr.write(f"{text}\n")
    except (OSError, ValueError):
        silence(sys.stderr)


def flush_streams() -> None:
    """The last that is written; Python would turn a reader that is gone into a status of its own."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            silence(stream)


def raise_file_limit() -> None:
    """Lets the process open as many files as it may: the limit that is set is often 1,024, or 256.

    Raises ConfigError where that is too few for Ray and a run's own files.
    """
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # "unlimited" is more than some systems take
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        soft = most
    if soft != resource.RLIM_INFINITY and soft < _FEWEST_FILES:
        raise ConfigError("ulimit -n", soft, f"must be {_FEWEST_FILES} open files or more")
