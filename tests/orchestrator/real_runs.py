"""Run directories for tests: the embedded models and real strategies, in this process and without Ray."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from orchestrator.composition import only_composed
from orchestrator.config import as_plain, build_node, build_task
from orchestrator.controller import Controller
from orchestrator.limits import Limits
from orchestrator.results import CONFIG, SUMMARY, ResultLog, Totals, result_line, write_json
from orchestrator.types import Overhead, Problem

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


def make_run(folder: Path, *overrides: str) -> Path:
    """Solve the problems that the overrides name, and write what run.py writes of them."""
    config, choices = composed(*overrides)
    controller, problems = controller_of(config)
    folder.mkdir(parents=True)
    log, totals, begun = ResultLog(folder), Totals(), time.monotonic()

    def keep(result: Any) -> None:
        line = result_line(result, Overhead())
        log.append(line)
        totals.add(line)

    asyncio.run(controller.run(problems, keep))
    log.close()
    write_json(folder / CONFIG, config)
    labels = {**choices, **{key: config[key] for key in ("budget", "seed")}, "complete": True}
    write_json(folder / SUMMARY, {**labels, **totals.summary(), "wall_seconds": time.monotonic() - begun})
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
