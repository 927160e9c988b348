"""What-ifs against real runs: what is recomputed is what the run itself would have answered."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator.replay.__main__ import main, read_recorded
from orchestrator.replay.whatif import WhatIf, replay_all
from orchestrator.report.runs import find_runs
from orchestrator.storage.result_lines import in_recorded_order, trajectory_of
from orchestrator.storage.results import read_results
from orchestrator.storage.run_files import CONFIG, RESULTS
from orchestrator.types import Finish
from tests.orchestrator.conftest import SEEDS
from tests.orchestrator.real_runs import make_run, point_name

# The runs are made within the first test that asks for them.
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]

SAME = ("answer", "correct", "candidates", "answer_index")


def replayed(folder: Path, *, trusts: bool = False, **knobs: Any) -> list[dict[str, Any]]:
    return asyncio.run(replay_all(read_recorded(folder, trusts=trusts), WhatIf(**knobs)))


def by_id(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {line["problem_id"]: {key: line[key] for key in SAME} for line in lines}


@pytest.fixture(scope="module")
def vote(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vote of rewarded samples, in two sizes that draw the same ones."""
    folder = tmp_path_factory.mktemp("vote")
    for budget in (3, 5):
        knobs = ("strategy.weight=reward", "strategy.aggregation=mean", "task.limit=3", f"budget={budget}")
        make_run(folder / str(budget), "strategy=self_consistency", *knobs)
    return folder


@pytest.mark.parametrize("strategy", ["best_of_n", "particle_filter"])
def test_the_runs_own_choice_gives_the_runs_own_answers(sweep: Path, strategy: str) -> None:
    folder = sweep / point_name(strategy, 4, 0)
    assert by_id(replayed(folder)) == by_id(read_results(folder))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_smaller_n_is_the_run_with_that_n(sweep: Path, seed: int) -> None:
    small = sweep / point_name("best_of_n", 2, seed)
    again = replayed(sweep / point_name("best_of_n", 4, seed), budget=2)
    assert by_id(again) == by_id(read_results(small))
    spent = {line["problem_id"]: line["usage"] for line in read_results(small)}
    for line in again:
        for key in ("generated_tokens", "reward_calls"):
            assert line["usage"][key] == spent[line["problem_id"]][key]


def test_a_weighted_vote_is_replayed_by_its_own_rules(vote: Path) -> None:
    assert by_id(replayed(vote / "5")) == by_id(read_results(vote / "5"))
    assert by_id(replayed(vote / "5", budget=3)) == by_id(read_results(vote / "3"))


@pytest.mark.parametrize("aggregation", ["min", "prod"])
def test_another_aggregation_is_the_run_with_it(sweep: Path, tmp_path: Path, aggregation: str) -> None:
    """The samples do not depend on how their rewards are put together."""
    knobs = (
        "strategy=best_of_n",
        "budget=4",
        "seed=1",
        "task.limit=5",
        f"strategy.aggregation={aggregation}",
    )
    real = make_run(tmp_path / "real", *knobs)
    again = replayed(sweep / point_name("best_of_n", 4, 1), aggregation=aggregation)
    assert by_id(again) == by_id(read_results(real))


def test_another_selection_of_a_filter_is_the_run_with_it(sweep: Path, tmp_path: Path) -> None:
    knobs = ("strategy=particle_filter", "budget=4", "seed=1", "task.limit=5")
    real = make_run(tmp_path / "real", *knobs, "strategy.selection=weighted_majority")
    again = replayed(sweep / point_name("particle_filter", 4, 1), selection="weighted_majority")
    assert by_id(again) == by_id(read_results(real))


def test_a_vote_over_best_of_n_samples_counts_them(tmp_path: Path, sweep: Path) -> None:
    """A selection that best_of_n itself does not offer."""
    folder = tmp_path / "run"
    shutil.copytree(sweep / point_name("best_of_n", 4, 0), folder)
    line = read_results(folder)[0]
    answers = {"a": -3.0, "b": -2.0, "c": 5.0}
    found = []
    for name in ("a", "b", "b", "c"):
        text = f"={name}\n"
        odds = answers[name]
        found.append({**line["candidates"][0], "answer": name, "text": text, "step_lengths": [len(text)],
                      "step_log_odds": [odds], "log_weight": odds, "correct": name == "b"})  # fmt: skip
    line = {**line, "candidates": [found[3], *found[:3]], "answer_index": 3, "answer": "c", "correct": False}
    (folder / RESULTS).write_text(json.dumps(line) + "\n")
    config = json.loads((folder / CONFIG).read_text())
    # Letters are no answers of a chain: any task whose answers are texts will do.
    config["task"] = {"_target_": "orchestrator.testing.FakeTask"}
    (folder / CONFIG).write_text(json.dumps(config))
    assert [x["answer"] for x in replayed(folder, trusts=True)] == ["c"]
    assert [x["answer"] for x in replayed(folder, trusts=True, selection="majority")] == ["b"]
    assert [x["answer"] for x in replayed(folder, trusts=True, selection="weighted_majority")] == ["c"]
    assert [x["answer"] for x in replayed(folder, trusts=True, selection="argmax", budget=3)] == ["b"]


def test_a_stored_candidate_is_its_trajectory_again(sweep: Path) -> None:
    for folder in find_runs(sweep):
        for line in read_results(folder):
            assert in_recorded_order(line)[line["answer_index"]] == line["candidates"][0]
            for stored in line["candidates"]:
                trajectory = trajectory_of(stored)
                assert trajectory.text == stored["text"]
                assert trajectory.num_tokens == stored["num_tokens"]
                assert trajectory.finished == stored["finished"]
                assert len(trajectory.steps) == len(stored["step_lengths"])
                if stored["reward"] is not None:
                    assert trajectory.reward is not None
                    assert trajectory.reward.value == stored["reward"]


def test_infinite_rewards_survive_the_file() -> None:
    stored = {"text": "ab", "step_lengths": [1, 1], "step_log_odds": ["inf", "-inf"], "num_tokens": 2,
              "finished": False, "logprob": None}  # fmt: skip
    first, last = trajectory_of(stored).steps
    assert first.reward is not None and last.reward is not None
    assert (first.reward.value, last.reward.value, last.finish) == (1.0, 0.0, Finish.LENGTH)


@pytest.mark.parametrize(
    ("strategy", "knobs", "message"),
    [
        ("particle_filter", ["budget=2"], "a smaller N would have searched differently"),
        ("best_of_n", ["budget=5"], r"must be 1\.\.4"),
        ("best_of_n", ["budget=0"], r"must be 1\.\.4"),
        ("best_of_n", ["budget=two"], "must be a whole number"),
        ("best_of_n", ["selection=best"], "must be one of argmax, majority"),
        ("best_of_n", ["aggregation=max"], "must be one of last, min"),
        ("best_of_n", ["aggregation=model"], "read-out whole"),
        ("best_of_n", ["tie_break=likelihood"], "does not vote"),
        ("best_of_n", ["selecton=argmax"], "did you mean 'selection'"),
        ("astar", [], "no selection to repeat"),
    ],
)
def test_what_cannot_be_known_is_refused_in_one_line(
    sweep: Path, capsys: pytest.CaptureFixture[str], strategy: str, knobs: list[str], message: str
) -> None:
    assert main([str(sweep / point_name(strategy, 4, 0)), *knobs]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert re.search(message, error), error


def test_lines_without_steps_are_refused(tmp_path: Path, sweep: Path) -> None:
    shutil.copytree(sweep / point_name("best_of_n", 4, 0), tmp_path, dirs_exist_ok=True)
    lines = read_results(tmp_path)
    for line in lines:
        for stored in line["candidates"]:
            del stored["step_log_odds"]
    (tmp_path / RESULTS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main([str(tmp_path)]) == 2


def test_every_combination_is_a_row_and_a_run_directory(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = sweep / point_name("best_of_n", 4, 0), tmp_path / "out"
    arguments = [str(source), "selection=argmax,weighted_majority", "budget=2,4", f"out={out}"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.count("replayed") == 4
    assert [path.name for path in find_runs(out)] == [
        "selection=argmax,budget=2",
        "selection=argmax,budget=4",
        "selection=weighted_majority,budget=2",
        "selection=weighted_majority,budget=4",
    ]
    assert by_id(read_results(out / "selection=argmax,budget=4")) == by_id(read_results(source))
    assert main(arguments) == 2  # results are never overwritten
