"""Accuracy by difficulty, of runs written by hand."""

from pathlib import Path

import pytest

from orchestrator.difficulty import accuracy_by_level, levels_of, main, pass_rates
from tests.orchestrator.report.made_runs import candidate, line, write_run


def make_run(folder: Path, answers: dict[str, list[bool]]) -> Path:
    """Result lines whose first candidate is the answer's."""
    lines = [
        line(name, right[0], candidates=[candidate("1" if r else "0", right=r) for r in right])
        for name, right in answers.items()
    ]
    return write_run(folder, lines, strategy="astar")


def test_accuracy_of_each_fifth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten problems, number i right in i of nine samples; the run solves the seven easiest and one more."""
    reference = make_run(tmp_path / "samples", {f"p{i}": [j < i for j in range(9)] for i in range(10)})
    run_dir = make_run(tmp_path / "sweep" / "a", {f"p{i}": [i > 2] for i in range(10)} | {"other": [True]})
    levels = levels_of(pass_rates(reference))
    assert levels == {f"p{i}": 5 - i // 2 for i in range(10)}
    assert accuracy_by_level(run_dir, levels) == [(2, 2), (2, 2), (2, 2), (1, 2), (0, 2)]
    assert main([str(tmp_path / "sweep"), f"reference={reference}"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "astar budget=4 seed=0 1.000 (2) 1.000 (2) 1.000 (2) 0.500 (2) 0.000 (2)" in shown


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["."], "reference=null: must be the directory of a run of plain samples"),
        ([".", "reference=/nonexistent"], "must be the directory of a run with results"),
        ([".", "refrence=x"], "refrence=x: unknown key; did you mean 'reference'?"),
    ],
)
def test_bad_arguments_are_one_line(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert line in capsys.readouterr().err
