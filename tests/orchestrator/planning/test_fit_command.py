"""From a sweep and a reference to a plan, and from the plan to the strategy of a run."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.config.compose import only_composed
from orchestrator.config.plan import Plan, plan_of
from orchestrator.errors import ConfigError
from orchestrator.planning.command import main
from orchestrator.planning.surface import first_gains
from orchestrator.storage.fitted_files import DIGEST, digest_text
from strategies import BestOfN, ComputeOptimal, ParticleFilter
from tests.orchestrator.allocation.made_samples import sampled_line, write_samples
from tests.orchestrator.report.made_runs import line, write_run

NUM = 40
SAMPLE_TOKENS = 4  # of a made candidate
BASE = ("tracker=none", "run_dir=outputs/none", "verifier=self_certainty")


def planned(*overrides: str) -> Plan:
    return only_composed([*BASE, *overrides], plan_of)


@cache
def node_of(strategy: str, budget: int) -> dict[str, Any]:
    return dict(planned(f"strategy={strategy}", f"budget={budget}").plain["strategy"])


def outcome(problem: int, right: bool, budget: int) -> dict[str, Any]:
    return line(f"p{problem}", right, tokens=budget * SAMPLE_TOKENS)


def write_setting(sweep: Path, strategy: str, budget: int, solves: range, **knobs: Any) -> None:
    """A run that solves some of the problems, with the node that its configuration composes."""
    node = {**node_of(strategy, budget), **knobs}
    lines = [outcome(i, i in solves, budget) for i in range(NUM)]
    name = f"{strategy}-{budget}-{'-'.join(map(str, knobs.values()))}"
    write_run(sweep / name, lines, strategy=strategy, budget=budget, config={"strategy": node})


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    """Problems from easy to hard, by number."""
    rng = np.random.default_rng(0)
    lines = [sampled_line(f"p{i}", rng, 8, 1 - i / NUM) for i in range(NUM)]
    return write_run(tmp_path / "reference", lines, budget=8)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Sampling solves the easy half, searching the hard one."""
    write_setting(tmp_path / "sweep", "best_of_n", 8, range(NUM // 2))
    write_setting(tmp_path / "sweep", "particle_filter", 4, range(NUM // 2, NUM))
    return tmp_path / "sweep"


def fit(sweep: Path, reference: Path, *options: str) -> int:
    to = f"to={sweep.parent / 'plan.json'}"
    return main(["fit", str(sweep), f"reference={reference}", to, *options])


def test_each_level_gets_what_is_best_there(
    sweep: Path, reference: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert fit(sweep, reference, "budget=8", "levels=2") == 0
    plan = json.loads((sweep.parent / "plan.json").read_text())
    assert plan["names"] == ["best_of_n N=8", "particle_filter N=4"]
    assert plan["chosen"] == [0, 1]
    in_sample, held_out, low, high = plan["gains"]
    assert in_sample >= held_out > 0.1
    assert low < held_out < high
    printed = capsys.readouterr().out
    for said in (
        "plan, cross-validated",
        "probes not charged",
        "plan, in sample (bound)",
        "oracle allocation",
    ):
        assert said in printed


def test_a_run_is_built_from_the_plan(sweep: Path, reference: Path) -> None:
    assert fit(sweep, reference, "budget=8", "levels=2") == 0
    file = sweep.parent / "plan.json"
    plan = planned("strategy=compute_optimal", f"plan={file}", "budget=8")
    strategy = plan.strategy
    assert isinstance(strategy, ComputeOptimal)
    assert strategy.plan is not None
    assert [type(s) for s in strategy.plan.settings] == [BestOfN, ParticleFilter]
    assert isinstance(strategy.plan.setting(0.99), BestOfN)
    assert isinstance(strategy.plan.setting(0.01), ParticleFilter)
    assert strategy.readouts == ("per_step", "whole")
    assert plan.plain["strategy"]["plan"]["digest"] == json.loads(file.read_text())["digest"]


def test_probes_are_charged_unless_the_setting_continues_them(sweep: Path, reference: Path) -> None:
    """A search of 4 samples and 4 probes are 8; best of 8 holds its probes."""
    assert fit(sweep, reference, "budget=7") == 2
    assert fit(sweep, reference, "budget=8") == 0
    assert fit(sweep, reference, "budget=7", "probes=2") == 0
    assert fit(sweep, reference, "budget=4", "by=oracle") == 0


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        planned("strategy=compute_optimal", *overrides)
    return str(caught.value)


def test_a_plan_that_does_not_fit_is_refused(sweep: Path, reference: Path) -> None:
    file = sweep.parent / "plan.json"
    assert fit(sweep, reference, "budget=8") == 0
    assert "budget=4: must be 8, for which the plan was fitted" in refusal(f"plan={file}", "budget=4")
    assert "strategy.probes=2: must be 4" in refusal(f"plan={file}", "budget=8", "strategy.probes=2")
    with pytest.raises(ConfigError, match="is for strategy=compute_optimal"):
        planned("strategy=greedy", f"plan={file}")
    assert fit(sweep, reference, "budget=8", "by=oracle") == 0
    assert "was fitted by=oracle, from right answers" in refusal(f"plan={file}", "budget=8")


def test_a_plan_of_a_stranger_builds_no_class(sweep: Path, reference: Path) -> None:
    file = sweep.parent / "plan.json"
    assert fit(sweep, reference, "budget=8") == 0
    content = json.loads(file.read_text())
    content["settings"][0]["_target_"] = "os.system"
    del content[DIGEST]
    file.write_text(json.dumps({**content, DIGEST: digest_text(content)}))
    assert "would build os.system, which no file of conf/ names" in refusal(f"plan={file}", "budget=8")


def test_knobs_of_one_strategy_get_a_response_surface(
    tmp_path: Path, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for budget in (4, 8):
        for temperature in (0.5, 1.0):
            solved = range(int(budget * 2 + 10 * temperature))
            write_setting(tmp_path / "sweep", "best_of_n", budget, solved, selection_temperature=temperature)
    assert fit(tmp_path / "sweep", reference, "budget=8") == 0
    printed = capsys.readouterr().out
    assert "response surface of best_of_n: slopes of log(knob) num_samples: +" in printed
    assert "num_samples=8, selection_temperature=1, forecast" in printed


def test_the_first_unit_of_a_knob() -> None:
    knobs = np.asarray([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [0.0, 2.0]])
    assert first_gains(knobs, np.asarray([0.1, 0.4, 0.9, 0.3])).tolist() == pytest.approx(
        [0.2, 0.3 - 1.4 / 3]
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("budget=0",), "budget=0: must be a whole number of 1 or more"),
        ((), "budget=null: must be a whole number of 1 or more"),
        (("budget=8", "by=guess"), "by=guess: must be one of oracle, predicted"),
        (("budget=8", "folds=1"), "folds=1: must be a whole number of 2 or more"),
        (("budget=8", "folds=99"), "folds=99: must be at most 40, the problems"),
        (("budget=8", "probes=9"), "probes=9: must be at most 8, the samples of a reference problem"),
        (("budget=1",), "budget=1: every setting costs more than 1 samples"),
    ],
)
def test_a_bad_option_is_one_line(
    sweep: Path, reference: Path, options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(sweep, reference, *options) == 2
    assert said in capsys.readouterr().err


def test_floors_of_one_problem_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are judged on the problems of another half."""
    one = write_samples(tmp_path / "one", num_problems=1)
    assert main(["floors", str(one), f"to={tmp_path / 'floors.json'}"]) == 2
    assert "has 1 problem with samples" in (said := capsys.readouterr().err)
    assert said.endswith("give 2 or more\n") and not (tmp_path / "floors.json").exists()


def test_another_word_than_fit_is_refused(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fitt", str(sweep)]) == 2
    assert "command=fitt: must be fit, floors or features; did you mean 'fit'?" in capsys.readouterr().err
    assert main(["fit", str(sweep), "budget=4"]) == 2
    assert "reference=null: must be the directory of a run" in capsys.readouterr().err
