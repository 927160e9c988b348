"""The events of a run and of its problems, as ``events`` writes them down (docs/observability.md)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from orchestrator.types import Problem

log = logging.getLogger(__name__)

_LABELS = ("strategy", "task", "engine", "verifier", "budget", "seed", "offset", "limit", "replicas")
_FIGURES = ("num_problems", "num_correct", "num_errors", "wall_seconds", "complete")


def run_begins(labels: Mapping[str, Any], num_problems: int, num_done: int, *, goes_on: bool) -> None:
    """A run, or another part of one of which ``num_done`` problems are finished."""
    told = {
        **{name: labels.get(name) for name in _LABELS},
        "num_problems": num_problems,
        "num_done": num_done,
    }
    if goes_on:
        text, event = "the run goes on: %d of %d problems are done", "run_resumed"
        log.info(text, num_done, num_problems, extra={"event": event, **told})
    else:
        log.info("the run begins: %d problems", num_problems, extra={"event": "run_started", **told})


def run_ends(summary: Mapping[str, Any], error: BaseException | None) -> None:
    """Finished, interrupted by a signal, or broken off by an error that is about to propagate."""
    told = {name: summary[name] for name in _FIGURES}
    if error is not None:
        text = f"{type(error).__name__}: {error}"
        log.error("the run broke off: %s", text, extra={"event": "run_failed", "error": text, **told})
    elif summary["complete"]:
        log.info("the run is finished", extra={"event": "run_finished", **told})
    else:
        log.info("the run was interrupted", extra={"event": "run_interrupted", **told})


def preempted(signal_name: str, grace_s: float, num_open: int) -> None:
    """A signal says that the run is to end; ``num_open`` problems are in flight."""
    told = {"event": "preemption", "signal": signal_name, "num_open": num_open, "grace_s": grace_s}
    if not grace_s:
        log.warning("%s: stopping", signal_name, extra=told)
        return
    text = "%s: waiting up to %g s for replies in flight (cluster.grace_s); a second signal stops at once"
    log.warning(text, signal_name, grace_s, extra=told)


def out_of_replicas(reason: str, num_open: int) -> None:
    """Nothing can be asked any more; ``num_open`` problems are in flight."""
    told = {"event": "replicas_gone", "reason": reason, "num_open": num_open}
    log.error("no replica is left, and none can be expected: stopping (%s)", reason, extra=told)


def problem_begins(problem: Problem, num_recorded: int) -> None:
    """``num_recorded`` of its calls were answered in an earlier part of the run."""
    told = {"event": "problem_started", "problem": problem.id, "recorded_calls": num_recorded}
    log.info("problem %s begins", problem.id, extra=told)


def limit_reached(problem: Problem, limit: str) -> None:
    told = {"event": "limit_reached", "problem": problem.id, "limit": limit}
    log.info("problem %s reached limits.%s", problem.id, limit, extra=told)


def problem_ends(line: Mapping[str, Any]) -> None:
    """A problem's line has been handed to results.jsonl."""
    told = {
        "problem": line["problem_id"],
        "correct": line["correct"],
        "seconds": line["seconds"],
        "generated_tokens": line["usage"]["generated_tokens"],
        "reward_calls": line["usage"]["reward_calls"],
        "stopped_by": line["stopped_by"],
    }
    if line["error"] is None:
        told["event"] = "problem_finished"
        log.info("problem %s is done", line["problem_id"], extra=told)
        return
    text = f"{line['error']['type']}: {line['error']['message']}"
    told |= {"event": "problem_failed", "error": text}
    log.warning("problem %s ended in an error: %s", line["problem_id"], text, extra=told)
