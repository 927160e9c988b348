"""Real benchmark rows, which are not part of the project: $MURMURATION_TEST_DATA, or ../shared/data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(os.environ.get("MURMURATION_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))

# The rows of each file of conf/task.
BENCHMARKS = {
    "math500": "math500.jsonl",
    "aime24": "aime24.jsonl",
    "gsm8k": "gsm8k_test_first300.jsonl",
    "arc_challenge": "arc_challenge_test_first300.jsonl",
    "truthfulqa": "truthfulqa_first300.jsonl",
}


def shared(name: str) -> Path:
    """A file of the rows. Without the folder: skips at home, fails in CI, which has it."""
    if not FOLDER.is_dir() and not os.environ.get("CI"):
        pytest.skip(f"no benchmark rows at {FOLDER}; set MURMURATION_TEST_DATA to a folder that holds them")
    path = FOLDER / name
    assert path.exists(), f"{path} is not there"
    return path


def shared_rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in shared(name).read_text(encoding="utf-8").splitlines()]
