"""``task.step`` on a command line: what it makes, and one line for what does not go with it."""

from __future__ import annotations

import pytest

from orchestrator.config.compose import only_composed
from orchestrator.config.plan import plan_of
from orchestrator.config.spelling import spelled
from orchestrator.errors import ConfigError
from orchestrator.steps.rule import StepRule

pytestmark = pytest.mark.heavy  # each composes a configuration

TOKENS = ["task.step.mode=tokens", "task.step.tokens=8"]
SERVER = ["engine=openai", "engine.model=m", "engine.base_url=http://127.0.0.1:1/v1"]


def rule_of(*keys: str) -> StepRule:
    arguments = [spelled(key, is_sweep=False) for key in (*keys, "run_dir=outputs/none")]
    task = only_composed(arguments, plan_of).task
    step: StepRule = task.step  # type: ignore[attr-defined]
    return step


@pytest.mark.parametrize(
    ("keys", "rule"),
    [
        (TOKENS, StepRule("tokens", 8)),
        (["task.step.mode=markers", r"task.step.markers=\n\n(Wait|Hmm)"], "\n\n(Wait|Hmm)"),
        (["task.step.mode=markers", "task.step.markers=[Wait,Hmm]"], ("Wait", "Hmm")),
    ],
)
def test_a_command_line_says_how_a_step_ends(keys: list[str], rule: object) -> None:
    made = rule_of(*keys)
    assert made == rule if isinstance(rule, StepRule) else made.markers == rule


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (
            ["task.step.mode=tokens", "task.step.tokens=32"],
            "task.step.tokens=32: must be at most task.max_st",
        ),
        (
            [*TOKENS, "strategy.sampling.max_tokens=4"],
            "strategy.sampling.max_tokens=4: must be at least task",
        ),
        ([*TOKENS, *SERVER, "engine.prompts=text"], "task.step.mode=tokens: does not go with engine.prompts"),
        (
            ["task.step.mode=markers", "task.step.markers=W.", *SERVER],
            "task.step.markers=W.: does not go with engine=openai: a server stops at texts alone",
        ),
    ],
)
def test_what_does_not_go_with_it_names_both_keys(keys: list[str], line: str) -> None:
    with pytest.raises(ConfigError, match=f"^{line}"):
        rule_of(*keys)
