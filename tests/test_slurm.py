"""The sbatch file of docs/cluster: what it runs on each node, how it ends, and that the next part resumes.

Slurm's commands are stand-ins here, as no machine of the tests has Slurm: ``srun`` runs its command once for
each node, with the variables of a task.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from orchestrator.config.build import as_plain
from orchestrator.config.compose import only_composed

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "docs" / "cluster" / "slurm.sbatch"
# The options of sbatch that the file may set (sbatch(1) of Slurm 22.05 and newer).
OPTIONS = {
    "job-name", "nodes", "ntasks-per-node", "exclusive", "gpus-per-node", "time", "output", "open-mode",
    "requeue", "signal",
}  # fmt: skip
SRUN = """\
while [[ ${1:-} == --* ]]; do shift; done
for i in $(seq 0 $((SLURM_JOB_NUM_NODES - 1))); do
    SLURM_PROCID=$i SLURM_NODEID=$i "$@" &
    pids[i]=$!
done
status=0
for pid in "${pids[@]}"; do wait "$pid" || status=$?; done
exit $status
"""
NOTE = 'printf "%s\\n" "$(printf "%q " "$(basename "$0")" "$@")" >> "$NOTES"\n'
# What Ray's symmetric-run does: the first node runs the command, the others end as failures with the cluster.
RAY = (
    NOTE
    + """\
[ "$SLURM_PROCID" = 0 ] || exit 1
sleep ${WAITS:-0}
while [ "$1" != -- ]; do shift; done
shift
"$@"
"""
)
# In the place of the run: it notes its process and its arguments, and ends with 143 at SIGTERM.
RUN = (
    NOTE
    + """\
trap 'exit 143' TERM
touch "$NOTES.begun"
[ -n "${ENDS:-}" ] && exit "$ENDS"
while :; do sleep 0.05; done
"""
)

# Ray's own command line, which sees and ends no Ray but the one of this test.
REAL_RAY = """
import os, sys
import psutil
from ray._private import services
from ray.scripts.scripts import main
if sys.argv[1] == "stop":
    own = {process.pid for process in (psutil.Process(), *psutil.Process().parents())}
    marks = (os.environ["RAY_TMPDIR"], f"--address={os.environ['HEAD_ADDRESS']}:{os.environ['OWN_PORT']}")
    ended = [
        process
        for process in psutil.process_iter(["cmdline"])
        if process.pid not in own and any(m in " ".join(process.info["cmdline"] or ()) for m in marks)
    ]
    for process in ended:
        process.terminate()
    for process in psutil.wait_procs(ended, timeout=5)[1]:
        process.kill()
else:
    services.find_gcs_addresses = lambda *_: set()
    main()
"""


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{text}")
    (folder / name).chmod(0o755)


def environ(folder: Path, **more: str) -> dict[str, str]:
    """What Slurm gives a job of two nodes; its commands, and ``python`` and ``ray``, are stand-ins."""
    for name, text in {"srun": SRUN, "scontrol": NOTE, "ray": RAY, "python": RUN}.items():
        program(folder / ".venv" / "bin", name, text)
    job = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NUM_NODES": "2", "SLURM_SUBMIT_DIR": str(folder)}
    there = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder)}
    cards = {"SLURM_CPUS_ON_NODE": "8", "SLURM_GPUS_ON_NODE": "4", "HEAD_ADDRESS": "10.0.0.1"}
    return {**there, **job, **cards, "NOTES": str(folder / "notes"), **more}


def notes(folder: Path) -> list[list[str]]:
    """The commands of the stand-ins, in their order."""
    return [shlex.split(line) for line in (folder / "notes").read_text().splitlines()]


def submit(arguments: list[str], environ: Mapping[str, str]) -> subprocess.Popen[str]:
    """As slurmd starts a batch script: on the first node, with its arguments."""
    command = ["bash", str(SCRIPT), *arguments]
    return subprocess.Popen(
        command,
        env=dict(environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_its_options_are_those_of_sbatch() -> None:
    lines = [line for line in SCRIPT.read_text().splitlines() if line.startswith("#SBATCH")]
    given = dict(line.removeprefix("#SBATCH --").partition("=")[::2] for line in lines)
    assert set(given) == OPTIONS
    assert given["signal"].startswith("B:USR1@"), "to the script alone: it decides what stops"
    assert (given["ntasks-per-node"], given["requeue"], given["open-mode"]) == ("1", "", "append")


@pytest.mark.heavy
def test_each_node_starts_ray_and_the_run_can_resume(tmp_path: Path) -> None:
    from ray.scripts.symmetric_run import curate_and_validate_ray_start_args

    overrides = ["budget=8", f"run_dir={tmp_path}/a run", "task.limit=2"]
    done = submit(overrides, environ(tmp_path, ENDS="0"))
    output, _ = done.communicate(timeout=60)
    assert done.returncode == 0, output  # that of the run, though the other node's Ray has ended with 1
    *on_nodes, run = sorted(notes(tmp_path), key=lambda command: command[0], reverse=True)
    assert [command[:6] for command in on_nodes] == [
        ["ray", "symmetric-run", "--address", "10.0.0.1:24711", "--min-nodes", "2"]
    ] * 2
    starts = on_nodes[0][2 : on_nodes[0].index("--")]
    assert curate_and_validate_ray_start_args(starts) == [
        "--num-cpus=8", "--num-gpus=4", "--include-dashboard=false"
    ]  # fmt: skip
    assert run == ["python", "run.py", *overrides, "resume=true"]
    plain = only_composed([f"run_dir={tmp_path}", *overrides[::2], "resume=true"], as_plain)
    assert plain["resume"] is True


@pytest.mark.heavy
@pytest.mark.parametrize(("signals", "status", "requeued"), [(["USR1"], 143, True), ([], 1, False)])
def test_a_run_that_slurm_cuts_is_queued_again(
    signals: list[str], status: int, requeued: bool, tmp_path: Path
) -> None:
    """Before the time limit the run is stopped and resumes; one that fails by itself is not repeated."""
    given = environ(tmp_path, **({} if signals else {"ENDS": "1"}))
    job = submit(["run_dir=/shared/x"], given)
    begun = tmp_path / "notes.begun"
    while not begun.exists() and job.poll() is None:
        time.sleep(0.02)
    for name in signals:
        job.send_signal(signal.Signals[f"SIG{name}"])
    output, _ = job.communicate(timeout=60)
    assert job.returncode == status, output
    assert (["scontrol", "requeue", "4711"] in notes(tmp_path)) is requeued
    assert list(tmp_path.glob("murmuration-*")) == []


@pytest.mark.heavy
def test_a_job_whose_run_has_not_begun_is_queued_again_at_once(tmp_path: Path) -> None:
    job = submit(["run_dir=/shared/x"], environ(tmp_path, WAITS="60"))
    while not (tmp_path / "notes").exists():
        time.sleep(0.02)
    job.send_signal(signal.SIGUSR1)
    while ["scontrol", "requeue", "4711"] not in notes(tmp_path):
        assert job.poll() is None
        time.sleep(0.02)
    os.killpg(job.pid, signal.SIGKILL)  # as Slurm does to a job that it queues again
    job.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_rays_own_symmetric_run_runs_it(tmp_path: Path) -> None:
    """One node, and everything but Slurm real: Ray's command line, and the run."""
    folder, short = tmp_path / "code", tempfile.mkdtemp(prefix="m", dir="/tmp")  # sockets have short paths
    given = environ(folder, SLURM_JOB_NUM_NODES="1", SLURM_GPUS_ON_NODE="0", SLURM_CPUS_ON_NODE="2")
    program(folder / ".venv" / "bin", "python", f'exec {sys.executable} "$@"\n')
    program(folder / ".venv" / "bin", "ray", f'exec {sys.executable} -c {shlex.quote(REAL_RAY)} "$@"\n')
    for name in ("run.py", "conf", "orchestrator", "actors", "strategies"):
        (folder / name).symlink_to(ROOT / name)
    given |= {
        "HEAD_ADDRESS": "127.0.0.1",
        "SLURM_JOB_ID": str(os.getpid()),
        "OWN_PORT": str(20000 + os.getpid() % 10000),
        "RAY_TMPDIR": short,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "PYTHONPATH": str(ROOT),
    }
    job = submit([f"run_dir={tmp_path}/run", "task.limit=2", "budget=2"], given)
    output, _ = job.communicate(timeout=500)
    shutil.rmtree(short)
    assert job.returncode == 0, output
    assert "Running command on head node" in output
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["num_problems"] == 2 and summary["complete"]
    assert not [p for p in psutil.process_iter(["cmdline"]) if short in " ".join(p.info["cmdline"] or ())]
