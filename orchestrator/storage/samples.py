"""``samples.jsonl``: the result lines of a smaller budget, while a run draws the samples that are missing.

When a run is extended its results are set aside here. A problem's line is written to results.jsonl again once
its new samples are drawn, so no sample is lost, whenever the run is interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.storage.atomic import sync_folder, write_lines
from orchestrator.storage.json_reading import BadJson, parse_object
from orchestrator.storage.plain_files import open_to_read
from orchestrator.storage.results import whole_lines
from orchestrator.storage.run_files import RESULTS

SAMPLES = "samples.jsonl"


def set_aside(run_dir: Path) -> None:
    """Move results.jsonl to samples.jsonl, which keeps its lines of problems that have no newer one.

    Killed at any point, this leaves the samples in one of the two files. Raises OSError.
    """
    write_lines(run_dir / SAMPLES, _merged(run_dir))
    (run_dir / RESULTS).unlink(missing_ok=True)
    sync_folder(run_dir)


def _merged(run_dir: Path) -> Iterator[bytes]:
    newer = set[str]()
    for line, value in whole_lines(run_dir / RESULTS):
        newer.add(value["problem_id"])
        yield line
    for line, value in whole_lines(run_dir / SAMPLES):
        if value["problem_id"] not in newer:
            yield line


def drop_samples(run_dir: Path) -> None:
    """Remove samples.jsonl: every problem has its new line."""
    (run_dir / SAMPLES).unlink(missing_ok=True)


class StoredLines(Mapping[str, Mapping[str, Any]]):
    """The lines of samples.jsonl by problem, read from the file when they are needed; none without a file."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / SAMPLES
        self._places: dict[str, tuple[int, int]] = {}
        at = 0
        for line, value in whole_lines(self._path):
            self._places[value["problem_id"]] = (at, len(line))
            at += len(line)

    def __getitem__(self, problem_id: str) -> Mapping[str, Any]:
        """Return a problem's line. Raises KeyError without one, or where the file has changed since."""
        at, size = self._places[problem_id]
        with open_to_read(self._path) as file:
            file.seek(at)
            try:
                line = parse_object(file.read(size))
            except BadJson:
                line = {}
        if line.get("problem_id") != problem_id:
            raise KeyError(problem_id)
        return line

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
