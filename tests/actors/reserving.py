"""For ``test_reserving``: a pool on a Ray of four GPUs that are not there, and what its replicas got."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import ray
from ray.util import get_current_placement_group, placement_group_table
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.pool.cluster import free_resources, start_ray, stop_ray
from actors.pool.placement import GPUS_VARIABLE, ClusterConfig
from actors.pool.pool import Pool
from orchestrator.protocols import EngineBase, Failure, GenerateRequest, ScoreRequest, VerifierBase
from orchestrator.types import Sampling

CLUSTER = ClusterConfig(engine_gpus=2, verifier_replicas=4, share_gpu=True)


@ray.remote(num_gpus=1, num_cpus=0)
def visible_cards() -> str:
    """As one worker of a tensor-parallel engine would see them."""
    return os.environ["CUDA_VISIBLE_DEVICES"]


async def _workers() -> list[str]:
    """The cards of a worker for each bundle of the replica's group, placed as vLLM's Ray executor does."""
    group = get_current_placement_group()
    assert group is not None
    places = [PlacementGroupSchedulingStrategy(group, i) for i in range(group.bundle_count)]
    refs = [visible_cards.options(scheduling_strategy=place).remote() for place in places]
    return list(await asyncio.gather(*refs))


class Reporter(EngineBase, VerifierBase):
    """Answers every request with what its replica was given, as the message of a Failure."""

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Failure]:
        return [self._report(workers=await _workers()) for _ in requests]

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Failure]:
        return [self._report(cards=os.environ["CUDA_VISIBLE_DEVICES"]) for _ in requests]

    @staticmethod
    def _report(**values: Any) -> Failure:
        given = {"pid": os.getpid(), "gpus": os.environ[GPUS_VARIABLE], "niceness": os.nice(0), **values}
        return Failure("report", json.dumps(given))


def groups() -> list[list[dict[str, float]]]:
    """The bundles of every placement group that Ray has made."""
    table = placement_group_table().values()  # type: ignore[no-untyped-call]
    return sorted((list(g["bundles"].values()) for g in table if g["state"] == "CREATED"), key=len)


async def report() -> dict[str, Any]:
    async with await Pool.start(CLUSTER, Reporter, Reporter) as pool:
        asked = GenerateRequest("p", "", "", (), Sampling(), 0, "\n", None)
        (engine,) = await pool.engine.generate([asked])
        assert pool.verifier is not None
        # As many problems as it takes for each replica to be the home of one.
        asked_of_all = [[ScoreRequest(str(i), "", ("a",), 0)] for i in range(64)]
        replies = await asyncio.gather(*map(pool.verifier.score, asked_of_all))
        found = {
            "engine": json.loads(getattr(engine, "message")),  # noqa: B009 - a reply may be none
            "verifiers": {m["pid"]: m for m in (json.loads(getattr(v, "message")) for (v,) in replies)},  # noqa: B009
            "niceness": os.nice(0),
            "groups": groups(),
            "free": free_resources(),
        }
    async with asyncio.timeout(30):
        while not free_resources().startswith("4 GPUs"):
            await asyncio.sleep(0.1)
    return found


if __name__ == "__main__":
    start_ray(ClusterConfig(), num_cpus=2, num_gpus=4)
    try:
        sys.stdout.write(json.dumps(asyncio.run(report())) + "\n")
    finally:
        stop_ray()
