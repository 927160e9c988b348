"""Engines and verifiers as Ray actors, behind the same protocols as in-process ones."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from actors.cluster import answers, control_address, is_own, living_nodes
from actors.fleet import Fleet, FleetStats, together
from actors.placement import ClusterConfig, Factory, check_placement, plan
from orchestrator.protocols import (
    Completion,
    EngineBase,
    Failure,
    GenerateRequest,
    Loglik,
    LoglikRequest,
    ModelInfo,
    ScoreReply,
    ScoreRequest,
    VerifierBase,
)
from orchestrator.types import Overhead

_LOOK_S = 5.0
# Of Ray's control service: without it Ray ends its processes, this one too, after 60 s.
_PATIENCE_S = 40.0
_OWN_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class PooledEngine(EngineBase):
    """An engine whose replicas are actors. The requests of one call are of one problem."""

    fleet: Fleet

    @property
    def info(self) -> ModelInfo:
        return self.fleet.info

    async def release(self, home: str) -> Overhead:
        return await self.fleet.release(home)

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        return await self.fleet.ask("generate", requests[0].home, requests) if requests else []

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]:
        return await self.fleet.ask("loglik", requests[0].home, requests) if requests else []

    async def close(self) -> None:
        await self.fleet.close()


@dataclass(frozen=True, slots=True)
class PooledVerifier(VerifierBase):
    """A verifier whose replicas are actors. The requests of one call are of one problem."""

    fleet: Fleet

    @property
    def info(self) -> ModelInfo:
        return self.fleet.info

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        return await self.fleet.ask("score", requests[0].home, requests) if requests else []

    async def close(self) -> None:
        await self.fleet.close()


class Pool:
    """The replicas of a run: ``async with await Pool.start(...) as pool``, then ask ``pool.engine``.

    Ray must have been started (``actors.cluster.start_ray``). A pool lives on the event loop that started
    it: several runs share it under one ``asyncio.Runner``.
    """

    def __init__(self, fleets: Mapping[str, Fleet]) -> None:
        self._fleets = fleets
        self.engine = PooledEngine(fleets["engine"])
        self.verifier = PooledVerifier(fleets["verifier"]) if "verifier" in fleets else None
        self._watch: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, config: ClusterConfig, engine: Factory, verifier: Factory | None = None) -> Pool:
        """Places and makes all replicas, engines and verifiers at once, and waits until they are ready.

        Raises ConfigError where the cluster cannot hold them or a factory refuses its configuration, and
        EngineError where an engine cannot be made or is not ready after ``cluster.start_timeout_s``.
        """
        nodes = living_nodes()
        specs = plan(config, engine, verifier, nodes)
        check_placement(specs, nodes.values())
        fleets = {spec.kind: Fleet(spec, config) for spec in specs}
        pool = cls(fleets)
        try:
            await together(*(fleet.start() for fleet in fleets.values()))
            for fleet in fleets.values():
                fleet.grow()
            pool._watch = asyncio.create_task(pool._watch_ray(control_address()))
        except BaseException:
            await pool.close()
            raise
        return pool

    async def _watch_ray(self, address: str) -> None:
        """Gives all replicas up once Ray itself is gone: it would end this process a minute after that.

        A control service of a cluster may come back; one of our own does not, nor does its only node.
        """
        patience, silent_since = _OWN_PATIENCE_S if is_own() else _PATIENCE_S, None
        while True:
            await asyncio.sleep(_LOOK_S)
            now = asyncio.get_running_loop().time()
            silent_since = None if await asyncio.to_thread(answers, address) else silent_since or now
            if silent_since is not None and now - silent_since >= patience:
                return self._give_up(f"Ray does not answer at {address} any more")
            if silent_since is None and is_own() and not await asyncio.to_thread(living_nodes):
                return self._give_up("the Ray of this run has died")

    def _give_up(self, reason: str) -> None:
        for fleet in self._fleets.values():
            fleet.give_up(reason)

    @property
    def replicas(self) -> dict[str, int]:
        """How many replicas there are, as in ``summary.json``: ``{"engine": 2, "verifier": 1}``."""
        return {kind: fleet.spec.num_replicas for kind, fleet in self._fleets.items()} | (
            {} if "verifier" in self._fleets else {"verifier": 0}
        )

    def template_notes(self) -> dict[str, dict[str, str]]:
        """By kind, what is done otherwise than a chat template would have it; as in ``summary.json``."""
        return {kind: dict(f.template_notes) for kind, f in self._fleets.items() if f.template_notes}

    def pids(self) -> dict[str, int]:
        """The process of each replica that is alive: ``{"engine-0": 4711, ...}``."""
        return {name: pid for fleet in self._fleets.values() for name, pid in fleet.pids().items()}

    def node_ids(self) -> dict[str, str]:
        """The node of each replica that is alive, by the replica's name."""
        return {name: node for fleet in self._fleets.values() for name, node in fleet.node_ids().items()}

    def stats(self) -> dict[str, FleetStats]:
        """How calls were routed and retried, by kind."""
        return {kind: fleet.stats() for kind, fleet in self._fleets.items()}

    def routing_since(self, before: Mapping[str, FleetStats]) -> dict[str, dict[str, float | None]]:
        """The same after an earlier ``stats``, as in ``summary.json``: a sweep's points share a pool."""
        return {kind: stats.since(before[kind]) for kind, stats in self.stats().items()}

    @property
    def fleets(self) -> Mapping[str, Fleet]:
        """The replicas by kind, to look at."""
        return self._fleets

    @property
    def generated_tokens(self) -> int:
        """Of all replies since the start, also for problems that have not ended."""
        return sum(member.tokens.generated for member in self._fleets["engine"].members.values())

    @property
    def overhead(self) -> Overhead:
        """Tokens of replies that were lost with a replica, cancelled by a time limit, or never asked for.

        Those of all problems since the start; ``engine.release`` returns those of one.

        Retried ones are a lower bound: what the engine's token counter showed at the last pulse before the
        death, for the rows then in flight. Those of cancelled calls, in ``speculated_tokens``, are their
        share of what the counter shows then; the others there were made ahead of a search that took another
        way. An engine that reports no progress counts 0, and so does a verifier.
        """
        return self._fleets["engine"].overhead

    async def close(self) -> None:
        """Ends every replica."""
        if self._watch is not None:
            self._watch.cancel()
        await asyncio.gather(*(fleet.close() for fleet in self._fleets.values()))

    async def __aenter__(self) -> Pool:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
