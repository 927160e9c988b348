"""The notebook of docs/: every cell runs, in a kernel of its own, and shows what it says that it shows."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.test_house import ROOT

slow = pytest.mark.slow  # half a minute: a kernel that imports torch and loads the shipped models
NOTEBOOK = ROOT / "docs" / "first_search.ipynb"


@pytest.fixture(scope="module")
def outputs() -> list[list[dict[str, Any]]]:
    """What each cell of code printed and displayed."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    os.environ.setdefault("PYTHONPATH", str(ROOT))
    NotebookClient(notebook, timeout=100, kernel_name="python3").execute()
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


@slow
def test_each_method_solves_most_problems(outputs: list[list[dict[str, Any]]]) -> None:
    lines = "".join(part["text"] for part in outputs[2]).splitlines()
    assert [line.split("  ")[0] for line in lines] == ["self-consistency", "best-of-N", "particle filter"]
    right = [int(line.split(" of ")[0].split()[-1]) for line in lines]
    assert right[0] > 2
    assert 6 < right[2] <= 12


@slow
def test_a_result_is_drawn(outputs: list[list[dict[str, Any]]]) -> None:
    (shown,) = [part["data"] for part in outputs[3] if "data" in part]
    assert "<svg" in shown["text/html"] and "<script" not in shown["text/html"]
    assert shown["text/plain"].startswith("<ProblemResult answer=")


def test_it_is_stored_without_outputs() -> None:
    cells = json.loads(Path(NOTEBOOK).read_text(encoding="utf-8"))["cells"]
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in cells)
