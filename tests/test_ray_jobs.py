"""``ray job submit`` for real: a cluster with its token on, the shipped models, a job stopped and resumed."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.storage.results import read_results
from orchestrator.storage.run_files import RESULTS
from tests import travelling
from tests.job_cluster import JobCluster, copied_code, running_cluster
from tests.orchestrator.real_runs import make_run
from tests.test_run import answers_of, summary_of

LONG = ("task.limit=12", "budget=4", "concurrency=3")

# Ray starts some twenty processes, on whatever machine this is: a minute before the first job has ended.
pytestmark = [pytest.mark.heavy, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[JobCluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Empty, and not the repository: commands are given here, and runs go below it."""
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def code(folder: Path) -> Path:
    """With one engine that this repository does not have."""
    copy = copied_code(folder / "code")
    shutil.copy(travelling.__file__, copy / "actors" / "travelling.py")
    (copy / "conf" / "engine" / "travelling.yaml").write_text(travelling.CONF)
    return copy


def made(folder: Path, name: str) -> list[str]:
    """Where each policy of a job had its code from."""
    return [line.split(maxsplit=1)[1] for line in (folder / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def swept(cluster: JobCluster, code: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """A sweep of two points as one job."""
    return cluster.submit(
        code,
        *("python", "run.py", "-m", "engine=travelling", "budget=2,3", "task.limit=4"),
        f"run_dir={folder}/sweep",
        cwd=folder,
        TRAVELLING_LOG=f"{folder}/sweep.log",
    )


def test_a_sweep_is_one_job(swept: subprocess.CompletedProcess[str], folder: Path, tmp_path: Path) -> None:
    """With the answers that the models give in one process, without Ray."""
    assert swept.returncode == 0, swept.stdout + swept.stderr
    assert "succeeded" in swept.stdout and "[2/2] budget=3" in swept.stdout
    points = {summary_of(p.parent)["budget"]: p.parent for p in (folder / "sweep").rglob("summary.json")}
    assert points.keys() == {2, 3}
    for budget, point in points.items():
        assert summary_of(point)["complete"] is True
        reference = make_run(tmp_path / str(budget), f"budget={budget}", "task.limit=4")
        assert answers_of(point) == answers_of(reference)


def test_its_workers_have_the_uploaded_code_and_load_it_once(
    swept: subprocess.CompletedProcess[str], cluster: JobCluster, folder: Path
) -> None:
    """The code lies in the cluster's folder, and in no place that this machine imports from."""
    assert swept.returncode == 0
    (place,) = made(folder, "sweep.log")  # one policy for both points: it stays warm
    assert Path(place).is_relative_to(cluster.folder / "r")
    assert Path(place).parts[-2:] == ("actors", "travelling.py")


def test_without_the_token_nobody_gets_in(cluster: JobCluster, code: Path, folder: Path) -> None:
    assert cluster.answers(cluster.environ["RAY_AUTH_TOKEN"]) == 200
    assert cluster.answers(None) == 401
    assert cluster.answers("0" * 64) == 403
    refused = cluster.ray(
        *("job", "submit", "--working-dir", str(code), "--", "python", "-c", "print('in')"),
        cwd=folder,
        environ=cluster.stranger,
    )
    assert refused.returncode != 0
    assert "uthentication" in refused.stdout + refused.stderr
    assert "Uploading" not in refused.stdout + refused.stderr


def test_a_stopped_job_is_resumed(cluster: JobCluster, code: Path, folder: Path, tmp_path: Path) -> None:
    """``ray job stop`` in mid-run, another job with ``resume=``: nothing finished is lost or done again."""
    run_dir = folder / "run"
    begun = cluster.submit(
        code,
        *("python", "run.py", "engine=travelling", *LONG, f"run_dir={run_dir}"),
        cwd=folder,
        flags=("--no-wait", "--submission-id=first"),
        TRAVELLING_LOG=f"{folder}/run.log",
        TRAVELLING_DELAY_S="0.25",
        RAY_JOB_STOP_WAIT_TIME_S="60",
    )
    assert begun.returncode == 0, begun.stdout + begun.stderr
    wait_for_results(cluster, run_dir, 2)
    stopped = cluster.ray("job", "stop", "first", cwd=folder)
    assert stopped.returncode == 0 and "was stopped" in stopped.stdout, stopped.stdout + stopped.stderr
    kept = (run_dir / RESULTS).read_bytes()
    assert kept.endswith(b"\n") and 2 <= kept.count(b"\n") < 12
    assert any((run_dir / "journal").iterdir()), "no problem was half solved"
    summary = summary_of(run_dir)
    assert summary["complete"] is False and summary["num_problems"] == kept.count(b"\n")
    resumed = cluster.submit(
        code,
        *("python", "run.py", f"resume={run_dir}"),
        cwd=folder,
        TRAVELLING_LOG=f"{folder}/run.log",
    )
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert (run_dir / RESULTS).read_bytes().startswith(kept)
    assert summary_of(run_dir)["complete"] is True and len(read_results(run_dir)) == 12
    assert answers_of(run_dir) == answers_of(make_run(tmp_path / "reference", *LONG[:2]))
    assert len(made(folder, "run.log")) == 2


def wait_for_results(cluster: JobCluster, run_dir: Path, num: int) -> None:
    deadline = time.monotonic() + 400
    while not (run_dir / RESULTS).exists() or len(read_results(run_dir)) < num:
        if time.monotonic() > deadline:
            logs = cluster.ray("job", "logs", "first", cwd=run_dir.parent)
            raise AssertionError(f"nothing came in 400 s: {logs.stdout}")
        time.sleep(0.1)


def test_a_run_dir_that_would_be_lost_is_refused(cluster: JobCluster, code: Path, folder: Path) -> None:
    """The default is relative: it would be inside the upload, on whichever node the job runs."""
    refused = cluster.submit(code, "python", "run.py", "task.limit=1", cwd=folder)
    assert refused.returncode == 1
    assert "must be absolute and outside" in refused.stdout


def test_code_may_come_from_an_archive_on_the_nodes(cluster: JobCluster, code: Path, folder: Path) -> None:
    """As docs/cluster/rayjob.yaml has it; and the job says where the replicas would go."""
    shutil.make_archive(str(folder / "murmuration"), "zip", code.parent, code.name)
    runtime_env = json.dumps({"working_dir": f"file://{folder}/murmuration.zip"})
    command = ("python", "run.py", "dry_run=true", "cluster.engine_replicas=2", f"run_dir={folder}/fits")
    done = cluster.ray("job", "submit", "--runtime-env-json", runtime_env, "--", *command, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "placement: 2 engine replicas and 1 verifier replicas on 127.0.0.1:" in done.stdout
    assert "1 nodes with 0 GPUs and 4 CPUs" in done.stdout
    assert not (folder / "fits" / RESULTS).exists()


def test_a_stopped_sweep_is_resumed(cluster: JobCluster, code: Path, folder: Path, tmp_path: Path) -> None:
    """Stopped in its second point, resumed by the folder of the sweep."""
    sweep = folder / "stopped_sweep"
    command = ("python", "run.py", "-m", "engine=travelling", "budget=2,4", "task.limit=8", "concurrency=2")
    cluster.submit(
        code, *command, f"run_dir={sweep}", cwd=folder, flags=("--no-wait", "--submission-id=second"),
        TRAVELLING_LOG=f"{folder}/sweep2.log", TRAVELLING_DELAY_S="0.1", RAY_JOB_STOP_WAIT_TIME_S="60",
    )  # fmt: skip
    second = sweep / "budget=4,engine=travelling,task.limit=8"
    wait_for_results(cluster, second, 1)
    cluster.ray("job", "stop", "second", cwd=folder)
    kept = (second / RESULTS).read_bytes()
    statuses = {p["folder"]: p["status"] for p in json.loads((sweep / "points.json").read_text())["points"]}
    assert sorted(statuses.values()) == [0, 143]
    resumed = cluster.submit(
        code, "python", "run.py", f"resume={sweep}", cwd=folder, TRAVELLING_LOG=f"{folder}/sweep2.log"
    )
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert (second / RESULTS).read_bytes().startswith(kept)
    reference = make_run(tmp_path / "reference", "budget=4", "task.limit=8")
    assert answers_of(second) == answers_of(reference)
