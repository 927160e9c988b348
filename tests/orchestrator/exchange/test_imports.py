"""An import is a run: graded, reported, replayed, served again, and written as the same file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.trust import refuse
from orchestrator.exchange.formats import FORMATS
from orchestrator.replay.__main__ import main as replay
from orchestrator.report.__main__ import main as report
from orchestrator.report.levels import pass_rates
from orchestrator.storage.run_files import CONFIG
from orchestrator.storage.signing import is_own, signed_bytes
from tests.in_process import run_here
from tests.orchestrator.exchange.made import lines_of, refused, run_exchange, summary_of, write_rows


def row(number: int, answers: list[int], scores: list[float] | None = None, **fields: Any) -> dict[str, Any]:
    """A row of search-and-learn: the question's number is the right answer."""
    return {
        "unique_id": f"q-{number}",
        "problem": f"What is {number}?",
        "answer": str(number),
        "completions": [f"I think.\n\nIt is \\boxed{{{answer}}}." for answer in answers],
        "completion_tokens": [10] * len(answers),
        **({"scores": [[0.5, score] for score in scores]} if scores else {}),
        **fields,
    }


ROWS = (
    row(1, [1, 2, 2, 3], [0.9, 0.2, 0.3, 0.1]),
    row(2, [1, 1, 2, 2], [0.1, 0.2, 0.3, 0.4]),
    row(3, [1, 2, 4, 5], [0.5, 0.6, 0.7, 0.8]),
)


@pytest.fixture
def imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    file = write_rows(tmp_path / "a.jsonl", *ROWS)
    run_exchange(capsys, "import", file, f"to={tmp_path / 'run'}", "format=search_and_learn")
    return tmp_path / "run"


def test_it_is_graded_and_chosen_among(imported: Path) -> None:
    summary = summary_of(imported)
    assert (summary["strategy"], summary["budget"], summary["num_correct"]) == ("best_of_n", 4, 2)
    assert summary["usage"]["generated_tokens"] == 120 and summary["usage"]["reward_calls"] == 12
    assert summary["quoted"]["majority@4"] == 0.0 and summary["quoted"]["naive@4"] == pytest.approx(2 / 3)
    best = lines_of(imported)["q-1"]["candidates"][0]
    assert (best["answer"], best["reward"], best["step_lengths"]) == ("1", pytest.approx(0.9), [10, 16])


def test_it_is_the_users_own(imported: Path) -> None:
    assert is_own(imported, signed_bytes(imported))
    refuse("x", imported, [])


def test_other_tools_read_it(imported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay([str(imported), "selection=argmax,majority", "budget=2,4"]) == 0
    table = capsys.readouterr().out
    assert table.count("replayed") == 4
    assert report([str(imported)]) == 0
    assert "majority@N" in (imported / "report.html").read_text()
    assert pass_rates(imported) == {"q-1": 0.25, "q-2": 0.5, "q-3": 0.0}


def test_it_resumes_as_a_finished_run(imported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = run_here(capsys, f"resume={imported}")
    assert (done.returncode, done.stderr) == (0, "") and "0.667" in done.stdout


def test_its_export_is_the_file(imported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = tmp_path / "again.jsonl"
    printed = run_exchange(capsys, "export", imported, f"to={again}", "format=search_and_learn")
    assert printed == f"{again}\n"
    for before, after in zip(ROWS, map(json.loads, again.read_text().splitlines()), strict=True):
        assert before == {name: after[name] for name in before}
        assert after["pred"] == before["completions"][after["agg_scores"].index(max(after["agg_scores"]))]


def test_problems_with_fewer_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = (row(1, [1, 1, 1, 2]), row(2, [1, 2]), row(3, []))
    file = write_rows(tmp_path / "a.jsonl", *rows)
    run = tmp_path / "run"
    run_exchange(
        capsys, "import", file, f"to={run}", "format=search_and_learn", "strategy.tie_break=likelihood"
    )
    lines = lines_of(run)
    assert [len(lines[f"q-{n}"]["candidates"]) for n in (1, 2, 3)] == [4, 2, 0]
    assert summary_of(run)["strategy"] == "self_consistency" and summary_of(run)["num_errors"] == 0
    for choices in (["selection=majority"], []):  # the last choice again; the strategy itself again
        assert replay([str(run), *choices, "budget=1,3,4"]) == 0


def test_a_task_of_ones_own_grades_its_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_rows(
        tmp_path / "data.jsonl", *({"question": f"What is {n}?", "answer": n} for n in (3, 2, 1))
    )
    file = write_rows(tmp_path / "a.jsonl", *(r | {"answer": "no"} for r in ROWS))
    run = tmp_path / "run"
    given = ("task=dataset", f"task.path={data}", "task.name=mine", "task.answer_kind=integer")
    run_exchange(capsys, "import", file, f"to={run}", "format=search_and_learn", *given)
    assert {i: line["reference"] for i, line in lines_of(run).items()} == {
        "mine-2": "1",
        "mine-1": "2",
        "mine-0": "3",
    }
    assert summary_of(run)["num_correct"] == 2
    config = json.loads((run / CONFIG).read_text())
    assert config["task"]["answer_marker"] is None  # a text continues after a box


def test_answers_are_the_files_or_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"problem": "?", "expected_answer": "7", "generation": "\\boxed{8}", "predicted_answer": "7"}]
    file = write_rows(tmp_path / "output-rs0.jsonl", *rows)
    for name, options, answer in (("a", (), "7"), ("b", ("task.answers=text",), "8")):
        run_exchange(capsys, "import", file, f"to={tmp_path / name}", "format=nemo_skills", *options)
        (line,) = lines_of(tmp_path / name).values()
        assert line["answer"] == answer
        assert replay([str(tmp_path / name), "selection=majority"]) == 0


def test_one_reward_for_a_whole_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_rows(
        tmp_path / "a.jsonl", row(1, [1, 2], scores=None, scores_=0) | {"scores": [[0.9], [0.2]]}
    )
    run_exchange(capsys, "import", file, f"to={tmp_path / 'run'}", "format=search_and_learn")
    config = json.loads((tmp_path / "run" / CONFIG).read_text())
    assert (config["verifier"]["readout"], config["strategy"]["aggregation"]) == ("whole", "model")
    assert summary_of(tmp_path / "run")["num_correct"] == 1


def test_any_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "\x00\x1b[31m\u202e<script>\ud800 \\boxed{1}"
    other = "\\boxed{2}"
    file = write_rows(tmp_path / "a.jsonl", row(1, [1, 2]) | {"completions": [text, other], "problem": text})
    run_exchange(capsys, "import", file, f"to={tmp_path / 'run'}", "format=search_and_learn")
    (line,) = lines_of(tmp_path / "run").values()
    assert {c["text"]: c["correct"] for c in line["candidates"]} == {text: True, other: False}
    by_grade = ("labels=descendants", "pairs=answers")  # it has no rewards
    for name in FORMATS:
        run_exchange(capsys, "export", tmp_path / "run", f"to={tmp_path / name}", f"format={name}", *by_grade)


def test_a_directory_with_a_run_is_kept(
    imported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "import", tmp_path / "a.jsonl", f"to={imported}", "format=search_and_learn")
    assert said.startswith(f"run_dir={imported}: holds results")
