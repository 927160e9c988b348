"""A run as trackers show it beside its figures: a flat configuration, and tables of its results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.dotted import dotted
from orchestrator.observe.diagnostics import SMC_COLUMNS, TREE_COLUMNS, smc_rows, tree_rows
from orchestrator.storage.results import stream_results
from orchestrator.storage.secret_keys import may_name_secret

MAX_TABLE_ROWS = 10_000
_CANDIDATE_COLUMNS = ("answer", "correct", "reward", "log_weight", "num_tokens", "text")


def flattened(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``{"strategy.sampling.top_p": 1.0, ...}`` without keys that name a secret."""
    return {key: value for key, value in dotted(config).items() if not may_name_secret(key)}


def numbers(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return the entries that are numbers: a tracker's curves hold nothing else."""
    return {key: float(value) for key, value in figures.items() if isinstance(value, int | float)}


def well_formed(value: Any) -> Any:
    """Escape lone surrogates, which cannot be sent."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, Mapping):
        return {well_formed(key): well_formed(item) for key, item in value.items()}
    return [well_formed(item) for item in value] if isinstance(value, list | tuple) else value


def result_tables(run_dir: Path) -> dict[str, list[list[Any]]]:
    """Return the tables ``candidates``, ``smc`` and ``tree`` that have rows; the first row has the names."""
    tables: dict[str, list[list[Any]]] = {
        "candidates": [["problem_id", "rank", *_CANDIDATE_COLUMNS]],
        "smc": [["problem_id", *SMC_COLUMNS]],
        "tree": [["problem_id", *TREE_COLUMNS]],
    }
    for line in stream_results(run_dir):
        for name, row in _rows(line):
            if len(tables[name]) <= MAX_TABLE_ROWS:
                tables[name].append(well_formed([line["problem_id"], *row]))
    return {name: rows for name, rows in tables.items() if len(rows) > 1}


def _rows(line: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """Yield each row of one problem, with the name of its table."""
    for rank, candidate in enumerate(line["candidates"]):
        yield "candidates", [rank, *(candidate[name] for name in _CANDIDATE_COLUMNS)]
    for row in smc_rows(line["history"]):
        yield "smc", row
    for row in tree_rows(line["history"]):
        yield "tree", row
