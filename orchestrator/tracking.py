"""Where a run's figures go while it runs: nowhere, a JSON-lines file, or Weights & Biases."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal, TextIO

from orchestrator.results import RESULTS, Totals

METRICS = "metrics.jsonl"
log = logging.getLogger(__name__)


def figures(line: Mapping[str, Any], totals: Totals) -> dict[str, Any]:
    """What a tracker shows of one finished problem, and of the run so far."""
    history = line["history"]
    smc = [record for record in history if "ess" in record]
    shown: dict[str, Any] = {
        "problem/correct": int(line["correct"]),
        "problem/error": int(line["error"] is not None),
        "problem/seconds": line["seconds"],
        "problem/generated_tokens": line["usage"]["generated_tokens"],
        "problem/reward_calls": line["usage"]["reward_calls"],
        "run/accuracy": totals.accuracy,
        "run/pass_at_budget": totals.pass_at_budget,
        "run/num_problems": totals.num_problems,
        "run/num_errors": totals.num_errors,
        "run/generated_tokens": totals.usage.generated_tokens,
    }
    if smc:
        shown["smc/min_ess"] = min(record["ess"] for record in smc)
        shown["smc/last_entropy"] = smc[-1]["entropy"]
        shown["smc/max_tempering"] = max(record["tempering"] for record in smc)
        shown["smc/unique_ancestors"] = min(len(set(record["ancestors"])) for record in smc)
    return shown


@dataclass(frozen=True)
class NoTracker:
    """Tracks nothing."""

    def start(self, run_dir: Path, config: Mapping[str, Any]) -> None:
        pass

    def problem(self, line: Mapping[str, Any]) -> None:
        pass

    def finish(self, summary: Mapping[str, Any]) -> None:
        pass


@dataclass
class JsonlTracker:
    """Appends one line of figures a finished problem to ``metrics.jsonl`` of the run directory."""

    _totals: Totals = field(default_factory=Totals, init=False)
    _file: TextIO | None = field(default=None, init=False)

    def start(self, run_dir: Path, config: Mapping[str, Any]) -> None:
        self._file = (run_dir / METRICS).open("a", encoding="utf-8")

    def problem(self, line: Mapping[str, Any]) -> None:
        assert self._file is not None
        self._totals.add(line)
        shown = {"problem_id": line["problem_id"], **figures(line, self._totals)}
        self._file.write(json.dumps(shown, allow_nan=False) + "\n")
        self._file.flush()

    def finish(self, summary: Mapping[str, Any]) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def has_wandb_login() -> bool:
    """Whether an API key is at hand: in the environment, or in the user's netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    path = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        return path.exists() and netrc(str(path)).authenticators("api.wandb.ai") is not None
    except (OSError, NetrcParseError):
        return False


@dataclass
class WandbTracker:
    """One W&B run a run: figures as problems finish, the summary and results.jsonl at the end.

    Offline where no login is found, and says so in one line. A failure of W&B is logged once, and the
    search goes on without it.
    """

    project: str = "murmuration"
    entity: str | None = None
    group: str | None = None
    mode: Literal["online", "offline", "disabled"] | None = None
    _totals: Totals = field(default_factory=Totals, init=False)
    _run: Any = field(default=None, init=False)
    _run_dir: Path = field(default=Path(), init=False)

    def start(self, run_dir: Path, config: Mapping[str, Any]) -> None:
        self._run_dir = run_dir
        mode = self.mode or os.environ.get("WANDB_MODE") or ("online" if has_wandb_login() else "offline")
        if mode == "offline" and self.mode is None:
            log.warning("wandb: no login found, so the run is kept offline below %s/wandb", run_dir)

        def start() -> None:
            import wandb  # heavy, and needed by this tracker alone

            self._run = wandb.init(
                project=self.project,
                entity=self.entity,
                group=self.group,
                mode=mode,  # type: ignore[arg-type]
                dir=str(run_dir),
                name=run_dir.name,
                config=dict(config),
                settings=wandb.Settings(silent=True, console="off"),
            )

        self._guard(start)

    def problem(self, line: Mapping[str, Any]) -> None:
        self._totals.add(line)
        if self._run is not None:
            self._guard(lambda: self._run.log(figures(line, self._totals)))

    def finish(self, summary: Mapping[str, Any]) -> None:
        def finish() -> None:
            import wandb

            self._run.summary.update(dict(summary))
            if (self._run_dir / RESULTS).exists():
                artifact = wandb.Artifact(f"results-{self._run.id}", type="results")
                artifact.add_file(str(self._run_dir / RESULTS))
                self._run.log_artifact(artifact)
            self._run.finish()

        if self._run is not None:
            self._guard(finish)

    def _guard(self, action: Callable[[], None]) -> None:
        """Run ``action``; after the first failure W&B is left alone."""
        try:
            action()
        except Exception as failure:  # noqa: BLE001 - whatever W&B raises, the search is worth more than its figures
            log.warning("wandb: %s: %s; the run goes on without it", type(failure).__name__, failure)
            self._run = None
