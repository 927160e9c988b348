"""HEX from the command line's keys to its files: what is chosen, what is refused, and what is written."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from actors.diffusion_engine.config import DiffusionEngineConfig
from actors.embedded.families import TWOWAY
from actors.embedded.models import build_tokenizer
from orchestrator.config.compose import only_composed
from orchestrator.config.plan import Plan, plan_of
from orchestrator.errors import ConfigError
from orchestrator.observe.progress import summary_table
from orchestrator.outcome import ProblemResult
from orchestrator.runs.models import Models
from orchestrator.runs.point import make_run
from orchestrator.storage.result_lines import candidate_line, result_line
from orchestrator.storage.run_directory import Earlier
from orchestrator.storage.totals import Totals
from orchestrator.verifiers.none import NoVerifier
from strategies.hex import Hex
from tests.actors.diffusion_models import random_llama

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random model that knows the letters of the task."""
    folder = tmp_path_factory.mktemp("twoway")
    tokenizer = build_tokenizer(TWOWAY.alphabet)
    tokenizer.add_special_tokens({"mask_token": "<mask>"})
    random_llama(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def planned(*arguments: str) -> Plan:
    return only_composed([*arguments, "run_dir=outputs/none"], plan_of)


def test_hex_alone_selects_its_engine_and_task(model: str) -> None:
    plan = planned("strategy=hex", f"engine.model={model}", "budget=25")
    assert plan.names == {
        "strategy": "hex", "task": "twoway", "engine": "embedded_diffusion", "verifier": "none",
    }  # fmt: skip
    assert isinstance(plan.strategy, Hex) and plan.strategy.num_paths == 25
    assert plan.strategy.block_lengths == (2, 4, 6, 12, 24)
    assert isinstance(plan.engine, DiffusionEngineConfig) and isinstance(plan.verifier, NoVerifier)


def test_an_explicit_choice_wins(model: str) -> None:
    chosen = ("strategy=hex_weighted", "task=chain", "engine=diffusion", f"engine.model={model}")
    names = planned(*chosen).names
    assert (names["task"], names["engine"]) == ("chain", "diffusion")
    assert isinstance(strategy := planned(*chosen).strategy, Hex)
    assert (strategy.weight, strategy.block_lengths) == ("likelihood", None)


@pytest.mark.parametrize(
    ("engine", "strategy", "line"),
    [
        ("embedded", "hex", "engine=embedded: takes Sampling, and strategy=hex asks for Denoising"),
        (
            "diffusion",
            "particle_filter",
            "engine=diffusion: takes Denoising, and strategy=particle_filter",
        ),
        ("diffusion", "greedy", "engine=diffusion: takes Denoising, and strategy=greedy asks for Sampling"),
    ],
)
def test_an_incompatible_pair_is_named(model: str, engine: str, strategy: str, line: str) -> None:
    own = [f"engine.model={model}"] if engine == "diffusion" else []
    with pytest.raises(ConfigError) as error:
        planned(f"strategy={strategy}", f"engine={engine}", *own)
    assert str(error.value).startswith(line)


def solved(model: str, run_dir: Path, num_problems: int) -> list[ProblemResult]:
    """The results of a run of a plan, in this process."""
    keys = ("strategy=hex", f"engine.model={model}", "budget=6", f"task.limit={num_problems}")
    knobs = ("denoising.gen_length=16", "denoising.num_steps=8", "block_lengths=[2,8]")
    plan = planned(*keys, *(f"strategy.{knob}" for knob in knobs), "cluster=inprocess")
    results: list[ProblemResult] = []
    models = Models()
    run = make_run(replace(plan, run_dir=run_dir), models.of(plan), Earlier())
    models.runner.run(run.controller.run(plan.task.problems(0, num_problems), results.append))
    models.close()
    return results


def test_lines_and_table_tell_of_each_schedule(model: str, tmp_path: Path) -> None:
    totals = Totals()
    for result in solved(model, tmp_path, 3):
        line = json.loads(json.dumps(result_line(result), allow_nan=False))
        assert sorted(c["block_length"] for c in line["candidates"]) == [2, 2, 2, 8, 8, 8]
        for candidate in line["candidates"]:
            assert candidate["nll"] == pytest.approx(-candidate["logprob"])
            assert candidate["nll"] > 0
        line["candidates"][0]["correct"] = True
        totals.add(line)
    summary: Any = totals.summary()
    assert {block: s["num_paths"] for block, s in summary["schedules"].items()} == {"2": 9, "8": 9}
    assert sum(s["accuracy"] * s["num_paths"] for s in summary["schedules"].values()) == pytest.approx(3)
    named = {"strategy": "hex", "task": "t", "budget": 6, "seed": 0, "complete": True, "wall_seconds": 1.0}
    console = Console(record=True, width=100)
    console.print(summary_table({**named, **summary}))
    assert "one path, blocks of 2 " in (table := console.export_text()) and "(9 paths)" in table


def test_other_candidates_have_no_schedule(model: str, tmp_path: Path) -> None:
    (result,) = solved(model, tmp_path, 1)
    bare = candidate_line(result.candidates[0])
    other = candidate_line(replace(result.candidates[0], params=None))
    assert bare.keys() - other.keys() == {"block_length", "nll"}
    assert "schedules" not in Totals().summary()


@pytest.mark.slow
def test_a_run_from_the_command_line(model: str, tmp_path: Path) -> None:
    """On a local Ray: the vote's accuracy beside each schedule's, in the table and in summary.json."""
    keys = ("strategy=hex", f"engine.model={model}", "budget=7", "task.limit=3", f"run_dir={tmp_path}")
    done = subprocess.run(
        [sys.executable, "run.py", *keys], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "one path, blocks of 24" in done.stdout
    summary = json.loads((tmp_path / "summary.json").read_text())
    counts = {block: schedule["num_paths"] for block, schedule in summary["schedules"].items()}
    assert counts == {"2": 6, "4": 6, "6": 3, "12": 3, "24": 3}
    assert summary["batch_invariant"] is True
    assert summary["usage"]["denoising_passes"] > 0
