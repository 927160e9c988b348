"""The formats by name: how each is written and read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ConfigError
from orchestrator.exchange import (
    inspect_logs,
    lm_eval,
    nemo_skills,
    search_and_learn,
    trl_preference,
    trl_prm,
)
from orchestrator.exchange.records import Question
from orchestrator.exchange.rows import Options
from orchestrator.suggest import nearest


@dataclass(frozen=True, slots=True)
class Format:
    """``write`` returns the files that it has written. Both raise ConfigError and OSError."""

    write: Callable[[Sequence[Question], Path, Options], list[Path]]
    read: Callable[[Path, Options], list[Question]]


FORMATS: Mapping[str, Format] = {
    "search_and_learn": Format(search_and_learn.write, search_and_learn.read),
    "nemo_skills": Format(nemo_skills.write, nemo_skills.read),
    "lm_eval": Format(lm_eval.write, lm_eval.read),
    "inspect": Format(inspect_logs.write, inspect_logs.read),
    "trl_prm": Format(trl_prm.write, trl_prm.read),
    "trl_preference": Format(trl_preference.write, trl_preference.read),
}


def format_of(name: str) -> Format:
    """Return a format. Raises ConfigError for an unknown name."""
    if name not in FORMATS:
        allowed = f"must be one of {', '.join(FORMATS)}{nearest(name, FORMATS)}"
        raise ConfigError("format", name or None, allowed)
    return FORMATS[name]
