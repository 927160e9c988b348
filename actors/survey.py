"""Whether the replicas of a run would fit a cluster that is there, without starting any."""

from __future__ import annotations

import os
from collections.abc import Sequence

from actors.placement import ClusterConfig, Factory, ReplicaSpec, check_placement, plan


def survey(config: ClusterConfig, engine: Factory, verifier: Factory | None) -> str:
    """What would run where, for a person.

    A cluster that is running (``cluster.address`` or RAY_ADDRESS) is asked for its nodes. Without one the
    replicas would go to a Ray of their own on this machine, which is not started for this. Raises ConfigError
    where the cluster does not answer or cannot hold the replicas.
    """
    address = config.address or os.environ.get("RAY_ADDRESS")
    if not address or address == "local":
        return f"{_described(plan(config, engine, verifier, {}))} on a local Ray"
    from actors.cluster import living_nodes, start_ray, stop_ray

    start_ray(config)
    try:
        nodes = living_nodes()
        specs = plan(config, engine, verifier, nodes)
        check_placement(specs, nodes.values())
    finally:
        stop_ray()
    cpus, gpus = (sum(node.get(name, 0.0) for node in nodes.values()) for name in ("CPU", "GPU"))
    return f"{_described(specs)} on {address}: {len(nodes)} nodes with {gpus:g} GPUs and {cpus:g} CPUs"


def _described(specs: Sequence[ReplicaSpec]) -> str:
    return " and ".join(str(spec) for spec in specs)
