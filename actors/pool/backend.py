"""Replicas as actors of Ray: what ``cluster._target_`` of ``conf/cluster/local.yaml`` builds.

Ray is imported where it is used, so that --help and a mistake in a key are reported at once.
"""

from __future__ import annotations

import os
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actors.pool.fleet import Fleet
from actors.pool.placement import ClusterConfig, check_placement, described, factories_of, plan
from actors.pool.pool import Pool
from orchestrator.backend import Backend
from orchestrator.observe.tracking import Tracker
from orchestrator.protocols import EngineConfig, VerifierConfig


@dataclass(frozen=True, slots=True)
class RayCluster(ClusterConfig):
    """A Ray that is running (``cluster.address`` or RAY_ADDRESS), or one that this process starts."""

    def start(
        self, policies: Mapping[str, EngineConfig], verifier: VerifierConfig | None
    ) -> Coroutine[Any, Any, Backend]:
        """Join or start Ray at once; the replicas are ready when what is returned has been awaited."""
        from actors.pool.cluster import start_ray
        from actors.pool.ray_host import RayHost

        start_ray(self)
        engine, factory, others = factories_of(policies, verifier)
        return Pool.start(self, engine, factory, RayHost(), self._trackers, others)

    def _trackers(
        self, fleets: Mapping[str, Fleet], num_problems: int, tags: Mapping[str, str]
    ) -> Sequence[Tracker]:
        if self.metrics_interval_s is None:
            return ()
        from actors.pool.metrics import RayMetrics

        return (RayMetrics(fleets, num_problems, tags, self.metrics_interval_s),)

    def survey(self, policies: Mapping[str, EngineConfig], verifier: VerifierConfig | None) -> str:
        """Say what would run where, for a person.

        A running cluster is asked for its nodes. Without one the replicas would run on a new Ray on this
        machine, which is not started for this. Raises ConfigError where the cluster does not answer or
        cannot hold the replicas.
        """
        engine, factory, others = factories_of(policies, verifier)
        address = self.address or os.environ.get("RAY_ADDRESS")
        if not address or address == "local":
            return f"{described(plan(self, engine, factory, {}, others))} on a local Ray"
        from actors.pool.cluster import living_nodes, start_ray, stop_ray

        start_ray(self)
        try:
            nodes = living_nodes()
            specs = plan(self, engine, factory, nodes, others)
            check_placement(specs, nodes.values())
        finally:
            stop_ray()
        cpus, gpus = (sum(node.get(name, 0.0) for node in nodes.values()) for name in ("CPU", "GPU"))
        return f"{described(specs)} on {address}: {len(nodes)} nodes with {gpus:g} GPUs and {cpus:g} CPUs"

    def stop(self) -> None:
        """Leave the cluster, or stop the Ray that ``start`` has started."""
        from actors.pool.cluster import stop_ray

        stop_ray()
