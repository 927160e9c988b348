"""A Ray cluster of a test's own that takes jobs: on loopback, with a token, in a folder that goes with it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
_NOT_CODE = (".git", ".venv", "outputs", "multirun", "wandb", "__pycache__", ".*_cache", ".hypothesis")
_START_TIMEOUT_S = 240.0
_STARTS = 3  # Ray gives a node 30 s to come up, which a busy machine may not manage
_OF_THE_NODE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # loopback, as in actors/pool/cluster.py
    "RAY_worker_register_timeout_seconds": "300",  # a worker may be slow to start where much else runs
}
# Of the process that runs the tests; a cluster and its clients must not see them.
_FOREIGN = ("PYTHONPATH", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN_PATH", "RAY_TMPDIR")


def copied_code(folder: Path) -> Path:
    """The repository as somebody gets it who has no git."""
    shutil.copytree(REPOSITORY, folder, ignore=shutil.ignore_patterns(*_NOT_CODE))
    return folder


@dataclass(frozen=True)
class JobCluster:
    """Where it is, and the environment of its clients (without a token they are strangers)."""

    url: str
    folder: Path
    environ: Mapping[str, str]

    @property
    def stranger(self) -> dict[str, str]:
        """The environment of somebody who has no token: an empty home, where none can lie."""
        kept = {k: v for k, v in self.environ.items() if k != "RAY_AUTH_TOKEN"}
        return {**kept, "HOME": str(self.folder)}

    def ray(
        self, *arguments: str, cwd: Path, environ: Mapping[str, str] | None = None, timeout: float = 400
    ) -> subprocess.CompletedProcess[str]:
        """The real command line: ``ray job submit ...``, from ``cwd``."""
        return subprocess.run(
            [str(BIN / "ray"), *arguments],
            cwd=cwd,
            env=dict(environ or self.environ),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def submit(
        self, code: Path, *command: str, cwd: Path, flags: tuple[str, ...] = (), **env_vars: str
    ) -> subprocess.CompletedProcess[str]:
        """``ray job submit --working-dir CODE -- COMMAND``, with ``env_vars`` for all its processes."""
        runtime_env = json.dumps({"env_vars": env_vars})
        given = ("--working-dir", str(code), "--runtime-env-json", runtime_env, *flags)
        return self.ray("job", "submit", *given, "--", *command, cwd=cwd)

    def answers(self, token: str | None) -> int:
        """The status of a request to its job server."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            with urllib.request.urlopen(
                urllib.request.Request(f"{self.url}/api/version", headers=headers), timeout=10
            ) as reply:
                return int(reply.status)
        except urllib.error.HTTPError as refused:
            return refused.code
        except OSError:
            return 0


@contextmanager
def running_cluster(num_cpus: int = 4) -> Iterator[JobCluster]:
    """``ray start --head``, ready to take jobs; all that it has started is ended afterwards."""
    # The paths of Ray's sockets are long, and a socket's path may have 107 bytes: no folder of pytest's.
    folder = Path(tempfile.mkdtemp(prefix="mm-", dir="/tmp"))
    try:
        with ExitStack() as stack:
            yield stack.enter_context(_started(folder, num_cpus, _STARTS))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _started(folder: Path, num_cpus: int, attempts: int) -> Iterator[JobCluster]:
    for attempt in range(1, attempts + 1):
        cluster, process = _start(folder, num_cpus)
        if _ready(cluster, process):
            break
        _end(process)
        assert attempt < attempts, (folder / "start.log").read_text()
    try:
        yield cluster
    finally:
        _end(process)


def _start(folder: Path, num_cpus: int) -> tuple[JobCluster, subprocess.Popen[bytes]]:
    dashboard, client = _free_ports(2)
    environ = {k: v for k, v in os.environ.items() if k not in _FOREIGN} | {
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
    }
    command = [
        *(str(BIN / "ray"), "start", "--head", "--block", "--disable-usage-stats", "--port=0"),
        *(f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}", f"--num-cpus={num_cpus}"),
        *("--dashboard-agent-listen-port=0", "--metrics-export-port=0"),
        *("--min-worker-port=0", "--max-worker-port=0", f"--object-store-memory={80 * 2**20}"),
        f"--temp-dir={folder / 'r'}",
    ]
    with (folder / "start.log").open("w") as log:
        process = subprocess.Popen(
            command,
            env={**environ, **_OF_THE_NODE},
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return JobCluster(environ["RAY_API_SERVER_ADDRESS"], folder, environ), process


def _ready(cluster: JobCluster, process: subprocess.Popen[bytes]) -> bool:
    """Whether it came up; until then its job server may answer, and end with it."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    log = cluster.folder / "start.log"
    while process.poll() is None and time.monotonic() < deadline:
        if "will now block forever" in log.read_text() and (
            cluster.answers(cluster.environ["RAY_AUTH_TOKEN"]) == 200
        ):
            return True
        time.sleep(0.2)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """The process and its descendants, by their ids: first asked, then killed."""
    try:
        parent = psutil.Process(process.pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        process.wait()
        return
    process.terminate()
    for left in psutil.wait_procs(family, timeout=20)[1]:
        left.kill()  # psutil checks that the id has not passed to another process
    process.wait()


def _free_ports(num: int) -> list[int]:
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(num)]
        for each in taken:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in taken]
