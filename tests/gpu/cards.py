"""What the tests on a card share: arguments that let several engines start side by side, and real runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
# Memory by bytes, so that nothing is measured at the start; no compilation, which takes longer than a test.
ON_A_CARD = {"max_num_seqs": 64, "kv_cache_memory_bytes": 2**30, "enforce_eager": True}


def options(group: str) -> list[str]:
    """The same, for the command line."""
    return [f"{group}.args.{name}={str(value).lower()}" for name, value in ON_A_CARD.items()]


def start(*arguments: str) -> subprocess.Popen[str]:
    """run.py in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "run.py", *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def finish(process: subprocess.Popen[str], seconds: float = 240) -> str:
    """Its output, once it has ended well."""
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        output, _ = process.communicate()
        raise AssertionError(f"no end after {seconds} s:\n{output}") from None
    assert process.returncode == 0, f"status {process.returncode}:\n{output}"
    return output


def run(run_dir: Path, *arguments: str) -> dict[str, Any]:
    """The summary of a run."""
    finish(start(*arguments, f"run_dir={run_dir}"))
    return json.loads((run_dir / "summary.json").read_text())  # type: ignore[no-any-return]


def candidates_of(run_dir: Path) -> dict[str, list[Any]]:
    """The texts and answers of each problem's candidates."""
    lines = [json.loads(line) for line in (run_dir / "results.jsonl").read_text().splitlines()]
    return {
        line["problem_id"]: [line["answer"], *((c["text"], c["answer"]) for c in line["candidates"])]
        for line in lines
    }


def pids_on_cards() -> set[int]:
    """The processes that hold memory of a card."""
    query = ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"]
    return {
        int(line) for line in subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()
    }
