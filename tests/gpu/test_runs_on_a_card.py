"""Whole runs on one card: by itself, shared, with vLLM's batch-invariant mode, and after a death."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

from tests.gpu.cards import candidates_of, finish, options, pids_on_cards, run, start

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(400)]
SHARED = ("cluster.engine_gpus=0.4", "cluster.verifier_gpus=0.4")


def test_the_default_run(tmp_path: Path) -> None:
    summary = run(tmp_path / "run", "task.limit=60")
    assert summary["complete"] and summary["num_errors"] == 0
    assert summary["accuracy"] >= 0.75
    assert summary["batch_invariant"] is False


def test_bfloat16(tmp_path: Path) -> None:
    summary = run(tmp_path / "run", "task.limit=40", "engine.dtype=bfloat16", "verifier.dtype=bfloat16")
    assert summary["complete"] and summary["num_errors"] == 0
    assert summary["accuracy"] >= 0.7


@pytest.mark.parametrize("sampler", ["step", "stream"])
def test_a_policy_and_a_verifier_of_vllm_share_a_card(tmp_path: Path, sampler: str) -> None:
    summary = run(
        tmp_path / "run", "engine=vllm", "verifier=vllm", f"engine.sampler={sampler}", "task.limit=20",
        *SHARED, *options("engine"), *options("verifier"),
    )  # fmt: skip
    assert summary["complete"] and summary["num_errors"] == 0
    assert summary["accuracy"] >= 0.6
    assert summary["sampler"] == sampler


def test_answers_do_not_depend_on_replicas_and_concurrency(tmp_path: Path) -> None:
    """In vLLM's batch-invariant mode."""
    common = (
        "engine=vllm", "engine.batch_invariant=true", "verifier=none", "strategy=self_consistency",
        "budget=8", "task.limit=20", "cluster.engine_gpus=0.4", *options("engine"),
    )  # fmt: skip
    one = run(tmp_path / "one", *common, "concurrency=4")
    two = run(tmp_path / "two", *common, "concurrency=20", "cluster.engine_replicas=2")
    assert one["batch_invariant"] and two["batch_invariant"]
    assert candidates_of(tmp_path / "one") == candidates_of(tmp_path / "two")


def test_a_dead_engine_gives_its_memory_back_and_its_answers_stay(tmp_path: Path) -> None:
    common = (
        "engine=vllm",
        "verifier=none",
        "strategy=greedy",
        "task.limit=200",
        "concurrency=4",
        *options("engine"),
    )
    process = start(*common, f"run_dir={tmp_path / 'killed'}")
    results = tmp_path / "killed" / "results.jsonl"
    while not (results.exists() and results.read_bytes().count(b"\n") >= 20):
        assert process.poll() is None, finish(process)
        time.sleep(0.05)
    dead = _engine_core(process.pid)
    os.kill(dead, 9)
    finish(process)
    run(tmp_path / "whole", *common)
    assert candidates_of(tmp_path / "killed") == candidates_of(tmp_path / "whole")
    assert dead not in pids_on_cards()


def _engine_core(pid: int) -> int:
    """vLLM's own process below a run's."""
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any("EngineCore" in word for word in child.cmdline()):
                return int(child.pid)
    raise AssertionError("no engine core")


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two cards")
def test_a_policy_over_two_cards_gives_the_texts_of_one(tmp_path: Path) -> None:
    keys = ["engine=vllm", "engine.model=embedded:chain-policy", "engine.dtype=float32", "verifier=none"]
    keys += ["strategy=greedy", "task.limit=8", *options("engine")]
    for cards in (1, 2):
        run(tmp_path / str(cards), *keys, f"cluster.engine_gpus={cards}")
    assert candidates_of(tmp_path / "2") == candidates_of(tmp_path / "1")
