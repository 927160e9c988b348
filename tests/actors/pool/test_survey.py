"""Whether replicas would fit, asked of no cluster, of one that is away, and of one that runs."""

import subprocess
import sys
from pathlib import Path

import pytest
import ray

from actors.pool.backend import RayCluster
from actors.pool.inprocess import InProcessCluster
from actors.transformers_engine.config import TransformersEngineConfig, TransformersVerifierConfig

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def test_without_a_cluster_none_is_started() -> None:
    policies = {"engine": TransformersEngineConfig("embedded:chain-policy")}
    ray_cluster = RayCluster(engine_replicas=3, gpus_per_replica=2)
    assert ray_cluster.survey(policies, None) == "3 engine replicas of 2 GPUs on a local Ray"
    in_process = InProcessCluster(engine_replicas=3, verifier_replicas=2)
    assert in_process.survey(policies, TransformersVerifierConfig("embedded:chain-verifier")) == (
        "3 engine replicas and 2 verifier replicas in this process"
    )


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("gpus", "status", "said"),
    [
        (0, 0, "1 nodes with 0 GPUs and 2 CPUs"),
        (
            1,
            2,
            "1 verifier replicas of 1 GPUs; the cluster has 0 GPUs and 2 CPUs",
        ),
    ],
)
def test_a_dry_run_asks_the_nodes(local_ray: None, gpus: int, status: int, said: str, tmp_path: Path) -> None:
    address = ray.get_runtime_context().gcs_address
    done = dry_run(tmp_path, f"cluster.address={address}", f"cluster.gpus_per_replica={gpus}")
    assert done.returncode == status, done.stderr
    assert said in done.stdout + done.stderr


@pytest.mark.timeout(200)
def test_a_cluster_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """In a process of its own: one that has a Ray already would be given that one."""
    done = dry_run(tmp_path, "cluster.address=127.0.0.1:1")
    assert done.returncode == 2
    assert "cluster.address=127.0.0.1:1: no Ray answers there" in done.stderr


def dry_run(tmp_path: Path, *keys: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "run.py", "dry_run=true", f"run_dir={tmp_path}", *keys],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
