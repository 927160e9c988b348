"""What an unknown key is said to be: never a key that this configuration has not."""

import re
from functools import cache

import pytest

from orchestrator.config.compose import known_keys
from orchestrator.config.explain import explain
from orchestrator.config.files import CONF
from orchestrator.config.hints import hint
from orchestrator.errors import ConfigError


@cache
def keys_with(*chosen: str) -> list[str]:
    return known_keys(chosen)


@pytest.mark.parametrize(
    ("chosen", "key", "line"),
    [
        ([], "stratgy", "; did you mean 'strategy'?"),
        ([], "limit", "; did you mean 'task.limit'?"),
        ([], "n", "; did you mean 'budget'?"),
        ([], "repeats", "; did you mean 'budget'?"),
        ([], "num_samples", "; did you mean 'budget'?"),
        ([], "k", "; did you mean 'budget'?"),
        (["strategy=best_of_n"], "num_samples", "; did you mean 'budget'?"),
        ([], "temperature", "; did you mean 'strategy.sampling.temperature'?"),
        ([], "engine.temperature", "; did you mean 'strategy.sampling.temperature'?"),
        ([], "strategy.sampling.temp", "; did you mean 'strategy.sampling.temperature'?"),
        ([], "limits.secs", "; did you mean 'limits.seconds'?"),
        ([], "limits.tokens", "; did you mean 'limits.generated_tokens'?"),
        ([], "strategy.annealing", "; strategy=entropic_particle_filter has it"),
        (["strategy=entropic_particle_filter"], "strategy.anealing", "; did you mean 'strategy.annealing'?"),
        ([], "tracker.project", "; tracker=trackio or wandb has it"),
        ([], "task.path", "; task=dataset or stored or aime24 has it"),
        ([], "engine.extra_body", "; engine=openai has it"),
        (["engine=openai"], "engine.extra_bdy", "; did you mean 'engine.extra_body'?"),
        (["task=mine"], "task.slope", "; python run.py --cfg job shows them all"),
        ([], "num_workers", "; python run.py --cfg job shows them all"),
    ],
)
def test_hints(chosen: list[str], key: str, line: str) -> None:
    assert hint(key, keys_with(*chosen), CONF) == line


@pytest.mark.parametrize("strategy", ["greedy", "astar", "hex"])
@pytest.mark.parametrize(
    "key", ["strategy.weight", "strategy.num_sample", "engine.path", "modle", "task.box"]
)
def test_what_is_suggested_is_there(strategy: str, key: str) -> None:
    keys = keys_with(f"strategy={strategy}")
    said = hint(key, keys, CONF)
    assert set(re.findall(r"'(.*?)'", said)) <= set(keys)


def test_a_knob_of_another_choice_is_said_for_a_key_that_was_added() -> None:
    error = ConfigError("engine.extra_body", {"top_k": 20}, "unknown key; known: model, template")
    assert explain(error, [], []).endswith("unknown key; engine=openai has it")
