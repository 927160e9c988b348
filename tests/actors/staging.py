"""For ``test_reserving``: where Ray puts a replica in two stages, on two nodes of GPUs that are not there."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from dataclasses import dataclass

import ray
from ray.cluster_utils import Cluster
from ray.util import placement_group_table

from actors.pool.cluster import living_nodes
from actors.pool.placement import ClusterConfig, check_placement, plan
from actors.pool.ray_host import RayHandle


@dataclass(frozen=True)
class Pipeline:
    """A configuration whose replicas have stages."""

    num_stages: int

    def build(self) -> None: ...


def cards_of_nodes() -> list[int]:
    """The cards that a replica of four in two stages has on each node."""
    nodes = living_nodes()
    (spec,) = plan(ClusterConfig(engine_gpus=4), Pipeline(2).build, None, nodes)
    check_placement([spec], nodes.values())
    handle = RayHandle(spec, "engine-0", 10)
    deadline = time.monotonic() + 120
    while not handle.is_placed() and time.monotonic() < deadline:
        time.sleep(0.1)
    (group,) = placement_group_table().values()  # type: ignore[no-untyped-call]
    return sorted(Counter(group["bundles_to_node_id"].values()).values())


if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 2})
    cluster.add_node(num_cpus=1, num_gpus=2)
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        sys.stdout.write(json.dumps(cards_of_nodes()) + "\n")
    finally:
        ray.shutdown()
        cluster.shutdown()
