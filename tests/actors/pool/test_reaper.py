"""What a Ray of our own leaves behind is ended, also what no longer shows its mark."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from actors.pool import reaper

# A parent with the mark whose child has none, as a Ray agent after it has set its title.
FAMILY = """
import os, subprocess, sys, time
own = {k: v for k, v in os.environ.items() if k != sys.argv[1]}
print(os.getpid(), subprocess.Popen(["sleep", "100"], env=own).pid, flush=True)
time.sleep(100)
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="it looks for processes in /proc")


@pytest.mark.heavy
@pytest.mark.parametrize("parent_dies_first", [False, True])
@pytest.mark.slow
def test_it_ends_what_is_marked_and_what_that_has_started(parent_dies_first: bool) -> None:
    mark = f"test-{os.getpid()}-{parent_dies_first}"
    stranger = subprocess.Popen(["sleep", "100"])
    family = subprocess.Popen(
        [sys.executable, "-c", FAMILY, reaper.MARK],
        env={**os.environ, reaper.MARK: mark},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert family.stdout is not None
    one = subprocess.Popen([sys.executable, "-I", "-S", reaper.__file__, mark], stdin=subprocess.PIPE)
    child = psutil.Process(int(family.stdout.readline().split()[1]))
    try:
        time.sleep(2.5)  # the reaper looks every second
        if parent_dies_first:
            family.kill()
            family.wait()
        one.communicate(timeout=30)
        assert family.wait(10) == -9
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
        assert stranger.poll() is None
    finally:
        for process in (one, family, stranger):
            process.kill()
            process.wait()
        if child.is_running():
            child.kill()
    family.stdout.close()


def test_a_process_is_known_by_its_start() -> None:
    assert reaper.started(os.getpid()) == reaper.started(os.getpid()) != ""
    assert reaper.parent_of(os.getpid()) == os.getppid()
    assert reaper.started(2**30) == "" and reaper.parent_of(2**30) == 0
