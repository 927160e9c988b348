"""Plans of the fakes, as if a configuration of theirs had been read: the rest is the real run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.pool.inprocess import InProcessCluster
from orchestrator.backend import ReplicaVerifier
from orchestrator.config.build import Range, RunSettings
from orchestrator.config.plan import Plan
from orchestrator.observe.tracking import NoTracker
from orchestrator.search.account import Limits
from orchestrator.search.strategy import Strategy
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier
from orchestrator.types import Sampling

PLAIN: dict[str, Any] = {"task": {}, "strategy": {}}


@dataclass(frozen=True)
class FakeEngineConfig:
    make: Callable[[], Any] = FakeEngine
    takes: type[Sampling] = Sampling
    sampler: str = "step"

    def build(self) -> Any:
        engine = self.make()
        engine.sampler = self.sampler
        return engine


@dataclass(frozen=True)
class FakeVerifierConfig(ReplicaVerifier):
    make: Callable[[], Any] = FakeVerifier
    readout: str = "per_step"

    def build(self) -> Any:
        return self.make()


def fake_plan(run_dir: Path, task: FakeTask, strategy: Strategy, **parts: Any) -> Plan:
    """All problems of a task; ``parts`` are other fields of the plan, or keys of its settings."""
    settings: dict[str, Any] = {
        "budget": 4, "seed": 0, "concurrency": 4, "run_dir": str(run_dir), "resume": True,
        "keep_journal": False, "dry_run": False,
    }  # fmt: skip
    settings |= {key: parts.pop(key) for key in settings.keys() & parts.keys()}
    fields: dict[str, Any] = {
        "plain": PLAIN,
        "names": {"strategy": "particle_filter", "task": "fake", "engine": "fake", "verifier": "fake"},
        "limits": Limits(),
        "range": Range(0, None),
        "engine": FakeEngineConfig(),
        "verifier": FakeVerifierConfig(),
        "cluster": InProcessCluster(),
        "tracker": NoTracker(),
        "calibration": None,
        "overrides": [],
    }
    return Plan(
        run_dir=run_dir, task=task, strategy=strategy, settings=RunSettings(**settings), **fields | parts
    )


def fake_conf(folder: Path) -> list[str]:
    """Writes the fakes down as files of configuration; what chooses them, and no library that is heavy."""
    files = {
        "engine": "_target_: tests.fake_plans.FakeEngineConfig",
        "verifier": "_target_: tests.fake_plans.FakeVerifierConfig",
        "task": "_target_: orchestrator.testing.FakeTask\nnum_problems: 60\noffset: 0\nlimit: 2\n",
    }
    for group, text in files.items():
        (folder / group).mkdir(parents=True)
        (folder / group / "fake.yaml").write_text(text)
    chosen = [f"{group}=fake" for group in files]
    return ["--config-dir", str(folder), *chosen, "cluster=inprocess", "strategy=best_of_n",
            "strategy.sampling.max_tokens=64"]  # fmt: skip
