"""The figures of a run, added up from its result lines, and whether its summary agrees with them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.intervals import wilson_interval
from orchestrator.storage.atomic import json_bytes
from orchestrator.storage.quoted import Quoted
from orchestrator.storage.result_lines import by_policy_of, overhead_of, spent
from orchestrator.storage.revised import REVISED, Revising
from orchestrator.storage.run_files import SUMMARY, sound_summary
from orchestrator.storage.silence import SILENCE, Silence
from orchestrator.types import Overhead, Usage


class Totals:
    """The figures of a run so far, added up from result lines."""

    def __init__(self) -> None:
        self.num_problems = self.num_correct = self.num_errors = self.num_passed = 0
        self.usage = Usage()
        self.overhead = Overhead()
        self.by_policy: dict[str, Usage] = {}
        self.cost: float | None = None
        self.silence = Silence()
        self._quoted, self._revising = Quoted(), Revising()
        self._paths, self._right_paths = Counter[int](), Counter[int]()

    def add(self, line: Mapping[str, Any]) -> None:
        self.num_problems += 1
        self.num_correct += bool(line["correct"])
        self.num_errors += line["error"] is not None
        self.num_passed += any(c["correct"] for c in line["candidates"])
        self.usage += spent(line)
        self.overhead += overhead_of(line)
        for name, usage in by_policy_of(line).items():
            self.by_policy[name] = self.by_policy.get(name, Usage()) + usage
        if "cost" in line:
            self.cost = (self.cost or 0.0) + line["cost"]
        self.silence.add(line)
        self._quoted.add(line)
        self._revising.add(line)
        for candidate in line["candidates"]:
            if "block_length" in candidate:
                self._paths[candidate["block_length"]] += 1
                self._right_paths[candidate["block_length"]] += bool(candidate["correct"])

    @property
    def schedules(self) -> dict[str, dict[str, Any]]:
        """How often a single denoised path was right, by its block length."""
        return {
            str(block): {"num_paths": num, "accuracy": self._right_paths[block] / num}
            for block, num in sorted(self._paths.items())
        }

    @property
    def _by_policy(self) -> dict[str, dict[str, Any]]:
        return {name: asdict(usage) for name, usage in sorted(self.by_policy.items())}

    @property
    def accuracy(self) -> float | None:
        return self.num_correct / self.num_problems if self.num_problems else None

    @property
    def pass_at_budget(self) -> float | None:
        """The share of problems with a right answer among their candidates."""
        return self.num_passed / self.num_problems if self.num_problems else None

    @property
    def accuracy_ci95(self) -> tuple[float, float]:
        return wilson_interval(self.num_correct, self.num_problems)

    def summary(self) -> dict[str, Any]:
        """Return the part of summary.json that comes from results."""
        return {
            "num_problems": self.num_problems,
            "num_correct": self.num_correct,
            "num_errors": self.num_errors,
            "accuracy": self.accuracy,
            "accuracy_ci95": list(self.accuracy_ci95),
            "pass_at_budget": self.pass_at_budget,
            **self._quoted.summary(),
            **self._revising.summary(),
            **self.silence.summary(),
            "usage": asdict(self.usage),
            **({"usage_by_policy": self._by_policy} if self.by_policy else {}),
            **({} if self.cost is None else {"cost": self.cost}),
            "overhead": asdict(self.overhead),
            **({"schedules": self.schedules} if self._paths else {}),
        }


def finished_summary(run_dir: Path, totals: Totals) -> dict[str, Any] | None:
    """Return summary.json, if it is of a run that ended with exactly these results."""
    summary = sound_summary(run_dir / SUMMARY)
    expected = json.loads(json_bytes(totals.summary()))
    if summary is None:
        return None
    # A summary of an older release does not count what was not answered, nor what revising has done.
    newer = {*SILENCE, REVISED}
    expected = {name: value for name, value in expected.items() if name in summary or name not in newer}
    is_whole = summary["complete"] and expected.keys() <= summary.keys()
    return summary if is_whole and _agree(expected, summary) else None


def _agree(expected: Any, found: Any) -> bool:
    """Return whether two values are equal in the fields that both have: other releases have other fields."""
    if not (isinstance(expected, Mapping) and isinstance(found, Mapping)):
        return bool(expected == found)
    return all(_agree(expected[name], found[name]) for name in expected.keys() & found.keys())
