"""A whole schedule, and the laws that it is held to."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.outcome import ProblemResult
from orchestrator.runs.execution import Status
from orchestrator.search.controller import Controller
from orchestrator.storage.journal import JOURNAL
from orchestrator.storage.journal_lines import Record, checksum_of, read_record
from orchestrator.storage.result_lines import result_line
from orchestrator.storage.results import read_results
from orchestrator.storage.run_files import RESULTS, SUMMARY
from orchestrator.testing import FakeVerifier
from orchestrator.types import Overhead
from tests.simulation.fate import ERRNOS
from tests.simulation.models import Model
from tests.simulation.parts import BUDGET, TASK, Outcome, Process, strategy_of
from tests.simulation.schedule import Part, Schedule, Search, drawn

Lines = dict[str, dict[str, Any]]
_MAY_DIFFER = ("seconds", "overhead")
# A kill may cut the line in two that is being written; a journal is not synced.
_MOST_UNWRITTEN = {"by itself": 0, "signal": 0, "kill": 1}


class Broken(AssertionError):
    """A law that does not hold: ``lost``, ``changed`` or ``other``."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def hold(condition: object, text: str, kind: str = "other") -> None:
    if not condition:
        raise Broken(kind, text)


class _Fakes(Model):
    async def _wait(self, share: float = 1.0) -> None:
        return

    def _count(self, num_tokens: int) -> None:
        return


@cache
def undisturbed(search: Search) -> Lines:
    """Nothing but the fakes: no replicas, no files, no clock."""
    lines: Lines = {}

    def add(result: ProblemResult) -> None:
        line = json.loads(json.dumps(result_line(result)))
        lines[line["problem_id"]] = _comparable(line)

    controller = Controller(
        strategy=strategy_of(search.strategy), engine=_Fakes(search.sampler), verifier=FakeVerifier(),  # type: ignore[arg-type]
        task=TASK, seed=search.seed, limits=search.limits, concurrency=1, rounds=search.rounds, budget=BUDGET,
    )  # fmt: skip
    asyncio.run(controller.run(TASK.problems(0, None), add))
    assert len(lines) == TASK.num_problems and not any(line["error"] for line in lines.values())
    return lines


def _comparable(line: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key not in _MAY_DIFFER}


def records_of(run_dir: Path) -> dict[str, list[Record]]:
    """What the journals hold, up to the first line of each that is none."""
    found: dict[str, list[Record]] = {}
    for path in sorted((run_dir / JOURNAL).glob("*.jsonl")):
        found[path.stem], checksum = [], 0
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                found[path.stem].append(read_record(line, checksum))
            except (ValueError, KeyError):
                break
            checksum = checksum_of(line)
    return found


@dataclass
class Report:
    """What has been simulated: ``ends`` and ``faults`` by kind, and the failures by seed."""

    schedules: int = 0
    parts: int = 0
    steps: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    changed: int = 0
    failures: dict[int, str] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        self.parts += 1
        self.steps += outcome.num_steps
        self.ends[outcome.end] += 1
        self.faults.update(outcome.cluster.faults)

    def text(self) -> str:
        """For a person: what was simulated, and the command that repeats each failure."""
        counts = {"ends of parts": self.ends, "faults": self.faults}
        return "\n".join(
            [
                f"{self.schedules} schedules, {self.parts} parts, {self.steps:,} steps",
                *(
                    f"{name}: " + ", ".join(f"{k} {n}" for k, n in c.most_common())
                    for name, c in counts.items()
                ),
                f"lost: {self.lost}, changed: {self.changed}, failures: {len(self.failures)}",
                *(
                    f"seed {seed}: {text}\n  make simulate SCHEDULES=1 SEED={seed}"
                    for seed, text in self.failures.items()
                ),
            ]
        )

    def fail(self, seed: int, failure: BaseException) -> None:
        self.failures[seed] = f"{type(failure).__name__}: {failure}"
        if isinstance(failure, Broken):
            self.lost += failure.kind == "lost"
            self.changed += failure.kind == "changed"


def simulate(seed: int, report: Report | None = None) -> Report:
    """The schedule of a seed, from an empty directory to the end of its last part. Raises AssertionError."""
    report = report or Report()
    report.schedules += 1
    folder = Path(tempfile.mkdtemp(prefix="simulation-"))
    try:
        _Simulation(drawn(seed), folder, report).run()
    finally:
        shutil.rmtree(folder)
    return report


class _Simulation:
    def __init__(self, schedule: Schedule, folder: Path, report: Report) -> None:
        self._schedule = schedule
        self._folder = folder
        self._report = report
        self._expected = undisturbed(schedule.search)
        self._done: set[str] = set()
        self._errors: list[dict[str, Any]] = []
        self._num_before = 0
        self._recorded: set[str] = set()
        self._only_once: set[str] = set()

    def run(self) -> None:
        run_dir = self._folder / "0"
        run_dir.mkdir()
        for i, part in enumerate(self._schedule.parts, 1):
            target = self._folder / str(i)
            process = Process(self._schedule.search, part, run_dir, target, f"{self._schedule.seed} {i}")
            outcome = process.run()
            self._report.add(outcome)
            self._check(part, outcome, target)
            shutil.rmtree(run_dir)
            run_dir = target
        self._check_end(outcome, run_dir)

    def _check(self, part: Part, outcome: Outcome, run_dir: Path) -> None:
        """The laws of every part, however it ended."""
        lines = read_results(run_dir)
        good = {line["problem_id"]: _comparable(line) for line in lines if line["error"] is None}
        hold(len({line["problem_id"] for line in lines}) == len(lines), "a problem is there twice")
        for problem_id, line in good.items():
            hold(line == self._expected[problem_id], f"{problem_id} ended otherwise", "changed")
        lost = (self._done | outcome.settled) - good.keys()
        hold(not lost, f"{sorted(lost)} were on disk", "lost")
        new, self._num_before = [x for x in lines if x["problem_id"] not in self._done], len(self._done)
        self._done = set(good)
        errors = [line for line in lines if line["error"] is not None]
        self._check_errors(part, outcome, [line for line in errors if line not in self._errors])
        self._errors = errors
        self._check_journals(outcome, run_dir)
        self._check_overhead(outcome, new)
        self._check_status(part, outcome, run_dir)

    def _check_errors(self, part: Part, outcome: Outcome, lines: list[dict[str, Any]]) -> None:
        """An error says why, and nobody is blamed for what befell others with it."""
        for line in lines:
            kind, message = line["error"]["type"], line["error"]["message"]
            hold(
                kind in ("EngineError", "VerifierError") and message,
                f"{line['problem_id']}: {kind}: {message}",
            )
            if message.startswith("ReplicaDeath"):
                alone = [d for d in outcome.cluster.deaths if len(d.rows) == 1 and d.kind != "node"]
                blamed = [d for d in alone if d.rows[0].home == line["problem_id"]]
                hold(
                    len(blamed) >= dict(part.keys)["max_attempts"],
                    f"{line['problem_id']} is blamed for deaths that it did not share: {message}",
                )

    def _check_journals(self, outcome: Outcome, run_dir: Path) -> None:
        """What was answered is written down, and not asked again."""
        again = self._only_once & outcome.asked
        hold(not again, f"{len(again)} recorded calls were asked again")
        records = records_of(run_dir)
        self._recorded = {
            r.digest for name, found in records.items() for r in found if name not in self._done
        }
        # Samples that are scored one by one may have equal texts, whose requests are equal too.
        granted = self._schedule.search.rounds is not None
        scores = {r.digest for found in records.values() for r in found if "score" in r.call and granted}
        self._only_once = self._recorded - scores
        answered = {d for home, found in outcome.answered.items() if home not in self._done for d in found}
        most = _MOST_UNWRITTEN.get(outcome.end)
        missing = answered - self._recorded
        hold(
            most is None or len(missing) <= most,
            f"{len(missing)} answered calls are not written down",
            "lost",
        )

    def _check_overhead(self, outcome: Outcome, lines: list[dict[str, Any]]) -> None:
        """What engines made is what searches accepted, and overhead; what died unseen is neither."""
        total = outcome.overhead.retried_tokens + outcome.overhead.speculated_tokens
        told = f"made {outcome.made}, accepted {outcome.accepted}, overhead {total}"
        hold(outcome.accepted <= outcome.delivered, f"{told}, delivered {outcome.delivered}")
        # What a cancelled call has cost is an estimate where engines run ahead for others: its share of what
        # the engine's counter shows may hold tokens that the release of another problem counts too.
        is_estimate = self._schedule.search.sampler == "stream"
        hold(outcome.accepted + total <= outcome.made or is_estimate, told)
        if outcome.end != "by itself" or len(lines) + self._num_before < TASK.num_problems:
            return
        hold(outcome.accepted == outcome.delivered, f"{told}, delivered {outcome.delivered}")
        told_by_lines = sum((Overhead(**line["overhead"]) for line in lines), Overhead())
        hold(
            told_by_lines == outcome.overhead, f"{told_by_lines} in lines, {outcome.overhead} at the replicas"
        )
        if not outcome.num_struck:
            hold(outcome.accepted + total == outcome.made, told)

    def _check_status(self, part: Part, outcome: Outcome, run_dir: Path) -> None:
        if outcome.error is not None:
            error = outcome.error
            hold("failed" in part.end, f"{type(error).__name__}: {error}")
            hold(isinstance(error, OSError) and error.errno in ERRNOS and error.filename, f"{error!r}")
        elif outcome.end in ("by itself", "signal"):
            summary = json.loads((run_dir / SUMMARY).read_text())
            lines = read_results(run_dir)
            hold(summary["num_problems"] == len(lines), "summary.json has other problems than results.jsonl")
            hold(summary["complete"] == (len(lines) == TASK.num_problems), "complete, and it is not")

    def _check_end(self, outcome: Outcome, run_dir: Path) -> None:
        """The last part is calm, and ends as if nothing had ever happened."""
        hold(outcome.status is Status.FINISHED, f"the calm part ended with {outcome.status!r}")
        missing = self._expected.keys() - self._done
        hold(not missing, f"{sorted(missing)} are missing", "lost")
        hold(not (run_dir / JOURNAL).exists(), "a journal is left")
        hold((run_dir / RESULTS).read_bytes().endswith(b"\n"), "the last line is torn")
