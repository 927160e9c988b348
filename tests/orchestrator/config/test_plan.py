"""What a configuration stands for, and which plans can share their replicas."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from orchestrator.config.build import as_plain
from orchestrator.config.compose import only_composed
from orchestrator.config.plan import Plan, make_plan, plan_of
from orchestrator.errors import ConfigError
from orchestrator.types import Sampling

pytestmark = pytest.mark.heavy


@cache
def planned(*overrides: str) -> Plan:
    return only_composed(["run_dir=outputs/none", *overrides], plan_of)


@pytest.mark.parametrize(
    "overrides",
    [
        ("strategy=astar",),
        ("budget=3", "seed=5", "task.limit=3", "task.offset=7", "task.split=dev"),
        ("limits.generated_tokens=100", "strategy.sampling.temperature=0.5", "concurrency=1", "tracker=none"),
    ],
    ids=" ".join,
)
def test_a_point_that_loads_the_same_shares_the_replicas(overrides: tuple[str, ...]) -> None:
    assert planned(*overrides).model_key == planned().model_key


@pytest.mark.parametrize(
    "overrides",
    [
        ("engine.max_batch_size=7",),
        ("engine=countdown", "task=countdown"),
        ("engine.dtype=bfloat16",),
        ("verifier=none", "strategy=greedy"),
        ("verifier.readout=whole", "strategy.aggregation=model"),
        ("cluster.engine_replicas=2",),
        ("cluster.verifier_replicas=2",),
    ],
    ids=" ".join,
)
def test_a_point_that_loads_something_else_does_not(overrides: tuple[str, ...]) -> None:
    assert planned(*overrides).model_key != planned().model_key


CHAT = ("engine=openai", "engine.model=m", "engine.api=chat")


@pytest.mark.parametrize("strategy", ["particle_filter", "beam_search", "astar", "tree_of_thoughts"])
def test_a_strategy_of_steps_refuses_an_engine_that_continues_no_text(strategy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(*CHAT, f"strategy={strategy}", "verifier=self_certainty")
    reason = f"makes whole answers alone, and strategy={strategy} extends them step by step"
    assert str(caught.value) == f"engine.api=chat: {reason}: choose another strategy, such as best_of_n"


@pytest.mark.parametrize("strategy", ["best_of_n", "self_consistency", "greedy"])
def test_a_strategy_of_whole_answers_takes_it(strategy: str) -> None:
    assert planned(*CHAT, f"strategy={strategy}", "verifier=self_certainty").engine.takes is Sampling


def test_a_strategy_that_prompts_in_words_refuses_a_policy_of_one_tasks_characters() -> None:
    assert planned("strategy=revisions", "budget=1", "engine=embedded").names["strategy"] == "revisions"
    with pytest.raises(ConfigError, match=r"^strategy=revisions: .*engine=embedded knows task=chain alone"):
        planned("strategy=revisions", "budget=4", "engine=embedded")


HINTS = ("strategy=sequential_hints", "budget=5", "engine=transformers", "engine.model=m", "verifier=none")


def test_a_strategy_that_chats_needs_a_chat_template_and_marks_its_run() -> None:
    with pytest.raises(ConfigError, match=r"^engine\.chat=false: strategy=sequential_hints shows"):
        planned(*HINTS)
    assert planned(*CHAT, *HINTS[:2], "verifier=none").engine.takes_history  # its server has the template
    plan = planned(*HINTS, "engine.chat=true")
    assert plan.knows_answers
    assert plan.references == {}  # they are for a verifier
    assert not planned(*HINTS, "budget=1").knows_answers  # nothing is revised


@pytest.mark.heavy
def test_what_cfg_job_prints_is_the_same_plan_again() -> None:
    keys = ("strategy=astar", "strategy.branching=2", "budget=3", "task.limit=2", "run_dir=outputs/none")
    command = [sys.executable, "run.py", "--cfg", "job", *keys]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=100, check=True)
    printed, plan = OmegaConf.create(done.stdout), planned(*keys)
    assert isinstance(printed, DictConfig)
    assert as_plain(printed) == plan.plain
    again = make_plan(printed, plan.names, str(plan.run_dir), [])
    assert (again.strategy, again.engine, again.model_key) == (plan.strategy, plan.engine, plan.model_key)
