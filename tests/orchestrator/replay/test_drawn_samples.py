"""What if a run had stopped earlier, or pruned: recomputed from stored samples, and equal to a real run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.replay.__main__ import main
from orchestrator.storage.results import read_results
from tests.fake_plans import fake_conf
from tests.in_process import run_here

TRUST = ("trust=true",)  # the task of the fakes is in no file of conf/task
USED = ("generated_tokens", "reward_calls", "sequential_tokens")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("drawn")


@pytest.fixture(scope="module")
def chosen(folder: Path) -> list[str]:
    return [
        *fake_conf(folder / "conf"),
        "+engine.sampler=stream",
        "+verifier.readout=per_step",
        "task.limit=12",
        "seed=3",
    ]


def lines_of(run_dir: Path) -> dict[str, dict[str, Any]]:
    """What a real run and a replayed one have in common, by problem."""
    lines = {line["problem_id"]: line for line in read_results(run_dir)}
    return {
        name: {key: line[key] for key in ("answer", "correct", "answer_index", "candidates", "error")}
        | {"usage": {key: line["usage"][key] for key in USED}}
        for name, line in lines.items()
    }


def real(capsys: Any, chosen: list[str], run_dir: Path, *knobs: str) -> Path:
    if not run_dir.exists():
        done = run_here(capsys, *chosen, *knobs, f"run_dir='{run_dir}'")
        assert done.returncode == 0, done.stderr
    return run_dir


CASES = [
    ("best_of_n", ("strategy.stop.rule=threshold", "strategy.stop.at=.35")),
    ("best_of_n", ("strategy.stop.rule=threshold", "strategy.stop.at=.8", "strategy.wave_size=3")),
    ("best_of_n", ("strategy.stop.rule=beta", "strategy.stop.at=.8")),
    ("best_of_n", ("strategy.prune={1: 6, 3: 2}",)),
    ("best_of_n", ("strategy.prune={4: 4}", "budget=6")),
    ("self_consistency", ("strategy.stop.rule=threshold",)),
    ("self_consistency", ("strategy.stop.rule=beta", "strategy.stop.at=.9")),
    ("self_consistency", ("strategy.wave_size=2",)),
    ("self_consistency", ("strategy.prune={2: 3}",)),
]


@pytest.mark.parametrize(
    ("method", "knobs"),
    [pytest.param(*case, marks=[pytest.mark.heavy] * (i % 4 > 0)) for i, case in enumerate(CASES)],
)
@pytest.mark.heavy
def test_it_equals_a_real_run(
    method: str, knobs: tuple[str, ...], folder: Path, chosen: list[str], capsys: Any
) -> None:
    vote = ("strategy.weight=reward", "strategy=self_consistency") if method == "self_consistency" else ()
    of_all = [*vote, "budget=8", *(k for k in knobs if k.startswith("budget"))]
    whole = real(capsys, chosen, folder / method, *vote, "budget=8")
    name = "-".join([method, *knobs]).translate(str.maketrans("{}: ,=", "      ")).replace(" ", "_")
    truth = real(capsys, chosen, folder / f"real-{name}", *of_all, *knobs)
    assert main([str(whole), *TRUST, *knobs, f"out={folder / 'out' / name}"]) == 0
    (replayed,) = (folder / "out" / name).iterdir()
    assert lines_of(replayed) == lines_of(truth)
    assert lines_of(replayed) != lines_of(whole)
    saved, configured = (json.loads((d / "config.json").read_text())["strategy"] for d in (replayed, truth))
    assert saved["stop"] == configured["stop"] and saved["prune"] == configured["prune"]


def test_several_values_are_corrected_for_their_number(folder: Path, chosen: list[str], capsys: Any) -> None:
    whole = real(capsys, chosen, folder / "best_of_n", "budget=8")
    capsys.readouterr()
    assert main([str(whole), *TRUST, "strategy.stop.rule=threshold", "strategy.stop.at=.1,.5,.9"]) == 0
    table = capsys.readouterr().out
    assert "p, Holm" in table and table.count("replayed") == 3 and "0.1" in table


def test_values_with_commas_of_their_own(folder: Path, chosen: list[str], capsys: Any) -> None:
    whole = real(capsys, chosen, folder / "best_of_n", "budget=8")
    capsys.readouterr()
    assert main([str(whole), *TRUST, "strategy.prune={1:4,2:2},{3:2}"]) == 0
    assert capsys.readouterr().out.count("replayed") == 2


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        (("strategy.stop.at=.5",), "strategy.stop.at=0.5: needs strategy.stop.rule=threshold or beta"),
        (("strategy.stop.rule=sometimes",), "strategy.stop.rule=sometimes"),
        (("strategy.prune={1:",), "strategy.prune={1:: cannot be read as on the command line"),
        (("strategy.prune={1: 0}",), "strategy.prune="),
        (("strategy.stops=1",), "strategy.stops=1: unknown key"),
    ],
)
def test_mistakes(knobs: tuple[str, ...], message: str, folder: Path, chosen: list[str], capsys: Any) -> None:
    whole = real(capsys, chosen, folder / "best_of_n", "budget=8")
    capsys.readouterr()
    assert main([str(whole), *TRUST, *knobs]) == 2
    assert message in capsys.readouterr().err


STOPPED = ("strategy.stop.rule=threshold", "strategy.stop.at=.3")


@pytest.mark.parametrize(
    "knobs",
    [
        ("strategy.stop.at=.9",),
        ("strategy.stop.rule=beta", "strategy.stop.at=.95"),
        ("strategy.stop.rule=none", "strategy.stop.at=null"),
    ],
)
def test_what_a_run_that_stopped_has_not_drawn_is_refused(
    knobs: tuple[str, ...], folder: Path, chosen: list[str], capsys: Any
) -> None:
    stopped = real(capsys, chosen, folder / "stopped", "budget=8", *STOPPED)
    capsys.readouterr()
    assert main([str(stopped), *TRUST, *knobs]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: strategy.stop.rule=threshold: stopped fake-") and error.count("\n") == 1
    assert "of 8 samples, and strategy.stop." in error and "needs more" in error


@pytest.mark.parametrize("knobs", [("strategy.stop.at=.1",), ("budget=3",)])
@pytest.mark.heavy
def test_a_run_that_stopped_holds_what_a_stricter_one_draws(
    knobs: tuple[str, ...], folder: Path, chosen: list[str], capsys: Any
) -> None:
    stopped, name = real(capsys, chosen, folder / "stopped", "budget=8", *STOPPED), f"stricter-{knobs[0]}"
    truth = real(capsys, chosen, folder / name, "budget=8", *STOPPED, *knobs)
    assert main([str(stopped), *TRUST, *knobs, f"out={folder / 'out' / name}"]) == 0
    (replayed,) = (folder / "out" / name).iterdir()
    assert lines_of(replayed) == lines_of(truth) != lines_of(stopped)


def test_a_smaller_n_is_saved_as_the_run_with_it(folder: Path, chosen: list[str], capsys: Any) -> None:
    """What stored samples do not say of their cost is left out, and not that of all of them."""
    knobs = ("+engine.price.generated=1000",)
    whole, small = (real(capsys, chosen, folder / f"priced-{n}", *knobs, f"budget={n}") for n in (8, 2))
    assert main([str(whole), *TRUST, "budget=2", f"out={folder / 'out' / 'priced'}"]) == 0
    (replayed,) = (folder / "out" / "priced").iterdir()
    assert lines_of(replayed) == lines_of(small)
    saved, truth = (json.loads((d / "config.json").read_text()) for d in (replayed, small))
    assert saved["strategy"] == truth["strategy"] and saved["budget"] == truth["budget"]
    before, after = (json.loads((d / "summary.json").read_text()) for d in (whole, replayed))
    assert "cost" in before and "cost" not in after
    assert all("cost" in line for line in read_results(whole))
    assert not any("cost" in line or line["seconds"] for line in read_results(replayed))


def test_figures_of_samples_that_are_cut_are_not_those_of_the_run(
    folder: Path, chosen: list[str], capsys: Any
) -> None:
    whole = real(capsys, chosen, folder / "best_of_n", "budget=8")
    assert main([str(whole), *TRUST, "strategy.prune={1: 2}", f"out={folder / 'out' / 'pruned'}"]) == 0
    (replayed,) = (folder / "out" / "pruned").iterdir()
    before, after = (json.loads((d / "summary.json").read_text()) for d in (whole, replayed))
    assert "quoted" in before and "quoted" not in after


def test_a_search_has_no_samples_to_leave_out(folder: Path, chosen: list[str], capsys: Any) -> None:
    plain = [k for k in chosen if not k.startswith("strategy")]
    knobs = (
        "strategy=particle_filter",
        "strategy.sampling.max_tokens=16",
        "strategy.max_steps=7",
        "budget=4",
    )
    run = real(capsys, plain, folder / "filter", *knobs)
    capsys.readouterr()
    assert main([str(run), *TRUST, "strategy.stop.rule=threshold"]) == 2
    assert "strategy=particle_filter draws no independent samples" in capsys.readouterr().err
