"""The sampling of the policy, said once for all strategies: overrides, sweeps and the list of strategies."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from orchestrator.config.build import as_plain
from orchestrator.config.compose import only_composed
from orchestrator.runs.sweep import plan_sweep
from tests.toy import CONF, STRATEGIES, knobs_of

SAMPLED = [name for name in STRATEGIES if "sampling" in knobs_of(name)]
REVISE = {"iad", "refine", "revisions", "self_refine", "sequential_hints"}
OTHERS = {"astar": (1.0, 1.0), "iad": (0.7, 1.0), "speculative": (0.6, 0.95)}
"""Temperature and nucleus, where they are not those that are shipped."""
WHOLE = {"best_of_n", "compute_optimal", "mixture", "pipeline", "self_consistency", *REVISE}


@pytest.mark.parametrize("name", SAMPLED)
def test_a_strategy_samples_steps_or_answers(name: str) -> None:
    length = "${task.max_tokens}" if name in WHOLE else "${task.max_step_tokens}"
    temperature, top_p = OTHERS.get(name, (0.8, 1.0))
    assert knobs_of(name)["sampling"] == {
        "_target_": "orchestrator.Sampling",
        "temperature": temperature,
        "top_p": top_p,
        "max_tokens": length,
    }


def test_one_knob_of_it_is_set_as_any_other() -> None:
    plain = only_composed(["strategy=rebase", "strategy.sampling.temperature=0.7"], as_plain)
    assert (plain["strategy"]["sampling"]["temperature"], plain["strategy"]["sampling"]["top_p"]) == (
        0.7,
        1.0,
    )


@pytest.mark.heavy
def test_a_sweep_over_it_and_over_strategies(tmp_path: Path) -> None:
    arguments = [
        "-m",
        "strategy=rebase,best_of_n",
        "strategy.sampling.temperature=0.5,0.7",
        f"run_dir={tmp_path}",
    ]
    sweep = plan_sweep(arguments, lambda config: str(config.strategy.sampling.temperature))
    assert sweep.mistakes == {}
    assert sorted(p.models or "" for p in sweep.planned) == ["0.5", "0.5", "0.7", "0.7"]


def test_it_is_no_strategy() -> None:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF.parent)):
        compose("config")
        groups = GlobalHydra.instance().config_loader().get_group_options("strategy")
    assert groups == STRATEGIES
