"""Ray itself: started or joined, and what its nodes have."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any

import ray
from ray._private import ray_constants, services

from actors.environment import environment
from actors.pool import reaper as reaping
from actors.pool.placement import ClusterConfig, Resources
from actors.pool.ray_address import check_answers, find_ray
from actors.pool.ray_folder import RayFolder
from actors.pool.ray_token import keep_token_private
from orchestrator.errors import ConfigError

# Requests and replies are small and are sent inline; the smallest store that Ray accepts needs little memory.
_OBJECT_STORE_BYTES = 100 * 2**20
# The second is Ray's new default; without it every start warns about the old one. The third: by default
# replicas, which do the work, yield to the controller and to Ray's processes (15 steps of niceness).
_LOCAL_ENVIRON = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",
    "VLLM_HOST_IP": "127.0.0.1",  # the node's address: vLLM would listen at, and connect to, the outer one
}
# No record of each call for a dashboard that is not there: 2.5 KB a call, up to 300 MB.
_LOCAL_CONFIG = {"task_events_report_interval_ms": 0}
# "May this machine be a part of a cluster?" Where not, a node's address is 127.0.0.1 and its processes listen
# there alone; otherwise on every interface. Ray's default on Windows and macOS, and its only such setting: a
# loopback _node_ip_address is turned into the outer one.
_PART_OF_A_CLUSTER = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
_REAPER_TIMEOUT_S = 5.0
# Of the Ray that was started here, as long as it runs.
_folder = ExitStack()


def start_ray(config: ClusterConfig, *, num_cpus: int | None = None, num_gpus: int | None = None) -> None:
    """Join the Ray of ``cluster.address`` or RAY_ADDRESS, or start one here; a second call does nothing.

    A Ray started here reports no usage, has no dashboard, listens on loopback only, and keeps token
    authentication on (the token is made at the first start, readable by its owner only). ``num_cpus`` and
    ``num_gpus`` apply to it only; None is what the machine has. Raises ConfigError where an address does
    not answer.
    """
    if ray.is_initialized():
        return
    asked = config.address or os.environ.get("RAY_ADDRESS")
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if asked and asked != "local":
        try:
            _join(asked, quiet)
        except ConfigError as error:  # a user who set only the variable does not know the key
            raise error if config.address else ConfigError("RAY_ADDRESS", asked, error.allowed) from error
        return
    keep_token_private()
    mark = _start_reaper()
    _folder.enter_context(folder := RayFolder())
    own = {**folder.environment, reaping.MARK: mark, "PYTHONPATH": _import_path()}
    with environment({**_LOCAL_ENVIRON, **own}), _on_loopback(), _in_sessions():
        ray.init(
            address="local",
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            _system_config=_LOCAL_CONFIG,
            _temp_dir=folder.path,
            **quiet,
        )


def _join(asked: str, quiet: Mapping[str, Any]) -> None:
    address = find_ray(asked)
    check_answers(address, asked)
    try:
        with _on_loopback() if _only_on_loopback(address) else nullcontext():
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as failure:  # another Python, a lost token
        reason = " ".join(str(failure).split())
        raise ConfigError("cluster.address", asked, f"cannot be joined: {reason}") from failure


def _only_on_loopback(address: str) -> bool:
    """Return whether a Ray at a loopback address listens there only: Ray itself tries the outer one."""
    host, _, port = address.rpartition(":")
    if host not in ("127.0.0.1", "localhost", "[::1]") or not port.isdigit():
        return False
    outer = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    try:
        socket.create_connection((outer, int(port)), timeout=10).close()
    except OSError:
        return True
    return False


def stop_ray() -> None:
    """Leave the cluster, or stop it where ``start_ray`` started it."""
    ray.shutdown()
    while _reapers:
        reaper = _reapers.pop()
        assert reaper.stdin is not None
        reaper.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            reaper.wait(_REAPER_TIMEOUT_S)
    _folder.close()


_reapers: list[subprocess.Popen[bytes]] = []


def _start_reaper() -> str:
    """Start the reaper; return the mark by which it finds the processes of the Ray that is about to start."""
    mark = uuid.uuid4().hex
    if os.path.isdir("/proc/self"):
        command = [sys.executable, "-I", "-S", reaping.__file__, mark]
        nowhere = subprocess.DEVNULL
        _reapers.append(
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere, start_new_session=True
            )
        )
    return mark


def _import_path() -> str:
    """Return the folders outside the Python installation that are imported from: workers need them too."""
    outside = (p for p in sys.path if p and not p.startswith((sys.prefix, sys.base_prefix)))
    return os.pathsep.join(os.path.abspath(p) for p in outside)


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Keep a Ray that is started inside on loopback; its processes read the variable, this one has it."""
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with environment({_PART_OF_A_CLUSTER: "0"}):
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def _in_sessions() -> Iterator[None]:
    """Keep signals to this process' group from the Ray that is started inside: it is ended by this process.

    ``timeout 60 python run.py`` and a terminal's Ctrl-C send theirs to the whole group. Ray would end before
    its replicas, and report that.
    """
    popen = services.ConsolePopen
    vars(services)["ConsolePopen"] = partial(popen, start_new_session=True)
    try:
        yield
    finally:
        vars(services)["ConsolePopen"] = popen


def control_address() -> str:
    """Return the address at which Ray's control service listens."""
    return str(ray.get_runtime_context().gcs_address)


def answers(address: str) -> bool:
    """Return whether something listens there."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, ValueError):
        return False
    return True


def is_own() -> bool:
    """Return whether this process started the Ray, so that nothing will repair it."""
    return bool(_reapers)


def living_nodes() -> dict[str, Resources]:
    """Return the resources of each living node, by its id."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"]: node["Resources"] for node in nodes if node["Alive"]}


def free_resources() -> str:
    """Say what no actor has reserved at the moment, for a person."""
    free = ray.available_resources()  # type: ignore[no-untyped-call]
    return f"{free.get('GPU', 0.0):g} GPUs and {free.get('CPU', 0.0):g} CPUs"
