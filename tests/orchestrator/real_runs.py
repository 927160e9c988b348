"""Run directories for tests: the embedded models and real strategies, in this process and without Ray."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from orchestrator.backend import DirectBackend
from orchestrator.config.build import as_plain, build_node, build_task
from orchestrator.config.compose import only_composed
from orchestrator.config.plan import Plan, plan_of
from orchestrator.config.spelling import quote
from orchestrator.runs.execution import Status
from orchestrator.runs.main import process_as_it_was
from orchestrator.runs.models import Models
from orchestrator.runs.point import run_point
from orchestrator.search.account import Limits
from orchestrator.search.controller import Controller
from orchestrator.types import Problem

NUM_PROBLEMS = 5
GROUPS = ("strategy", "task", "engine", "verifier")


def composed(*overrides: str) -> tuple[dict[str, Any], dict[str, str]]:
    """A resolved configuration, and the name of the file that each group was chosen from."""

    def read(config: DictConfig) -> tuple[dict[str, Any], dict[str, str]]:
        choices = HydraConfig.get().runtime.choices
        return as_plain(config), {group: str(choices[group]) for group in GROUPS}

    return only_composed(overrides, read)


@cache
def _model(key: str, node: str) -> Any:
    return build_node(json.loads(node), key).build()


def controller_of(config: Mapping[str, Any]) -> tuple[Controller, list[Problem]]:
    """Who solves the problems of a configuration, and those problems."""
    engine, verifier = (_model(key, json.dumps(config[key])) for key in ("engine", "verifier"))
    task = build_task(config["task"])
    controller = Controller(
        strategy=build_node(config["strategy"], "strategy"),
        engine=engine,
        verifier=verifier,
        task=task,
        seed=config["seed"],
        limits=Limits(**config["limits"]),
    )
    return controller, list(task.problems(config["task"]["offset"], config["task"]["limit"]))


class _Direct(Models):
    """The models of a plan, asked directly on the loop of the run: their caches hold the same every time."""

    def of(self, plan: Plan) -> DirectBackend:
        nodes = (json.dumps(plan.plain[key]) for key in ("engine", "verifier"))
        return DirectBackend(*map(_model, ("engine", "verifier"), nodes))


def make_run(folder: Path, *overrides: str) -> Path:
    """Solve the problems that the overrides name, as run.py does."""
    plan = only_composed([*overrides, f"run_dir={quote(str(folder))}"], plan_of)
    with process_as_it_was(), closing(_Direct()) as models:
        assert run_point(plan, models, {}) is Status.FINISHED
    return folder


def point_name(strategy: str, budget: int, seed: int) -> str:
    """The folder of a point of ``make_sweep``."""
    return f"strategy={strategy},budget={budget},seed={seed}"


def make_sweep(folder: Path, strategies: Sequence[str], budgets: Sequence[int], seeds: Sequence[int]) -> Path:
    """Every combination, on ``NUM_PROBLEMS`` problems."""
    for strategy in strategies:
        for budget in budgets:
            for seed in seeds:
                overrides = (
                    f"strategy={strategy}",
                    f"budget={budget}",
                    f"seed={seed}",
                    f"task.limit={NUM_PROBLEMS}",
                )
                make_run(folder / point_name(strategy, budget, seed), *overrides)
    return folder
