"""``inputs.json``: digests of the problems and models that a run began with, compared when it resumes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.dotted import dotted
from orchestrator.errors import ConfigError
from orchestrator.storage.atomic import write_json
from orchestrator.storage.json_reading import read_object
from orchestrator.storage.results import stream_results
from orchestrator.types import Problem, Turn

INPUTS = "inputs.json"
_WAY_OUT = "put back what there was, or choose another run_dir"
_HISTORY = slice(16, None)
_PARTS = {"question": slice(8), "reference": slice(8, 16), "history": _HISTORY}
"""Where the digest of a problem has each part of it."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What answers depend on apart from the configuration.

    ``problems`` are digests by id; ``models`` are those of engine, verifier and ``policies.NAME``, None where
    a model's files are not on this machine. ``source`` is the key, with its value, that says where the
    problems come from; ``names`` are those of the models.
    """

    problems: Mapping[str, str]
    models: Mapping[str, str | None]
    source: tuple[str, object]
    names: Mapping[str, object]

    @classmethod
    def of(
        cls, problems: Iterable[Problem], config: Mapping[str, Any], models: Mapping[str, str | None]
    ) -> Inputs:
        """Take the digests; ``config`` names the files, for the message where they have changed."""
        path = config["task"].get("path")
        source = ("task.path", path) if path else ("task", config["task"].get("_target_"))
        keys = dotted(config)
        names = {group: keys.get(f"{group}.model") for group in models}
        digests = {p.id: problem_digest(p.question, p.answer, p.history) for p in problems}
        return cls(digests, models, source, names)


def problem_digest(question: str, reference: str, history: Sequence[Turn] = ()) -> str:
    """Return the digest of a problem: 8 hexadecimal digits of its question, of its reference, of its turns.

    A problem without earlier turns has none of the last.
    """
    turns = _digest(json.dumps([[turn.role, turn.text] for turn in history])) if history else ""
    return _digest(question) + _digest(reference) + turns


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="backslashreplace"), digest_size=4).hexdigest()


def check_inputs(run_dir: Path, inputs: Inputs, *, has_begun: bool) -> None:
    """Compare with what the run began with, or record it where nothing is done yet.

    A directory of an older release has no such file: its results hold the questions and references. Raises
    ConfigError that names the first thing that differs.
    """
    before = _read(run_dir) if has_begun else None
    if before is not None:
        _check_problems(inputs, before["problems"], run_dir)
        _check_models(inputs, before["models"], run_dir)
    elif has_begun:
        now = inputs.problems
        _check_problems(inputs, {**now, **_of_results(run_dir, now)}, run_dir)
    if before is None:
        write_json(run_dir / INPUTS, {"problems": inputs.problems, "models": inputs.models})


def _of_results(run_dir: Path, now: Mapping[str, str]) -> dict[str, str]:
    """Return the digests of the problems that have results; these do not hold the turns: taken as ``now``."""
    lines = (line for line in stream_results(run_dir) if {"question", "reference"} <= line.keys())
    known = {line["problem_id"]: problem_digest(line["question"], line["reference"]) for line in lines}
    return {name: digest + now.get(name, "")[_HISTORY] for name, digest in known.items()}


def model_digest(run_dir: Path, group: str) -> str | None:
    """Return the digest of a run's engine or verifier; None where it is not known."""
    before = _read(run_dir)
    return None if before is None else before["models"].get(group)


def _read(run_dir: Path) -> Mapping[str, Any] | None:
    try:
        before = read_object(run_dir / INPUTS)
        problems = {name: str(digest) for name, digest in dict(before["problems"]).items()}
        return {"problems": problems, "models": dict(before["models"])}
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError) as failure:
        allowed = f"its {INPUTS} cannot be read ({failure}); without it only the results are compared"
        raise ConfigError("run_dir", run_dir, allowed) from None


def _check_problems(inputs: Inputs, before: Mapping[str, str], run_dir: Path) -> None:
    now = inputs.problems
    changed = [i for i in {**now, **before} if now.get(i) != before.get(i)]
    if changed:
        first = changed[0]
        rest = f" (and {len(changed) - 1} more differ)" if len(changed) > 1 else ""
        allowed = (
            f"has changed since the run in {run_dir} began: {_change(first, before, now)}{rest}; {_WAY_OUT}"
        )
        raise ConfigError(*inputs.source, allowed)


def _change(problem_id: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return how a problem differs."""
    if problem_id not in before:
        return f"problem {problem_id} is new"
    if problem_id not in now:
        return f"problem {problem_id} is gone"
    was, is_now = before[problem_id], now[problem_id]
    what = " and ".join(name for name, part in _PARTS.items() if was[part] != is_now[part])
    return f"problem {problem_id} has another {what}"


def _check_models(inputs: Inputs, before: Mapping[str, str | None], run_dir: Path) -> None:
    for group, digest in inputs.models.items():
        known = before.get(group)
        if digest is not None and known is not None and digest != known:
            allowed = f"its files have changed since the run in {run_dir} began; {_WAY_OUT}"
            raise ConfigError(f"{group}.model", inputs.names[group], allowed)
