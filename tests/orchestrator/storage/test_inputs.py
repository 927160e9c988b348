"""A run goes on with the problems and the models that it began with, or says which one has changed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.transformers_engine.config import TransformersEngineConfig, TransformersVerifierConfig
from actors.verifiers.config import LikelihoodVerifierConfig
from orchestrator.config.compose import only_composed
from orchestrator.config.files import CONF
from orchestrator.config.plan import plan_of
from orchestrator.errors import ConfigError
from orchestrator.storage.inputs import INPUTS, Inputs, check_inputs
from orchestrator.storage.run_files import RESULTS
from orchestrator.types import Problem, Turn
from tests.orchestrator.report.made_runs import line

OLD = [Problem(f"rows-{i}", f"question {i}", str(i)) for i in range(3)]
CONFIG: dict[str, Any] = {
    "task": {"path": "rows.jsonl"}, "engine": {"model": "policy"}, "verifier": {"model": "prm"},
}  # fmt: skip
MODELS = {"engine": "sha256:1", "verifier": None}
SHIPPED = CONF.parent / "actors" / "embedded" / "weights" / "chain-policy"


def inputs(problems: list[Problem], **models: str | None) -> Inputs:
    return Inputs.of(problems, CONFIG, {**MODELS, **models})


def refusal(run_dir: Path, now: Inputs) -> str:
    with pytest.raises(ConfigError) as caught:
        check_inputs(run_dir, now, has_begun=True)
    return str(caught.value)


def test_the_same_goes_on_in_any_order(tmp_path: Path) -> None:
    check_inputs(tmp_path, inputs(OLD), has_begun=False)
    check_inputs(tmp_path, inputs(OLD[::-1]), has_begun=True)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ([Problem("rows-0", "new", "9"), *OLD[1:]], "problem rows-0 has another question and reference;"),
        ([OLD[0], Problem("rows-1", "question 1", "9"), OLD[2]], "problem rows-1 has another reference;"),
        ([OLD[0], Problem("rows-1", "question one", "1"), OLD[2]], "problem rows-1 has another question;"),
        ([*OLD, Problem("rows-3", "question 3", "3")], "problem rows-3 is new;"),
        (OLD[:2], "problem rows-2 is gone;"),
        ([Problem(p.id, q.question, q.answer) for p, q in zip(OLD, OLD[::-1], strict=True)], "(and 1 more"),
    ],
)
def test_other_problems_are_refused(now: list[Problem], said: str, tmp_path: Path) -> None:
    check_inputs(tmp_path, inputs(OLD), has_begun=False)
    line = refusal(tmp_path, inputs(now))
    assert line.startswith(f"task.path=rows.jsonl: has changed since the run in {tmp_path} began: problem")
    assert said in line


TALKS = [replace(OLD[0], history=(Turn("system", "Be brief."), Turn("user", "1+1?"))), *OLD[1:]]


def test_other_turns_before_a_question_are_another_problem(tmp_path: Path) -> None:
    check_inputs(tmp_path, inputs(TALKS), has_begun=False)
    check_inputs(tmp_path, inputs(TALKS), has_begun=True)
    others = [(), (Turn("system", "Be brief."),), (Turn("user", "Be brief."), Turn("user", "1+1?"))]
    for history in others:
        line = refusal(tmp_path, inputs([replace(OLD[0], history=history), *OLD[1:]]))
        assert "problem rows-0 has another history;" in line
    assert inputs(OLD).problems["rows-0"] == "f8a6954834069224", "as before problems could have turns"


def test_other_weights_are_refused_where_both_are_known(tmp_path: Path) -> None:
    check_inputs(tmp_path, inputs(OLD), has_begun=False)
    assert refusal(tmp_path, inputs(OLD, engine="sha256:2")).startswith("engine.model=policy: its files have")
    check_inputs(tmp_path, inputs(OLD, engine=None), has_begun=True)
    check_inputs(tmp_path, inputs(OLD, verifier="sha256:3"), has_begun=True)


def test_before_anything_is_done_the_data_may_change(tmp_path: Path) -> None:
    check_inputs(tmp_path, inputs(OLD), has_begun=False)
    check_inputs(tmp_path, inputs(OLD[:1]), has_begun=False)
    check_inputs(tmp_path, inputs(OLD[:1]), has_begun=True)


def test_a_directory_of_an_older_release_is_compared_by_its_results(tmp_path: Path) -> None:
    check_inputs(tmp_path, inputs(OLD), has_begun=True)
    (tmp_path / INPUTS).unlink()
    done = line("rows-1", True, question="question 1", reference="1")
    (tmp_path / RESULTS).write_text(json.dumps(done) + "\n")
    check_inputs(tmp_path, inputs(OLD), has_begun=True)
    (tmp_path / INPUTS).unlink()
    assert "problem rows-1 has another question" in refusal(
        tmp_path, inputs([Problem(f"rows-{i}", f"question {i - 1}", "1") for i in range(3)])
    )
    assert "problem rows-1 is gone" in refusal(tmp_path, inputs(OLD[:1]))
    talks = [OLD[0], replace(OLD[1], history=TALKS[0].history), OLD[2]]
    check_inputs(tmp_path, inputs(talks), has_begun=True)  # a result does not hold the turns


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"problems": 3, "models": {}}'])
def test_a_file_that_cannot_be_read_is_said(text: str, tmp_path: Path) -> None:
    (tmp_path / INPUTS).write_text(text)
    assert refusal(tmp_path, inputs(OLD)).startswith(f"run_dir={tmp_path}: its inputs.json cannot be read")


def test_configurations_digest_their_models(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SHIPPED, tmp_path / "model"))
    engine = TransformersEngineConfig(str(folder))
    configs = [engine, TransformersVerifierConfig(str(folder)), LikelihoodVerifierConfig(engine)]
    before = [config.digest() for config in configs]
    (folder / "config.json").write_bytes((folder / "config.json").read_bytes() + b"\n")
    assert all(a and b and a != b for a, b in zip(before, [c.digest() for c in configs], strict=True))


def test_a_plan_knows_its_inputs() -> None:
    of_plan = only_composed(["task.limit=3", "run_dir=outputs/none"], lambda config: plan_of(config).inputs)
    assert list(of_plan.problems) == ["chain-test-0", "chain-test-1", "chain-test-2"]
    assert all(str(digest).startswith("sha256:") for digest in of_plan.models.values())
    assert set(of_plan.models) == {"engine", "verifier"}
    other = only_composed(
        ["engine=openai", "engine.model=m", "verifier=none", "strategy=greedy", "run_dir=outputs/none"],
        lambda config: plan_of(config).inputs,
    )
    assert other.models == {}
