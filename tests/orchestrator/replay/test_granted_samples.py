"""What if samples had been granted across problems: recomputed from stored ones, and equal to a real run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.replay.__main__ import main
from orchestrator.storage.results import read_results
from tests.fake_plans import fake_conf
from tests.in_process import run_here
from tests.orchestrator.replay.test_drawn_samples import TRUST, USED

pytestmark = pytest.mark.heavy

NUM = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("granted")


@pytest.fixture(scope="module")
def chosen(folder: Path) -> list[str]:
    return [*fake_conf(folder / "conf"), "+verifier.readout=per_step", "task.limit=9", "seed=5"]


def lines_of(run_dir: Path) -> dict[str, Any]:
    keys = ("answer", "correct", "answer_index", "candidates", "error", "history")
    return {
        line["problem_id"]: {key: line[key] for key in keys} | {key: line["usage"][key] for key in USED}
        for line in read_results(run_dir)
    }


def real(capsys: Any, chosen: list[str], run_dir: Path, *knobs: str) -> Path:
    if not run_dir.exists():
        done = run_here(capsys, *chosen, *knobs, f"run_dir='{run_dir}'")
        assert done.returncode == 0, done.stderr
    return run_dir


CASES = [
    ("best_of_n", ("allocator.most=8",)),
    ("best_of_n", ("allocator.gain=improvement", "allocator.first=1", "allocator.block=4")),
    ("best_of_n", ("allocator.parcel=2", "allocator.block=4", "allocator.give_up={3: .2}")),
    ("self_consistency", ("allocator.gain=vote", "allocator.most=7")),
]  # fmt: skip


@pytest.mark.parametrize(("method", "knobs"), CASES)
def test_it_equals_a_real_run(
    method: str, knobs: tuple[str, ...], folder: Path, chosen: list[str], capsys: Any
) -> None:
    strategy = ("strategy=self_consistency",) if method == "self_consistency" else ()
    place = ("task.offset=2",)  # blocks are by index in the task, not in the run
    whole = real(capsys, chosen, folder / method, *strategy, *place, f"budget={NUM}")
    asked = ("allocator=rounds", "budget=4", *knobs)
    name = str(CASES.index((method, knobs)))
    truth = real(capsys, chosen, folder / f"real-{name}", *strategy, *place, *asked)
    assert main([str(whole), *TRUST, *asked, f"out={folder / 'out' / name}"]) == 0
    (replayed,) = (folder / "out" / name).iterdir()
    assert lines_of(replayed) == lines_of(truth)
    assert len({len(line["candidates"]) for line in lines_of(truth).values()}) > 1
    saved, configured = (json.loads((d / "config.json").read_text()) for d in (replayed, truth))
    assert saved["budget"] == configured["budget"] == 4
    assert saved["allocator"].items() <= configured["allocator"].items()


def test_allocators_are_compared_and_corrected_for_their_number(
    folder: Path, chosen: list[str], capsys: Any
) -> None:
    whole = real(capsys, chosen, folder / "best_of_n", "task.offset=2", f"budget={NUM}")
    capsys.readouterr()
    knobs = ("budget=3,4", "allocator=uniform,rounds", "allocator.gain=need,improvement")
    assert main([str(whole), *TRUST, *knobs]) == 0
    table = capsys.readouterr().out
    assert table.count("replayed") == 6 and table.count("uniform") == 2 and "p, Holm" in table


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        (("allocator=rounds", "budget=6"), "allocator.most=12: fake-"),
        (("allocator=round",), "allocator=round: must be one of rounds, uniform; did you mean 'rounds'?"),
        (("allocator.gain=need",), "allocator.gain=need: needs allocator=rounds"),
        (("allocator=rounds", "allocator.gain=ned"), "did you mean 'need'?"),
        (("allocator=rounds", "allocator.mean=4"), "allocator.mean=4: unknown key"),
        (("allocator=rounds", "allocator.give_up=none.json"), "allocator.give_up=none.json: is no file"),
        (("allocator=rounds", "budget=1"), "allocator.first=2: must be at most budget=1"),
        (("allocator=rounds", "strategy.stop.rule=threshold"), "allocator=rounds: needs independent samples"),
    ],
)
def test_mistakes(knobs: tuple[str, ...], message: str, folder: Path, chosen: list[str], capsys: Any) -> None:
    whole = real(capsys, chosen, folder / "best_of_n", "task.offset=2", f"budget={NUM}")
    capsys.readouterr()
    assert main([str(whole), *TRUST, *knobs]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_block_with_a_problem_that_is_missing(folder: Path, chosen: list[str], capsys: Any) -> None:
    run = real(capsys, chosen, folder / "missing", f"budget={NUM}")
    results = run / "results.jsonl"
    results.write_bytes(b"".join(results.read_bytes().splitlines(keepends=True)[:-1]))
    capsys.readouterr()
    assert main([str(run), *TRUST, "budget=4", "allocator=rounds"]) == 2
    assert "the run has no result of fake-" in capsys.readouterr().err


def test_a_run_that_was_granted_samples_has_no_list_of_them(
    folder: Path, chosen: list[str], capsys: Any
) -> None:
    run = real(capsys, chosen, folder / "rounds", "budget=4", "allocator=rounds")
    capsys.readouterr()
    assert main([str(run), *TRUST, "budget=3", "allocator=rounds"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
