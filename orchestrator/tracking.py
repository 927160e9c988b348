"""Where a run's figures go while it runs: nowhere, a JSON-lines file, or Weights & Biases."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal

from orchestrator.protocols import Tracker
from orchestrator.results import RESULTS, Totals

METRICS = "metrics.jsonl"
log = logging.getLogger(__name__)


def figures(line: Mapping[str, Any], totals: Totals) -> dict[str, Any]:
    """What a tracker shows of one finished problem, and of the run so far."""
    history = line["history"]
    smc = [record for record in history if record.get("ess") is not None]
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

    def start(self, run_dir: Path, config: Mapping[str, Any], totals: Totals) -> None:
        pass

    def problem(self, line: Mapping[str, Any]) -> None:
        pass

    def finish(self, summary: Mapping[str, Any]) -> None:
        pass


class GuardedTracker:
    """Another tracker, whose first failure is one warning and its end: the search goes on without it."""

    def __init__(self, inner: Tracker) -> None:
        self._inner: Tracker | None = inner

    def start(self, run_dir: Path, config: Mapping[str, Any], totals: Totals) -> None:
        self._tell(lambda inner: inner.start(run_dir, config, totals))

    def problem(self, line: Mapping[str, Any]) -> None:
        self._tell(lambda inner: inner.problem(line))

    def finish(self, summary: Mapping[str, Any]) -> None:
        self._tell(lambda inner: inner.finish(summary))

    def _tell(self, action: Callable[[Tracker], None]) -> None:
        if self._inner is None:
            return
        try:
            action(self._inner)
        except Exception as failure:  # noqa: BLE001 - whatever a tracker raises
            name, kind = type(self._inner).__name__, type(failure).__name__
            log.warning("%s: %s: %s; the run goes on without it", name, kind, failure)
            self._inner = None


@dataclass
class JsonlTracker:
    """Appends one line of figures a finished problem to ``metrics.jsonl`` of the run directory."""

    _totals: Totals = field(default_factory=Totals, init=False)
    _path: Path = field(default=Path(METRICS), init=False)

    def start(self, run_dir: Path, config: Mapping[str, Any], totals: Totals) -> None:
        self._path, self._totals = run_dir / METRICS, totals

    def problem(self, line: Mapping[str, Any]) -> None:
        shown = {"problem_id": line["problem_id"], **figures(line, self._totals)}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(shown, allow_nan=False) + "\n")

    def finish(self, summary: Mapping[str, Any]) -> None:
        pass


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

    Offline where no login is found, and says so in one line.
    """

    project: str = "murmuration"
    entity: str | None = None
    group: str | None = None
    mode: Literal["online", "offline", "disabled"] | None = None
    _totals: Totals = field(default_factory=Totals, init=False)
    _run: Any = field(default=None, init=False)
    _run_dir: Path = field(default=Path(), init=False)

    def start(self, run_dir: Path, config: Mapping[str, Any], totals: Totals) -> None:
        import wandb  # heavy, and needed by this tracker alone

        self._run_dir, self._totals = run_dir, totals
        mode = self.mode or os.environ.get("WANDB_MODE") or ("online" if has_wandb_login() else "offline")
        if mode == "offline" and self.mode is None:
            log.warning("wandb: no login found, so the run is kept offline below %s/wandb", run_dir)
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

    def problem(self, line: Mapping[str, Any]) -> None:
        self._run.log(figures(line, self._totals))

    def finish(self, summary: Mapping[str, Any]) -> None:
        import wandb

        self._run.summary.update(dict(summary))
        if (self._run_dir / RESULTS).exists():
            artifact = wandb.Artifact(f"results-{self._run.id}", type="results")
            artifact.add_file(str(self._run_dir / RESULTS))
            self._run.log_artifact(artifact)
        self._run.finish()
