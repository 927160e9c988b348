"""Where a running Ray is, and whether it answers: checked before Ray itself, which would try for minutes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import grpc  # type: ignore[import-untyped]
import ray
from ray._common.utils import get_ray_address_file
from ray._private import services
from ray._private.grpc_utils import init_grpc_channel
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

from orchestrator.errors import ConfigError

_WAIT_S = 10.0
_CLIENT = "ray://"
_HEAD = "ray start --head has port 6379 by default"
_START = "start one (ray start --head), or leave cluster.address out"


def find_ray(address: str) -> str:
    """Return ``host:port`` or ``ray://host:port`` of a running Ray. Raises ConfigError within seconds.

    ``auto`` is the Ray on this machine, as ``ray start`` has recorded it.
    """
    if address == "auto":
        return os.environ.get("RAY_ADDRESS") or _on_this_machine()
    if "://" in address.removeprefix(_CLIENT):
        allowed = "must be HOST:PORT (of ray start, 6379 by default), ray://HOST:10001 or auto"
        raise ConfigError("cluster.address", address, allowed)
    return address


def check_answers(address: str, shown: str) -> None:
    """Raise ConfigError where no Ray of this version answers; ``shown`` is what was requested."""
    host, port = _split(address.removeprefix(_CLIENT))
    if not host or not 0 < port < 65536:
        allowed = "must be HOST:PORT (of ray start, 6379 by default), ray://HOST:10001 or auto"
        raise ConfigError("cluster.address", address, allowed)
    problem = _unreachable(host, port) or _not_ray(address)
    if problem:
        where = f"at {address}, " if shown != address else ""
        raise ConfigError("cluster.address", shown, f"{where}{problem}")


def _on_this_machine() -> str:
    """Return the address that ``ray start`` has recorded, or that of the one Ray that runs here."""
    note = Path(get_ray_address_file(None))
    noted = note.read_text(errors="replace").strip() if note.is_file() else ""
    if noted and not _unreachable(*_split(noted)):
        return noted
    running: list[str] = sorted(services.find_gcs_addresses())  # type: ignore[no-untyped-call]
    if not noted and len(running) == 1:
        return running[0]
    there = f" (there is {', '.join(running)}: name it)" if running else ""
    if noted:
        allowed = f"no Ray answers at {noted}, which {note} names: it has ended (ray stop clears it)"
    else:
        allowed = "several run here" if running else "no Ray is running on this machine"
    raise ConfigError("cluster.address", "auto", f"{allowed}{there}; {_START}")


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port) if port.isdecimal() and len(port) < 6 else 0


def _unreachable(host: str, port: int) -> str | None:
    try:
        socket.create_connection((host.strip("[]"), port), timeout=_WAIT_S).close()
    except (OSError, OverflowError, UnicodeError) as failure:
        return f"no Ray answers there: {failure}"
    return None


def _not_ray(address: str) -> str | None:
    """Say what is wrong with what listens at an address, or return None."""
    channel = init_grpc_channel(address.removeprefix(_CLIENT))
    try:
        if address.startswith(_CLIENT):
            grpc.channel_ready_future(channel).result(timeout=_WAIT_S)
            return None
        stub = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)  # type: ignore[no-untyped-call]
        request = gcs_service_pb2.CheckAliveRequest()  # type: ignore[attr-defined]
        reply = stub.CheckAlive(request, timeout=_WAIT_S)
    except grpc.FutureTimeoutError:
        return "what listens there is not Ray: its clients' port is 10001 by default"
    except grpc.RpcError as failure:
        return _meaning(failure)
    finally:
        channel.close()
    theirs = str(reply.ray_version)
    if theirs and theirs != ray.__version__:
        return f"that Ray has version {theirs}, and this one {ray.__version__}: they must be the same"
    return None


def _meaning(failure: grpc.RpcError) -> str | None:
    match failure.code():
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return "that Ray refuses the token here: set RAY_AUTH_MODE=token, and copy its ~/.ray/auth_token"
        case grpc.StatusCode.UNIMPLEMENTED:
            return f"what listens there is not the head of a Ray cluster: {_HEAD}"
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"what listens there has not answered as Ray within {_WAIT_S:g} seconds"
        case grpc.StatusCode.UNAVAILABLE:
            return f"what listens there is not Ray: {_HEAD}"
    return None  # a Ray, which may have more to say
