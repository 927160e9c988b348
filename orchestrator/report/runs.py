"""Run directories as a report reads them: once, line by line, into columns and compressed chunks."""

from __future__ import annotations

import base64
import json
import logging
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.report.ties import Rule, is_tie, rule_of
from orchestrator.storage.result_lines import spent
from orchestrator.storage.results import stream_results
from orchestrator.storage.run_files import CONFIG, RESULTS, SUMMARY, read_config, read_summary
from orchestrator.storage.silence import silence_rows

log = logging.getLogger(__name__)

DIRECTORY = "RUN_OR_SWEEP_DIR"
CHUNK_PROBLEMS = 25  # problems whose searches are packed together
MAX_QUESTION = 200  # characters of a question in the table; the search has all of it


@dataclass
class Columns:
    """One entry a problem, in the order of ``results.jsonl``."""

    problem_id: list[str] = field(default_factory=list)
    question: list[str] = field(default_factory=list)
    reference: list[str] = field(default_factory=list)
    answer: list[str | None] = field(default_factory=list)
    correct: list[bool] = field(default_factory=list)
    num_candidates: list[int] = field(default_factory=list)
    num_right: list[int] = field(default_factory=list)
    tie: list[bool] = field(default_factory=list)
    error: list[str | None] = field(default_factory=list)
    stopped_by: list[str | None] = field(default_factory=list)
    generated_tokens: list[int] = field(default_factory=list)
    sequential_tokens: list[int] = field(default_factory=list)
    reward_calls: list[int] = field(default_factory=list)
    flops: list[float] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, line: Mapping[str, Any], rule: Rule) -> None:
        """Append a result line."""
        question = str(line["question"])
        self.problem_id.append(line["problem_id"])
        self.question.append(question[:MAX_QUESTION] + ("…" if len(question) > MAX_QUESTION else ""))
        self.reference.append(line["reference"])
        self.answer.append(line["answer"])
        self.correct.append(bool(line["correct"]))
        self.num_candidates.append(len(line["candidates"]))
        self.num_right.append(sum(bool(c["correct"]) for c in line["candidates"]))
        self.tie.append(is_tie(line["candidates"], rule))
        self.error.append(None if line["error"] is None else line["error"]["type"])
        self.stopped_by.append(line["stopped_by"])
        self.generated_tokens.append(line["usage"]["generated_tokens"])
        self.sequential_tokens.append(spent(line).sequential_tokens)  # 0: of an older release
        self.reward_calls.append(line["usage"]["reward_calls"])
        self.flops.append(line["usage"]["flops"])
        self.cost.append(line.get("cost", 0.0))  # 0: no policy has a price
        self.seconds.append(line["seconds"])

    def __len__(self) -> int:
        return len(self.problem_id)

    @property
    def passed(self) -> list[bool]:
        """Whether some candidate of a problem is right."""
        return [num > 0 for num in self.num_right]


@dataclass(frozen=True)
class SavedRun:
    """One run directory: its summary, its columns, and its searches in chunks of base64 text.

    ``searches`` holds ``CHUNK_PROBLEMS`` problems per chunk, fewer if the size limit cut them off.
    """

    folder: Path
    name: str
    summary: Mapping[str, Any]
    config: Mapping[str, Any]
    columns: Columns
    searches: Sequence[str]

    @property
    def strategy(self) -> str:
        return str(self.summary["strategy"])

    @property
    def budget(self) -> int:
        return int(self.summary["budget"])

    @property
    def seed(self) -> int:
        return int(self.summary["seed"])

    @property
    def wall_seconds(self) -> float:
        """Wall time in seconds; 0 if it is not known."""
        return float(self.summary["wall_seconds"] or 0)

    @property
    def silence(self) -> list[tuple[str, str]]:
        """What was not answered, with counts and what to change; empty if everything was answered."""
        return silence_rows(self.summary)

    def by_problem(self) -> dict[str, float]:
        """Return 1.0 for a right answer and 0.0 for another, by problem."""
        return {i: float(c) for i, c in zip(self.columns.problem_id, self.columns.correct, strict=True)}


def find_runs(folder: Path) -> list[Path]:
    """Return every run directory in ``folder``, itself included, in order of name.

    Raises ConfigError when there is none.
    """
    if not folder.is_dir():
        raise ConfigError(DIRECTORY, folder, "is no directory")
    found = sorted(path.parent for path in folder.rglob(SUMMARY) if _is_run(path.parent))
    if not found:
        allowed = f"holds no finished or interrupted run ({SUMMARY}, {CONFIG} and {RESULTS})"
        raise ConfigError(DIRECTORY, folder, allowed)
    return found


def _is_run(folder: Path) -> bool:
    return os.path.lexists(folder / CONFIG) and os.path.lexists(folder / RESULTS)


def read_run(folder: Path, name: str, max_bytes: float) -> SavedRun:
    """Read one run; its searches take at most about ``max_bytes`` of text, from the first problem on."""
    config, summary = read_config(folder, DIRECTORY), read_summary(folder, DIRECTORY)
    rule, columns = rule_of(config["strategy"]), Columns()
    searches: list[str] = []
    pending: list[dict[str, Any]] = []
    num_bytes = 0
    for line in stream_results(folder):
        columns.add(line, rule)
        if num_bytes >= max_bytes:
            continue
        pending.append(compact(line))
        if len(pending) == CHUNK_PROBLEMS:
            searches.append(pack(pending))
            num_bytes += len(searches[-1])
            pending = []
    if pending:
        searches.append(pack(pending))
    return SavedRun(folder, name, summary, config, columns, searches)


def read_runs(folder: Path, max_bytes: float) -> Iterator[SavedRun]:
    """Read every run below ``folder``; what one leaves of its share of ``max_bytes`` goes to the next ones.

    A run that cannot be read is named in a warning and left out. Raises ConfigError if none can be read.
    """
    folders = find_runs(folder)
    left, mistakes = max_bytes, []
    for i, path in enumerate(folders):
        name = str(path.relative_to(folder)) if path != folder else path.resolve().name
        try:
            run = read_run(path, name, left / (len(folders) - i))
        except ConfigError as mistake:
            mistakes.append(mistake)
            if len(folders) > 1:
                log.warning("%s: the run is left out", mistake)
            continue
        left -= sum(map(len, run.searches))
        yield run
    if len(mistakes) == len(folders):
        raise mistakes[0]


def compact(value: Any) -> Any:
    """Return the same JSON value with floats to six digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: compact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [compact(item) for item in value]
    return value


def pack(value: Any) -> str:
    """Return JSON, gzipped, as base64: what the page's script unpacks."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # wbits 31 is the gzip format; without a time in its header, equal runs make equal reports.
    compressor = zlib.compressobj(6, zlib.DEFLATED, 31)
    # A lone surrogate, which has no bytes, is an escape in JSON too.
    data = text.encode(errors="backslashreplace")
    return base64.b64encode(compressor.compress(data) + compressor.flush()).decode()
