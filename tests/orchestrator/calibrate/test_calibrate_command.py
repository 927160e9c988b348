"""The command, and the file that a run reads: what fits, what is refused, what is said."""

from __future__ import annotations

import json
import logging
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from orchestrator.calibrate.__main__ import main
from orchestrator.config.compose import only_composed
from orchestrator.config.plan import Plan, plan_of
from orchestrator.errors import ConfigError
from orchestrator.storage.inputs import INPUTS
from tests.orchestrator.allocation.made_samples import write_samples

LOCAL = ("verifier=self_certainty", "strategy=best_of_n", "tracker=none", "run_dir=outputs/none")


@cache
def planned(*overrides: str) -> Plan:
    """A plan; a test that names a file names one of its own."""
    return only_composed([*LOCAL, *overrides], plan_of)


def made_by(plan: Plan, folder: Path, **verifier: Any) -> Path:
    """A stored run of a plan's task and verifier."""
    node = {**plan.plain["verifier"], **verifier}
    return write_samples(folder, config={"verifier": node, "task": plan.plain["task"]})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return made_by(planned("task.limit=40", "task.split=dev"), tmp_path / "run")


@pytest.fixture
def file(run: Path, tmp_path: Path) -> Path:
    assert main([str(run), f"to={tmp_path / 'map.json'}"]) == 0
    return tmp_path / "map.json"


@pytest.mark.parametrize(
    ("name", "at", "num_maps"), [("isotonic", "last", 1), ("temperature", "last", 1), ("quantile", "each", 2)]
)
def test_it_writes_maps_with_digests(
    run: Path, tmp_path: Path, name: str, at: str, num_maps: int, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "maps" / "map.json"
    assert main([str(run), f"to={file}", f"map={name}", f"at={at}"]) == 0
    written = json.loads(file.read_text())
    assert (written["kind"], written["map"], written["at"]) == ("calibration", name, at)
    assert len(written["maps"]) == num_maps
    assert all(written[key].startswith("blake2b_") for key in ("digest", "verifier"))
    assert written["problems"]["num"] == 40
    assert set(written["held_out"]["after"]) == {"num", "ece", "brier", "auc"}
    printed = capsys.readouterr().out
    assert "last, mapped (held out)" in printed
    assert "step 2" in printed


def test_a_run_holds_the_maps_themselves(file: Path) -> None:
    plan = planned(f"verifier.calibration={file}", "task.split=test")
    assert plan.calibration is not None
    assert plan.plain["verifier"]["calibration"] == json.loads(file.read_text())
    assert plan.model_key == planned().model_key  # the replicas are the same
    file.unlink()  # what config.json holds is enough to resume


def test_without_a_calibration_the_configuration_is_as_before() -> None:
    assert "calibration" not in planned().plain["verifier"]
    assert planned().calibration is None


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        planned(*overrides)
    return str(caught.value)


def test_another_verifier_is_refused(file: Path) -> None:
    said = refusal(f"verifier.calibration={file}", "verifier.readout=whole", "strategy.aggregation=model")
    assert "was fitted to another verifier (embedded, blake2b_" in said


def test_another_model_is_refused_and_its_speed_is_not(tmp_path: Path) -> None:
    """The shipped model of the chain task, known by the digest of its files, wherever they lie."""
    plan = planned("verifier=embedded", "task.split=dev", "task.limit=40")
    run = made_by(plan, tmp_path / "run", model="elsewhere")
    (run / INPUTS).write_text(json.dumps({"problems": {}, "models": plan.inputs.models}))
    assert main([str(run), f"to={tmp_path / 'map.json'}"]) == 0
    given = f"verifier.calibration={tmp_path / 'map.json'}"
    assert planned("verifier=embedded", given, "verifier.cache_bytes=1000").calibration is not None
    others = ("engine=countdown", "task=countdown", "verifier=countdown")
    assert "was fitted to another verifier" in refusal(*others, given)


def test_no_verifier_needs_no_calibration(file: Path) -> None:
    assert "needs a verifier" in refusal("verifier=none", "strategy=greedy", f"verifier.calibration={file}")


@pytest.mark.parametrize(
    ("overrides", "warned"),
    [
        (("task.split=test",), "was fitted on another task or split"),
        (("task.split=dev", "task.offset=39"), "was fitted on problems of this run"),
        (("task.split=dev", "task.offset=40"), ""),
    ],
)
def test_it_warns_of_problems_that_the_calibration_has_seen(
    file: Path, caplog: pytest.LogCaptureFixture, overrides: tuple[str, ...], warned: str
) -> None:
    with caplog.at_level(logging.WARNING, "orchestrator.config"):
        planned(f"verifier.calibration={file}", *overrides)
    assert (warned in caplog.text) if warned else not caplog.records


def test_a_file_that_was_changed_is_refused(file: Path) -> None:
    content = json.loads(file.read_text())
    content["maps"][0]["values"][0] = 9.0
    file.write_text(json.dumps(content))
    assert "its digest differs" in refusal(f"verifier.calibration={file}")
    file.write_text(json.dumps({"kind": "plan"}))
    assert "is no calibration: its kind is plan" in refusal(f"verifier.calibration={file}")
    file.write_text("{")
    assert "is no JSON" in refusal(f"verifier.calibration={file}")
    assert "is no file" in refusal("verifier.calibration=nowhere.json")
    assert "must be the path of a file" in refusal("verifier.calibration=3")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("map=isotonic",), "to=null: must be the file to write"),
        (
            ("to=x.json", "map=isotone"),
            "map=isotone: must be one of isotonic, temperature, quantile",
        ),
        (("to=x.json", "at=first"), "at=first: must be one of last, each"),
    ],
)
def test_a_bad_argument_is_one_line(
    run: Path, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_rewards_that_were_mapped_are_not_fitted_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made_by(planned(), tmp_path / "run", calibration={"digest": "blake2b_1"})
    assert main([str(run), f"to={tmp_path / 'map.json'}"]) == 2
    assert "has calibrated rewards already" in capsys.readouterr().err
