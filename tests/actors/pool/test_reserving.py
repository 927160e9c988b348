"""What Ray reserves for replicas with GPUs: on four GPUs that it is told of and that are not there."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """A policy over two cards, and four verifiers that share the other two (a Ray of its own: 15 s)."""
    command = [sys.executable, "-m", "tests.actors.reserving"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def test_the_workers_of_a_tensor_parallel_replica_have_a_card_each(found: dict[str, Any]) -> None:
    assert found["engine"]["gpus"] == "2"
    assert len(set(found["engine"]["workers"])) == 2
    assert all(cards.isdigit() for cards in found["engine"]["workers"])


def test_replicas_with_a_share_are_two_to_a_card_and_see_no_other(found: dict[str, Any]) -> None:
    verifiers = found["verifiers"].values()
    assert len(verifiers) == 4
    assert {v["gpus"] for v in verifiers} == {"0.5"}
    cards = Counter(v["cards"] for v in verifiers)
    assert sorted(cards.values()) == [2, 2]
    assert not set(cards) & set(found["engine"]["workers"])


def test_ray_has_reserved_what_they_use_and_nothing_else(found: dict[str, Any]) -> None:
    assert found["groups"] == [[{"GPU": 0.5}]] * 4 + [[{"GPU": 1.0}, {"GPU": 1.0}]]
    assert found["free"].startswith("0 GPUs")


def test_replicas_do_not_give_way_to_the_controller(found: dict[str, Any]) -> None:
    """Ray's default would cost a search through Ray a tenth of its speed where they share the cores."""
    replicas = [found["engine"], *found["verifiers"].values()]
    assert {r["niceness"] for r in replicas} == {found["niceness"]}


def test_the_stages_of_a_replica_are_on_a_node_each() -> None:
    """Four cards in two stages, on two nodes of two cards (a cluster of its own)."""
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-m", "tests.actors.staging"]
    environ = {**os.environ, **own, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [2, 2]
