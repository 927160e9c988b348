"""Pipelines as runs: each on the problems that it has not seen, with one cassette for all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.architectures.grid import Architecture
from orchestrator.architectures.halving import Measured
from orchestrator.config.spelling import quote
from orchestrator.errors import ConfigError
from orchestrator.observe.progress import run_console
from orchestrator.runs.execution import Status
from orchestrator.runs.main import run_arguments
from orchestrator.runs.models import Models
from orchestrator.storage.results import stream_results
from orchestrator.storage.run_files import read_summary

CASSETTE = "cassette"
_ENDED = (Status.FINISHED, Status.SOME_ERRORS)


class StoppedError(Exception):
    """A run has not reached its end; what is wrong was printed."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


@dataclass(frozen=True)
class Runs:
    """The runs below ``folder`` that measure architectures; ``overrides`` choose task, models and the rest.

    They resume: a search that is started again measures nothing twice. ``begin`` is the first problem;
    ``run`` runs a command line. Costs are generated tokens, or ``priced`` what they cost.
    """

    folder: Path
    architectures: Sequence[Architecture]
    overrides: Sequence[str]
    models: Models
    begin: int = 0
    run: Callable[[list[str], Models], Status] = run_arguments
    priced: bool = False

    def measure(self, arm: int, offset: int, num: int) -> Measured:
        """Run an architecture on ``num`` problems from ``offset``; a problem with an error is not right.

        Raises StoppedError where the run is refused or interrupted.
        """
        architecture = self.architectures[arm]
        run_dir = self.folder / f"{arm:03d}" / f"{offset}-{offset + num}"
        run_console().print(f"[{arm}] {architecture.name}", markup=False, highlight=False)
        status = self.run(self._arguments(architecture, run_dir, offset, num), self.models)
        if status not in _ENDED or not read_summary(run_dir, "DIR")["complete"]:
            raise StoppedError(status)
        return self._measured(run_dir)

    def _arguments(self, architecture: Architecture, run_dir: Path, offset: int, num: int) -> list[str]:
        return [
            *self.overrides,
            "strategy=pipeline",
            f"strategy.layers={_spelled(architecture)}",
            f"task.offset={self.begin + offset}",
            f"task.limit={num}",
            f"cassette={quote(str(self.folder / CASSETTE))}",
            f"run_dir={quote(str(run_dir))}",
            "resume=true",
        ]

    def _measured(self, run_dir: Path) -> Measured:
        """Read a run. Raises ConfigError where its policies have no price and costs are ``priced``."""
        lines = list(stream_results(run_dir))
        spent = read_summary(run_dir, "DIR").get("cassette", {})
        if self.priced and not all("cost" in line for line in lines):
            allowed = "needs the prices of policies: engine.price.generated, policies.NAME.price.generated"
            raise ConfigError("cost", "given", allowed)
        return Measured(
            tuple(float(line["correct"]) for line in lines),
            tuple(
                float(line["cost"] if self.priced else line["usage"]["generated_tokens"]) for line in lines
            ),
            float(spent.get("asked_cost" if self.priced else "asked_tokens", 0)),
        )


def _spelled(architecture: Architecture) -> str:
    """Return the layers as Hydra's grammar has them: JSON without the quotes of names."""
    return json.dumps(architecture.layers, separators=(",", ":")).replace('"', "")


def first_problem(overrides: Sequence[str]) -> int:
    """Return the user's ``task.offset``, where a search begins; 0 without one."""
    given = [text.partition("=")[2] for text in overrides if text.startswith("task.offset=")]
    if given and not given[-1].isdecimal():
        raise ConfigError("task.offset", given[-1], "must be a whole number of 0 or more")
    return int(given[-1]) if given else 0
