"""Log the events of a run and of its problems, which ``events`` records (docs/observability.md)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from orchestrator.emit import emit
from orchestrator.types import Problem

_LABELS = ("strategy", "task", "engine", "verifier", "budget", "seed", "offset", "limit", "replicas")
_FIGURES = ("num_problems", "num_correct", "num_errors", "wall_seconds", "complete")


def run_begins(labels: Mapping[str, Any], num_problems: int, num_done: int, *, is_resumed: bool) -> None:
    """Log that a run starts, or resumes with ``num_done`` problems finished."""
    fields: dict[str, Any] = {
        **{name: labels.get(name) for name in _LABELS},
        "num_problems": num_problems,
        "num_done": num_done,
    }
    if is_resumed:
        text = "the run resumes: %d of %d problems are done"
        emit("run_resumed", text, num_done, num_problems, **fields)
    else:
        emit("run_started", "the run starts: %d problems", num_problems, **fields)


def run_ends(summary: Mapping[str, Any], error: BaseException | None) -> None:
    """Log that a run has finished, was interrupted by a signal, or failed with ``error``."""
    fields = {name: summary[name] for name in _FIGURES}
    if error is not None:
        text = f"{type(error).__name__}: {error}"
        emit("run_failed", "the run failed: %s", text, level=logging.ERROR, error=text, **fields)
    elif summary["complete"]:
        emit("run_finished", "the run is finished", **fields)
    else:
        emit("run_interrupted", "the run was interrupted", **fields)


def preempted(signal_name: str, grace_s: float, num_open: int) -> None:
    """Log a signal that stops the run; ``num_open`` problems are in flight."""
    text = f"{signal_name}: stopping"
    if grace_s:
        text = (
            f"{signal_name}: waiting up to {grace_s:g} s for replies in flight (cluster.grace_s);"
            " a second signal stops at once"
        )
    fields = {"signal": signal_name, "num_open": num_open, "grace_s": grace_s}
    emit("preemption", "%s", text, level=logging.WARNING, **fields)


def out_of_replicas(reason: str, num_open: int) -> None:
    """Log that no replica is left to answer; ``num_open`` problems are in flight."""
    text = "no replica is left, and none is expected: stopping (%s)"
    emit("replicas_gone", text, reason, level=logging.ERROR, reason=reason, num_open=num_open)


def problem_begins(problem: Problem, num_recorded: int) -> None:
    """Log that a problem starts; an earlier part of the run has answered ``num_recorded`` of its calls."""
    text = "problem %s starts"
    emit("problem_started", text, problem.id, problem=problem.id, recorded_calls=num_recorded)


def limit_reached(problem: Problem, limit: str) -> None:
    """Log that a limit has stopped a problem."""
    text = "problem %s reached limits.%s"
    emit("limit_reached", text, problem.id, limit, problem=problem.id, limit=limit)


def problem_ends(line: Mapping[str, Any]) -> None:
    """Log that a problem has ended; its line has been handed to results.jsonl."""
    fields = {
        "problem": line["problem_id"],
        "correct": line["correct"],
        "seconds": line["seconds"],
        "generated_tokens": line["usage"]["generated_tokens"],
        "reward_calls": line["usage"]["reward_calls"],
        "stopped_by": line["stopped_by"],
    }
    if line["error"] is None:
        emit("problem_finished", "problem %s is done", line["problem_id"], **fields)
        return
    error = f"{line['error']['type']}: {line['error']['message']}"
    text, level = "problem %s ended in an error: %s", logging.WARNING
    emit("problem_failed", text, line["problem_id"], error, level=level, **fields, error=error)
