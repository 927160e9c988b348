"""The endpoint as a deployment of Ray Serve: each of its replicas holds one controller and one backend.

``serve deploy docs/cluster/serve.yaml`` and KubeRay's RayService build it by the import path
``actors.serve:build``. Serve's proxy routes requests to the replica with the least of them, the number of
replicas follows the requests in flight, and one that is removed finishes its requests first. Needs
``ray[serve]``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ray import serve

from orchestrator.errors import ConfigError
from orchestrator.serving.app import make_app
from orchestrator.serving.composing import composed, loaded
from orchestrator.serving.keys import Keys
from orchestrator.serving.proxied import PROXY_CALLBACK
from orchestrator.serving.service import Service

log = logging.getLogger(__name__)
MAX_ONGOING_REQUESTS = 512
"""Requests that a replica holds: those that run, and those of its queue, which refuses more itself."""
_TARGET = 32
_MAX_REPLICAS = 8
_DRAIN_S = 60.0


class Endpoint:
    """One replica: the models of ``overrides``, the arguments of ``python -m orchestrator.serving``."""

    async def __init__(self, overrides: Sequence[str]) -> None:  # type: ignore[misc]  # Serve awaits it
        served, plan = composed(overrides)
        self._keys: Keys = served.settings.keys()
        self._service = Service(served)
        # In a replica Ray runs already: the replicas of cluster=local are other actors of the same Ray.
        backend = await plan.cluster.start(plan.policies, plan.verifier.of_replicas)
        self._loaded = loaded(plan, backend)
        self._service.has(self._loaded)

    def __serve_build_asgi_app__(self) -> Any:
        return make_app(self._service, self._keys)

    def check_health(self) -> None:
        """Raise where no policy or verifier is left: Serve then replaces this replica."""
        if self._service.gate.broken is not None:
            raise RuntimeError(self._service.gate.broken)

    async def __del__(self) -> None:
        """End the models: Serve awaits this once the replica's requests have ended."""
        self._service.close()
        await self._loaded.backend.close()


def build(args: Mapping[str, Any]) -> serve.Application:
    """Return the application of ``args``, whose key ``overrides`` holds a command line's arguments."""
    unknown = [key for key in args if key != "overrides"]
    overrides = args.get("overrides", [])
    if unknown or not isinstance(overrides, list) or not all(isinstance(o, str) for o in overrides):
        raise ConfigError("args", dict(args), "must be overrides: a list of KEY=VALUE")
    composed(overrides)  # a mistake ends the deployment, before a replica starts
    if not os.environ.get(PROXY_CALLBACK):
        log.warning(
            "%s is not set where Ray starts: Serve's proxy answers with texts of its own", PROXY_CALLBACK
        )
    make = serve.deployment(
        name="Endpoint",
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
        graceful_shutdown_timeout_s=_DRAIN_S,
        autoscaling_config={
            "min_replicas": 1,
            "max_replicas": _MAX_REPLICAS,
            "target_ongoing_requests": _TARGET,
        },
    )
    application: serve.Application = make(serve.ingress()(Endpoint)).bind(overrides)
    return application
