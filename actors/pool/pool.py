"""Engines and verifiers in replicas, behind the same protocols as those that are called directly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType, TracebackType

from actors.pool.fleet import Fleet, together
from actors.pool.handles import Host
from actors.pool.member import Member
from actors.pool.placement import ClusterConfig, Factory, check_placement, plan
from orchestrator.backend import Routing, Used
from orchestrator.observe.tracking import Tracker
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
from orchestrator.types import ENGINE, Overhead

MakeTrackers = Callable[[Mapping[str, Fleet], int, Mapping[str, str]], Sequence[Tracker]]
"""From the replicas by kind, the number of problems and the tags of a run to its further trackers."""


def no_trackers(fleets: Mapping[str, Fleet], num_problems: int, tags: Mapping[str, str]) -> Sequence[Tracker]:
    return ()


@dataclass(frozen=True, slots=True)
class PooledEngine(EngineBase):
    """An engine that is a fleet of replicas. The requests of one call are of one problem."""

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

    async def encode(self, texts: Sequence[str]) -> list[tuple[int, ...] | Failure]:
        return await self.fleet.ask("encode", "", texts) if texts else []

    async def close(self) -> None:
        await self.fleet.close()


@dataclass(frozen=True, slots=True)
class PooledVerifier(VerifierBase):
    """A verifier that is a fleet of replicas. The requests of one call are of one problem."""

    fleet: Fleet

    @property
    def info(self) -> ModelInfo:
        return self.fleet.info

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        return await self.fleet.ask("score", requests[0].home, requests) if requests else []

    async def close(self) -> None:
        await self.fleet.close()


class Pool:
    """The replicas of a run: ``async with await Pool.start(...) as pool``, then call ``pool.engine``.

    A pool lives on the event loop that started it: several runs share it under one ``asyncio.Runner``.
    """

    def __init__(self, fleets: Mapping[str, Fleet], make_trackers: MakeTrackers = no_trackers) -> None:
        self._fleets = fleets
        self._make_trackers = make_trackers
        self.policies = {kind: PooledEngine(fleet) for kind, fleet in fleets.items() if kind != "verifier"}
        self.engine = self.policies[ENGINE]
        self.verifier = PooledVerifier(fleets["verifier"]) if "verifier" in fleets else None
        self._watch: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls,
        config: ClusterConfig,
        engine: Factory,
        verifier: Factory | None = None,
        host: Host | None = None,
        make_trackers: MakeTrackers = no_trackers,
        policies: Mapping[str, Factory] = MappingProxyType({}),
    ) -> Pool:
        """Place and make all replicas, engines and verifiers at once, and wait until they are ready.

        ``policies`` are further engines by name. They run at ``host``; None is Ray, which must have been
        started (``actors.pool.cluster.start_ray``).
        Raises ConfigError where the cluster cannot hold them or a factory refuses its configuration, and
        EngineError where an engine cannot be made or is not ready after ``cluster.start_timeout_s``.
        """
        host = host or _ray_host()
        nodes = host.living_nodes()
        specs = plan(config, engine, verifier, nodes, policies)
        check_placement(specs, nodes.values())
        make_member = partial(Member, host=host)
        pool = cls({spec.kind: Fleet(spec, config, make_member) for spec in specs}, make_trackers)
        try:
            await together(*(fleet.start() for fleet in pool.fleets.values()))
            for fleet in pool.fleets.values():
                fleet.grow()
            pool._watch = asyncio.create_task(pool._give_up_with(host))
        except BaseException:
            for fleet in pool.fleets.values():
                fleet.drop()
            raise
        return pool

    async def _give_up_with(self, host: Host) -> None:
        """Give all replicas up once the host itself is gone."""
        reason = await host.lost()
        for fleet in self._fleets.values():
            fleet.give_up(reason)

    @property
    def replicas(self) -> dict[str, int]:
        """The number of replicas by kind, as in ``summary.json``: ``{"engine": 2, "verifier": 1}``."""
        return {kind: fleet.spec.num_replicas for kind, fleet in self._fleets.items()} | (
            {} if "verifier" in self._fleets else {"verifier": 0}
        )

    def template_notes(self) -> dict[str, dict[str, str]]:
        """Return, by kind, where prompts deviate from the chat template; as in ``summary.json``."""
        return {kind: dict(f.template_notes) for kind, f in self._fleets.items() if f.template_notes}

    def pids(self) -> dict[str, int]:
        """Return the process of each living replica: ``{"engine-0": 4711, ...}``."""
        return {name: pid for fleet in self._fleets.values() for name, pid in fleet.pids().items()}

    def node_ids(self) -> dict[str, str]:
        """Return the node of each living replica, by the replica's name."""
        return {name: node for fleet in self._fleets.values() for name, node in fleet.node_ids().items()}

    def stats(self) -> dict[str, Routing]:
        """Return how calls were routed and retried, by kind."""
        return {kind: fleet.stats() for kind, fleet in self._fleets.items()}

    def used(self) -> Used:
        """Return what the replicas have done since they started."""
        return Used(self.generated_tokens, self.stats())

    def num_alive(self) -> int:
        """Return the number of replicas that take calls now."""
        return len(self.pids())

    def trackers(self, num_problems: int, tags: Mapping[str, str]) -> Sequence[Tracker]:
        """Return the further trackers of a run on these replicas."""
        return self._make_trackers(self._fleets, num_problems, tags)

    @property
    def fleets(self) -> Mapping[str, Fleet]:
        """The replicas by kind; read-only."""
        return self._fleets

    @property
    def generated_tokens(self) -> int:
        """The tokens of all replies since the start, also for problems that have not ended."""
        members = (member for engine in self.policies.values() for member in engine.fleet.members.values())
        return sum(member.tokens.generated for member in members)

    @property
    def overhead(self) -> Overhead:
        """Tokens that were lost with a replica, cancelled by a time limit, or generated ahead and never used.

        Of all problems since the start; ``engine.release`` returns those of one.

        Retried ones are a lower bound: what the engine's token counter showed at the last pulse before the
        death, for the rows then in flight. Those of cancelled calls, in ``speculated_tokens``, are their
        share of what the counter shows then; the others there were generated ahead for a search that took
        another path. An engine that reports no progress counts 0, and so does a verifier.
        """
        return sum((engine.fleet.overhead for engine in self.policies.values()), Overhead())

    async def close(self) -> None:
        """End every replica."""
        if self._watch is not None:
            self._watch.cancel()
        await asyncio.gather(*(fleet.close() for fleet in self._fleets.values()))

    async def __aenter__(self) -> Pool:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _ray_host() -> Host:
    from actors.pool.ray_host import RayHost

    return RayHost()
