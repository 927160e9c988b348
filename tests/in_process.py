"""The command line without a process of its own: what a mistake in it says takes no Ray and no torch."""

from __future__ import annotations

import logging
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

import run

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Done:
    """As ``subprocess.CompletedProcess`` has it."""

    returncode: int
    stdout: str
    stderr: str


@contextmanager
def process_kept() -> Iterator[None]:
    """Undo what a program does to its process: handlers of signals, limits, hooks."""
    handlers = {number: signal.getsignal(number) for number in NUMBERS}
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    unraisable, last_resort = sys.unraisablehook, logging.lastResort
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        sys.unraisablehook, logging.lastResort = unraisable, last_resort


def run_here(capsys: pytest.CaptureFixture[str], *arguments: str) -> Done:
    """``python run.py`` with these arguments, from the folder of the test."""
    capsys.readouterr()
    with process_kept(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["run.py", *arguments])
        status = run.main()
    return Done(status, *capsys.readouterr())
