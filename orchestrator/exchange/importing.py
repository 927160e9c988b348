"""A file of another tool as a run directory: its samples are read, graded and chosen among as in a run.

The strategy runs on the file's samples: best of N where each has a reward, else self-consistency. The
directory has all that a run's has, signed: reports, what-ifs and difficulty read it, and ``engine=stored``
serves it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from orchestrator.config.build import as_plain, build_node, build_task, read_range
from orchestrator.config.compatibility import check_readout
from orchestrator.config.compose import only_composed
from orchestrator.config.plan import NAMED_GROUPS
from orchestrator.config.spelling import quote, spelled
from orchestrator.errors import ConfigError
from orchestrator.exchange.records import Question, question_of
from orchestrator.exchange.search_and_learn import predictions, unboxed
from orchestrator.outcome import ProblemResult
from orchestrator.protocols import Readout, Task
from orchestrator.search.budgets import independent_knob
from orchestrator.search.controller import Controller
from orchestrator.search.requests import sample_seeds
from orchestrator.search.strategy import Strategy
from orchestrator.storage.atomic import json_bytes, write_json, write_lines
from orchestrator.storage.result_lines import result_line
from orchestrator.storage.run_directory import claimed, open_run_dir, package_versions
from orchestrator.storage.run_files import RESULTS, SUMMARY
from orchestrator.storage.silence import Lengths, advice
from orchestrator.storage.totals import Totals
from orchestrator.stored.repeating import StoredEngine, StoredVerifier
from orchestrator.stored.samples import StoredProblem, StoredRun
from orchestrator.stored.task import StoredTask
from orchestrator.types import Overhead, Problem, Usage

ALLOWED = ("task", "strategy", "seed")
IMPORTED = "imported_from"


@dataclass(frozen=True)
class Import:
    """An import that is composed: what solves the questions, and what its files say."""

    questions: Sequence[Question]
    problems: Sequence[Problem]
    config: Mapping[str, Any]
    names: Mapping[str, str]
    overrides: Sequence[str]
    task: Task
    strategy: Strategy
    knob: str
    readout: Readout | None

    @property
    def budget(self) -> int:
        return int(self.config["budget"])

    def controller(self, question: Question, problem: Problem) -> Controller:
        """Return what solves one question, which is ``problem`` of the task, with its samples."""
        samples, seed = [sample.trajectory for sample in question.samples], int(self.config["seed"])
        seeds = sample_seeds(seed, problem.id, range(len(samples)))
        strategy: Any = replace(self.strategy, **{self.knob: len(samples)})  # type: ignore[type-var]
        return Controller(
            strategy=strategy,
            engine=StoredEngine(dict(zip(seeds, samples, strict=True))),
            verifier=StoredVerifier(samples, self.readout) if self.readout else None,
            task=self.task,
            seed=seed,
        )


def compose_import(questions: Sequence[Question], run_dir: Path, given: Sequence[str]) -> Import:
    """Return the import of questions into a directory; ``given`` are overrides of ``ALLOWED`` keys.

    Raises ConfigError for samples of which only some have rewards, for a question that the given task does
    not have, and for bad overrides.
    """
    readout = readout_of(questions)
    overrides = [*_overrides(questions, run_dir, readout), *(spelled(g, is_sweep=False) for g in given)]
    if not any(g.startswith("task=") for g in given):
        is_read = any(sample.has_answer for q in questions for sample in q.samples)
        at = overrides.index("task=stored") + 1
        overrides.insert(at, f"task.answers={'file' if is_read else 'text'}")
    config, names = only_composed(overrides, _composed)
    config["task"] = _without_marker(config["task"])
    strategy: Strategy = build_node(config["strategy"], "strategy")
    check_readout(names, strategy, readout)
    knob = independent_knob(str(config["strategy"]["_target_"]))
    if knob is None:
        raise ConfigError("strategy", names["strategy"], "must draw independent samples, as best_of_n does")
    task = build_task(config["task"])
    if isinstance(task, StoredTask):
        task = task.holding(StoredRun([_stored(q) for q in questions]))
        problems = [Problem(q.id, q.question, q.reference) for q in questions]
    else:
        problems = _found(questions, task, config["task"], names["task"])
    return Import(questions, problems, config, names, overrides, task, strategy, knob, readout)


def readout_of(questions: Sequence[Question]) -> Readout | None:
    """Return the read-out of the rewards, None without any. Raises ConfigError where only some have one."""
    samples = [(q, s) for q in questions for s in q.samples]
    scored = [s for _, s in samples if s.values]
    if not scored:
        return None
    for question, sample in samples:
        if not sample.values:
            raise ConfigError("FILE", question.place, "has samples with rewards, and samples without")
    is_whole = all(len(s.values) == 1 and s.rewards[-1] is not None for s in scored)
    return "whole" if is_whole and any(len(s.steps) > 1 for s in scored) else "per_step"


def _overrides(questions: Sequence[Question], run_dir: Path, readout: Readout | None) -> list[str]:
    path = quote(str(run_dir.absolute()))
    most = max((len(q.samples) for q in questions), default=1)
    longest = max((s.num_tokens for q in questions for s in q.samples), default=1)
    verifier = ["verifier=stored", f"verifier.readout={readout}"] if readout else ["verifier=none"]
    return [
        "engine=stored",
        f"engine.path={path}",
        "task=stored",
        *verifier,
        f"strategy={'best_of_n' if readout else 'self_consistency'}",
        *(["strategy.aggregation=model"] if readout == "whole" else []),
        f"strategy.sampling.max_tokens={max(longest, 1)}",
        f"budget={max(most, 1)}",
        "cluster=inprocess",
        "tracker=none",
        f"run_dir={path}",
    ]


def _composed(config: DictConfig) -> tuple[dict[str, Any], dict[str, str]]:
    choices = HydraConfig.get().runtime.choices
    return as_plain(config), {group: str(choices[group]) for group in NAMED_GROUPS}


def _without_marker(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task's node by which no step ends a text: those of a file are whole."""
    return {**node, "answer_marker": None} if "answer_marker" in node else dict(node)


def _stored(question: Question) -> StoredProblem:
    """Return a question as the task reads it; a text without an answer of the tool is read by the task."""
    read = [s for s in question.samples if s.has_answer]
    return StoredProblem(
        Problem(question.id, question.question, question.reference),
        tuple(s.trajectory for s in read),
        tuple(s.answer for s in read),
    )


def _found(questions: Sequence[Question], task: Task, node: Mapping[str, Any], name: str) -> list[Problem]:
    """Return the task's own problem of each question, found by its id or its text."""
    chosen = read_range(node, task.num_problems)
    own = list(task.problems(chosen.offset, chosen.limit))
    by_id, by_text = {p.id: p for p in own}, {p.question.strip(): p for p in own}
    problems = []
    for question in questions:
        problem = by_text.get(question.question.strip()) or by_id.get(question.id)
        if problem is None:
            allowed = f"has no problem with the id or the question of {question.place or question.id}"
            raise ConfigError("task", name, allowed)
        problems.append(problem)
    if len({p.id for p in problems}) < len(problems):
        raise ConfigError("task", name, "has one problem for several questions of the file")
    return problems


def run_import(ready: Import, run_dir: Path, source: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Write the run directory; return its summary, and how the tool's figures compare with ours.

    Raises ConfigError where the directory holds a run.
    """
    with claimed(run_dir) as place:
        open_run_dir(run_dir, ready.config, ready.overrides, resume=False)
        totals, lines = Totals(), list[dict[str, Any]]()
        said = asyncio.run(_solve(ready, lines, run_dir))
        for line in lines:
            totals.add(line)
        place.check()
        write_lines(run_dir / RESULTS, (json_bytes(line, indent=None) for line in lines))
        summary = _summary(ready, totals, source)
        write_json(run_dir / SUMMARY, summary)
    return summary, said


async def _solve(ready: Import, lines: list[dict[str, Any]], run_dir: Path) -> list[str]:
    """Add the result lines; return what the tool says otherwise."""
    lengths = Lengths(reads="answer_in" in ready.config["task"])
    compared = Compared()
    async for question, result in _results(ready):
        line = result_line(result, lengths)
        lines.append(line)
        await compared.add(question, question_of(line, run_dir), ready.task)
    return compared.lines


async def _results(ready: Import) -> AsyncIterator[tuple[Question, ProblemResult]]:
    for question, problem in zip(ready.questions, ready.problems, strict=True):
        if question.samples:
            result = await ready.controller(question, problem).solve(problem)
            yield question, replace(result, seconds=0.0)  # not of the samples
        else:
            yield question, ProblemResult(problem, (), False, None, None, None, Usage(), Overhead(), 0.0)


def _summary(ready: Import, totals: Totals, source: Mapping[str, str]) -> dict[str, Any]:
    figures = totals.summary()
    lengths = Lengths(reads="answer_in" in ready.config["task"])
    return {
        **ready.names,
        "budget": ready.budget,
        "seed": ready.config["seed"],
        "offset": ready.config["task"].get("offset", 0),
        "limit": ready.config["task"].get("limit"),
        "replicas": {"engine": 0, "verifier": 0},
        IMPORTED: dict(source),
        "versions": package_versions(),
        "complete": True,
        **figures,
        **({"advice": advised} if (advised := advice(figures, lengths)) else {}),
        "wall_seconds": 0.0,
    }


class Compared:
    """Counts of where the tool's own grades and votes agree with ours."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}

    async def add(self, theirs: Question, ours: Question, task: Task) -> None:
        """Compare a question of the file with the same question once it is solved."""
        for a, b in zip(theirs.samples, ours.samples, strict=False):
            if a.correct is not None:
                self._count("grades", a.correct == b.correct)
        if not theirs.columns:
            return
        for name, text in predictions(ours.samples, theirs.scores).items():
            if name in theirs.columns:
                self._count(name, await _is_same(unboxed(text), unboxed(theirs.columns[name]), task))

    def _count(self, name: str, agrees: bool) -> None:
        counts = self._counts.setdefault(name, [0, 0])
        counts[0] += agrees
        counts[1] += 1

    @property
    def lines(self) -> list[str]:
        """One line for each figure of the tool."""
        return [f"{name}: {right:,} of {num:,} agree" for name, (right, num) in self._counts.items()]


async def _is_same(ours: str | None, theirs: str | None, task: Task) -> bool:
    first, second = await task.keys([ours, theirs])
    return first == second
