"""Missing answers of a run: candidates cut off before they ended, or ended without a readable answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.types import Trajectory

SEARCH = "search"
"""The search itself ended a candidate, because it had better ones; no length has cut it off."""

SILENCE = ("num_candidates", "unanswered", "cut_off")
"""The entries of summary.json."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """What bounds a trajectory in a run, by its configuration; None is unknown.

    ``call`` is the most tokens of one call: of a step where ``max_steps`` bounds their number, else of a
    whole answer. ``reads`` says whether the task's configuration names where an answer is.
    """

    call: int | None = None
    max_steps: int | None = None
    reads: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Lengths:
        """Return the lengths that a whole configuration names."""
        strategy, task = config["strategy"], config["task"]
        sampling = strategy.get("sampling") or {}
        call = sampling.get("max_tokens", strategy.get("max_tokens"))
        return cls(call, strategy.get("max_steps"), "answer_in" in task)

    def cut_off_by(self, trajectory: Trajectory, stopped_by: str | None) -> str | None:
        """Return the key of what has cut a trajectory off, or ``search``; None where it ended by itself."""
        if trajectory.finished:
            return None
        if trajectory.pruned:
            return SEARCH
        if trajectory.truncated:
            return self._by_tokens(trajectory, stopped_by)
        if stopped_by is not None:
            return f"limits.{stopped_by}"
        is_full = self.max_steps is not None and len(trajectory.steps) >= self.max_steps
        return "task.max_steps" if is_full else SEARCH

    def _by_tokens(self, trajectory: Trajectory, stopped_by: str | None) -> str:
        by_step = self.max_steps is not None
        num = len(trajectory.steps[-1].token_ids) if by_step else trajectory.num_tokens
        if self.call is None or num >= self.call:
            return "task.max_step_tokens" if by_step else "task.max_tokens"
        return f"limits.{stopped_by}" if stopped_by == "generated_tokens" else "engine.max_context"


class Silence:
    """Counts of what was not answered, over result lines: of problems by their answer, and of candidates."""

    def __init__(self) -> None:
        self.num_candidates = 0
        self._unanswered, self._cut_off = Counter[str](), Counter[str]()
        self._by = Counter[str]()

    def add(self, line: Mapping[str, Any]) -> None:
        candidates = line["candidates"]
        self.num_candidates += len(candidates)
        for candidate in candidates:
            self._count(candidate, "candidates")
            by = _cut_off(candidate)
            self._by.update([by] if by else [])
        if line["error"] is None and line.get("answer", "") is None:
            self._count_problem(line)

    def _count_problem(self, line: Mapping[str, Any]) -> None:
        """Count a problem by its answer's candidate; without one, by the limit that stopped it."""
        if line["candidates"] and line["answer_index"] is not None:
            self._count(line["candidates"][0], "problems")
        elif line["stopped_by"] is not None:
            self._cut_off["problems"] += 1
            self._by[f"limits.{line['stopped_by']}"] += 1
        else:
            self._unanswered["problems"] += 1

    def _count(self, candidate: Mapping[str, Any], what: str) -> None:
        if _cut_off(candidate):
            self._cut_off[what] += 1
        elif candidate.get("answer", "") is None and candidate.get("cut_off") != SEARCH:
            self._unanswered[what] += 1

    def summary(self) -> dict[str, Any]:
        """Return the entries ``SILENCE`` of summary.json."""
        unanswered, cut_off = (
            {what: counts[what] for what in ("problems", "candidates")}
            for counts in (self._unanswered, self._cut_off)
        )
        by = dict(sorted(self._by.items(), key=lambda entry: (-entry[1], entry[0])))
        return {
            "num_candidates": self.num_candidates,
            "unanswered": unanswered,
            "cut_off": {**cut_off, "by": by},
        }


def _cut_off(candidate: Mapping[str, Any]) -> str | None:
    """Return what has cut a candidate off; lines of older releases do not say what it was."""
    by = candidate.get("cut_off") or (None if candidate.get("finished", True) else "task.max_tokens")
    return None if by == SEARCH else by


def advice(summary: Mapping[str, Any], lengths: Lengths) -> dict[str, str]:
    """Return what to change, by entry of the summary; nothing where nothing is missing."""
    advised: dict[str, str] = {}
    if by := summary["cut_off"]["by"]:
        advised["cut_off"] = f"raise {' or '.join(by)}"
    if summary["unanswered"]["candidates"] and lengths.reads:
        advised["unanswered"] = "see task.answer_in, and what the prompt asks for (task/prompt)"
    return advised


def silence_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the lines of a table about what was not answered, with what to change."""
    rows = []
    for entry, name in (("cut_off", "cut off"), ("unanswered", "no answer read")):
        counts = summary.get(entry) or {}
        if counts.get("problems") or counts.get("candidates"):
            shown = (
                f"{counts['problems']:,} of {summary['num_problems']:,} problems, "
                f"{counts['candidates']:,} of {summary.get('num_candidates', 0):,} candidates"
            )
            remedy = summary.get("advice", {}).get(entry)
            rows.append((name, f"{shown}: {remedy}" if remedy else shown))
    return rows
