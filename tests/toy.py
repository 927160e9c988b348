"""A toy world in which everything can be enumerated, and what tests need to search in it."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from orchestrator.search.strategy import Strategy
from orchestrator.testing import EOS, PROBLEM, Language, RewardFunction, Table, World
from orchestrator.types import Finish, Reward, Sampling, Solution, Step, StepRecord, Trajectory

__all__ = ["PROBLEM", "Table", "World"]  # what is shipped

CONF = Path(__file__).parents[1] / "conf" / "strategy"
STRATEGIES = sorted(path.stem for path in CONF.glob("*.yaml"))
TASK = {"max_steps": 7, "max_step_tokens": 16, "max_tokens": 64}

Steps = tuple[str, ...]
"""A trajectory as the texts of its steps."""


BRANCHING = Table(
    {
        "": {"a\n": 0.7, "b\n": 0.2, "": 0.1},
        "a\n": {"a\n": 0.5, "b\n": 0.3, "=1\n": 0.2},
        "b\n": {"a\n": 0.1, "b\n": 0.9},
        "b\nb\n": {"a\n": 0.8, "=2\n": 0.2},
    },
    otherwise={"=1\n": 0.55, "=2\n": 0.35, "": 0.1},
)
"""Ends after one to four steps, with an answer or without one."""

EVEN = Table(
    {"": {"a\n": 0.7, "b\n": 0.3}, "a\n": {"a\n": 0.2, "b\n": 0.8}, "b\n": {"a\n": 0.6, "b\n": 0.4}},
    otherwise={"=1\n": 0.75, "=2\n": 0.25},
)
"""Every trajectory has three steps."""


def uneven_as(salt: str) -> RewardFunction:
    """A reward in (.05, .95) that follows no symmetry: a digest of the text, another for each salt."""

    def reward(_: str, steps: Steps) -> float:
        digest = hashlib.blake2b((salt + "".join(steps)).encode(), digest_size=4).digest()
        return 0.05 + 0.9 * int.from_bytes(digest, "big") / 2**32

    return reward


uneven = uneven_as("")


def enumerate_paths(language: Language, max_steps: int, question: str = "abca") -> dict[Steps, float]:
    """Every trajectory of at most ``max_steps`` steps with its probability."""
    paths: dict[Steps, float] = {}
    stack: list[tuple[Steps, float]] = [((), 1.0)]
    while stack:
        steps, probability = stack.pop()
        ended = steps and (not steps[-1].endswith("\n") or "=" in steps[-1])
        if ended or len(steps) == max_steps:
            paths[steps] = probability
            continue
        options = language(question, "".join(steps))
        stack.extend(((*steps, text), probability * p) for text, p in options.items())
    return paths


def odds(value: float) -> float:
    return value / (1 - value)


def normalised(mass: Mapping[Steps, float]) -> dict[Steps, float]:
    total = math.fsum(mass.values())
    return {path: m / total for path, m in mass.items()}


def steps_of(solution: Solution) -> list[Steps]:
    return [tuple(s.text for s in t.steps) for t in solution.trajectories]


def records_of(solution: Solution) -> list[StepRecord]:
    """The history of a population."""
    return [r for r in solution.history if isinstance(r, StepRecord)]


def sampling(**knobs: Any) -> Sampling:
    """The policy itself: temperature 1, so that an enumeration holds."""
    return Sampling(**({"temperature": 1.0, "max_tokens": 16} | knobs))


@cache
def knobs_of(name: str) -> Mapping[str, Any]:
    """What ``strategy=name`` composes, with its interpolations as they are written."""
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF.parent)):
        node = OmegaConf.to_container(compose("config", [f"strategy={name}"]).strategy, resolve=False)
    assert isinstance(node, dict)
    return {str(knob): value for knob, value in node.items()}


def load(name: str, budget: int = 4, task: Mapping[str, int] | None = None, **knobs: Any) -> Strategy:
    """The strategy that ``strategy=name budget=budget`` makes on the toy task, or on a changed one."""
    config = _config_of(name, budget, tuple((TASK | dict(task or {})).items()))
    if knobs:
        config = copy.deepcopy(config)
    for knob, value in knobs.items():
        OmegaConf.update(config, f"strategy.{knob}", value)
    strategy: Strategy = instantiate(config.strategy, _convert_="all")
    return strategy


@cache
def _config_of(name: str, budget: int, task: tuple[tuple[str, int], ...]) -> DictConfig:
    return OmegaConf.create({"budget": budget, "task": dict(task), "strategy": knobs_of(name)})


def trajectory_of(path: Steps, reward: RewardFunction) -> Trajectory:
    """What the fakes and a session make of these steps."""
    steps = [
        Step(
            text=text,
            token_ids=tuple(map(ord, text)) if text.endswith("\n") else (*map(ord, text), EOS),
            reward=Reward.from_value(reward(PROBLEM.question, path[: i + 1])),
            finish=Finish.ANSWER if "=" in text else Finish.STEP if text.endswith("\n") else Finish.EOS,
        )
        for i, text in enumerate(path)
    ]
    return Trajectory(tuple(steps))
