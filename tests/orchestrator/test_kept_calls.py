"""Library calls that keep a run directory: any part fits, and the files say what has happened in the call."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Problem, ProblemResult, TextEngine, TextTask, TextVerifier, solve_many
from orchestrator.errors import ConfigError
from orchestrator.observe.events import EVENTS
from orchestrator.storage.run_files import SUMMARY
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier
from orchestrator.types import Turn
from strategies import BestOfN, Mixture, MixtureArm, ParticleFilter, SelfConsistency


def propose(question: str, written: str, *, seed: int, params: Any) -> str:
    return f"#{seed % 10}"


async def all_of(problems: Sequence[Any], run_dir: Path, **how: Any) -> list[ProblemResult]:
    settings = {"strategy": SelfConsistency(3), "engine": TextEngine(propose), "task": TextTask("#"), **how}
    return [r async for r in solve_many(problems, run_dir=run_dir, **settings)]


def events_of(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / EVENTS).read_text().splitlines()]


@dataclass(frozen=True)
class Noted(SelfConsistency):
    """A strategy of a user, with a word of its own."""

    description: str = "three votes"


@pytest.mark.parametrize(
    "strategy", [Noted(3), Mixture({"best": MixtureArm(BestOfN(2), "Draws two.")}, num_samples=4)]
)
async def test_a_part_may_have_a_description_of_its_own(strategy: Any, tmp_path: Path) -> None:
    how: dict[str, Any] = {"strategy": strategy, "verifier": TextVerifier(lambda question, steps: 0.5)}
    (first,) = await all_of(["?"], tmp_path, **how)
    (again,) = await all_of(["?"], tmp_path, **how)
    assert first.answer is not None and first.answer == again.answer
    (said,) = descriptions(json.loads((tmp_path / "config.json").read_text())["strategy"])
    assert said in ("three votes", "Draws two.")


def descriptions(node: Any) -> list[str]:
    """Return the descriptions in a configuration, at any depth."""
    if isinstance(node, Mapping):
        own = [node["description"]] if "description" in node else []
        return own + [found for value in node.values() for found in descriptions(value)]
    return [found for value in node for found in descriptions(value)] if isinstance(node, list) else []


async def test_an_exception_that_the_caller_handles_is_no_failure_of_the_run(tmp_path: Path) -> None:
    try:
        raise ValueError("the first server is down")
    except ValueError:
        await all_of(["x"], tmp_path)
    assert events_of(tmp_path)[-1]["event"] == "run_finished"


@pytest.mark.parametrize("mistake", [OSError("no space"), ConfigError("file", SUMMARY, "must be plain")])
async def test_a_summary_that_cannot_be_written_is_a_failure_of_the_run(
    mistake: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the caller handles an exception of its own."""

    def refuse(path: Path, value: Any) -> None:
        raise mistake

    monkeypatch.setattr("orchestrator.recording.write_json", refuse)
    try:
        raise ValueError("the first server is down")
    except ValueError:
        with pytest.raises(type(mistake), match=re.escape(str(mistake))):
            await all_of(["x"], tmp_path)
    last = events_of(tmp_path)[-1]
    assert last["event"] == "run_failed" and str(mistake) in last["error"]


@pytest.mark.parametrize("strategy", [BestOfN(4), SelfConsistency(4), ParticleFilter(4, max_steps=3)])
async def test_a_stored_result_differs_in_what_is_not_stored_alone(strategy: Any, tmp_path: Path) -> None:
    """As docs/library.md lists it; the seconds are rounded to a millionth."""
    problem = Problem("p", "abca", "abca", {"level": 3}, (Turn("system", "Be brief."),))
    how: dict[str, Any] = {"strategy": strategy, "engine": FakeEngine(), "verifier": FakeVerifier()}
    how["task"] = FakeTask()
    (first,) = await all_of([problem], tmp_path, **how)
    (again,) = await all_of([problem], tmp_path, **how)
    assert first.error is None and differing(first, again) <= {"token_ids", "finish", "params", "seconds"}
    assert again.problem == problem
    ended = [[c.trajectory.finished for c in result.candidates] for result in (first, again)]
    assert ended[0] == ended[1]


def differing(a: Any, b: Any, name: str = "") -> set[str]:
    """Return the names of the fields in which two values differ, the innermost ones."""
    if is_dataclass(a) and type(a) is type(b):
        pairs = [(getattr(a, f.name), getattr(b, f.name), f.name) for f in fields(a)]
    elif isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        pairs = [(x, y, name) for x, y in zip(a, b, strict=True)]
    else:
        return set() if a == b else {name}
    return set().union(*(differing(*pair) for pair in pairs))
