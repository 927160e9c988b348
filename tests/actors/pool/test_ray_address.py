"""Where a Ray is asked for that is none, a line says so within seconds."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import grpc
import pytest
import ray
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

from actors.pool import ray_address, ray_folder
from actors.pool.cluster import start_ray
from actors.pool.placement import ClusterConfig
from actors.pool.ray_address import check_answers, find_ray
from actors.pool.ray_folder import RayFolder
from orchestrator.errors import ConfigError


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_address, "_WAIT_S", 1.0)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Something that takes connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


@pytest.fixture
def web_port() -> Iterator[int]:
    class Quiet(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


class Head(gcs_service_pb2_grpc.NodeInfoGcsServiceServicer):
    """The head of a Ray, as far as it is asked whether it lives."""

    def __init__(self, version: str) -> None:
        self.version = version

    def CheckAlive(self, request: object, context: grpc.ServicerContext) -> object:  # noqa: N802
        if self.version == "locked":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
        return gcs_service_pb2.CheckAliveReply(ray_version=self.version)


def serve(version: str | None) -> tuple[grpc.Server, int]:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    if version is not None:
        gcs_service_pb2_grpc.add_NodeInfoGcsServiceServicer_to_server(Head(version), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def refusal(address: str) -> str:
    begun = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        check_answers(find_ray(address), address)
    assert time.monotonic() - begun < 8
    return str(caught.value)


def test_nothing_listens(closed_port: int) -> None:
    for prefix in ("", "ray://"):
        address = f"{prefix}127.0.0.1:{closed_port}"
        assert refusal(address).startswith(f"cluster.address={address}: no Ray answers there: ")
    assert "no Ray answers there" in refusal("no-such-host.invalid:6379")


def test_an_address_of_the_environment_is_named_so(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed_port}")
    with pytest.raises(ConfigError, match=r"^RAY_ADDRESS=127\.0\.0\.1:\d+: no Ray answers there"):
        start_ray(ClusterConfig())


def test_what_listens_is_no_ray(silent_port: int, web_port: int) -> None:
    assert "has not answered as Ray within" in refusal(f"127.0.0.1:{silent_port}")
    assert "is not Ray: ray start --head has port 6379" in refusal(f"127.0.0.1:{web_port}")
    assert "is not Ray: its clients' port is 10001" in refusal(f"ray://127.0.0.1:{silent_port}")


@pytest.mark.parametrize(
    ("version", "line"),
    [
        (None, "what listens there is not the head of a Ray cluster"),
        ("2.9.0", f"that Ray has version 2.9.0, and this one {ray.__version__}: they must be the same"),
        ("locked", "that Ray refuses the token here: set RAY_AUTH_MODE=token"),
    ],
)
def test_a_head_that_is_another(version: str | None, line: str) -> None:
    server, port = serve(version)
    try:
        assert line in refusal(f"127.0.0.1:{port}")
    finally:
        server.stop(None).wait()


def test_a_head_of_this_version_will_do() -> None:
    server, port = serve(ray.__version__)
    try:
        check_answers(f"127.0.0.1:{port}", "auto")
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize(
    "address", ["head", "head:", ":6379", "head:x", "head:0", "head:99999", "http://h:8265"]
)
def test_what_is_no_address(address: str) -> None:
    assert "must be HOST:PORT (of ray start, 6379 by default), ray://HOST:10001 or auto" in refusal(address)


def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, *running: str) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(ray_address.services, "find_gcs_addresses", lambda: set(running))
    if text is not None:
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text(text)


@pytest.mark.parametrize(
    ("note", "running", "line"),
    [
        (None, [], "auto: no Ray is running on this machine; start one"),
        (None, ["a:1", "b:2"], "auto: several run here (there is a:1, b:2: name it)"),
        ("127.0.0.1:1", [], "auto: no Ray answers at 127.0.0.1:1, which "),
        ("127.0.0.1:1", ["a:1"], "it has ended (ray stop clears it) (there is a:1: name it); start one"),
        ("\0garbage", [], "auto: no Ray answers at "),
        ("", [], "auto: no Ray is running on this machine"),
    ],
)
def test_auto_without_a_ray(
    note: str | None, running: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted(tmp_path, monkeypatch, note, *running)
    assert line in refusal("auto")


def test_auto_finds_what_is_noted_or_runs(
    tmp_path: Path, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted(tmp_path, monkeypatch, None, "10.0.0.1:6379")
    assert find_ray("auto") == "10.0.0.1:6379"
    noted(tmp_path, monkeypatch, f"127.0.0.1:{silent_port}", "10.0.0.1:6379")
    assert find_ray("auto") == f"127.0.0.1:{silent_port}"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.2:6379")
    assert find_ray("auto") == "10.0.0.2:6379"


def test_a_long_folder_has_a_short_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/tmp")
    with RayFolder() as usual:
        assert usual.path is None and usual.environment == {}
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("long" * 20)))
    with RayFolder() as folder:
        assert folder.path is not None and len(folder.path) < 35
        assert Path(folder.path).stat().st_mode & 0o077 == 0
        assert folder.environment == {"VLLM_RPC_BASE_PATH": folder.path}
    assert not Path(folder.path).exists()
    monkeypatch.setattr(ray_folder, "_SHORT", (str(tmp_path / "nowhere"),))
    with pytest.raises(ConfigError, match=r"^TMPDIR=.*: is too long for Ray's sockets"):
        RayFolder()


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_a_folder_that_cannot_be_written_is_said(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(variable, "/dev/null/x")
    with pytest.raises(ConfigError, match=rf"^{variable}=/dev/null/x: Ray cannot keep its files there"):
        RayFolder()


@pytest.mark.slow
def test_ray_starts_under_a_long_folder(tmp_path: Path) -> None:
    """A process of its own: Ray is started once in each."""
    code = (
        "from actors.pool.cluster import *; start_ray(ClusterConfig(), num_cpus=1, num_gpus=0); "
        "print(ray.is_initialized(), len(living_nodes())); stop_ray()"
    )
    folder = tmp_path / ("long" * 20)
    environ = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environ,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["True", "1"]), done.stderr
