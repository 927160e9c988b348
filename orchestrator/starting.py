"""Replicas for a library call: a backend as an async context manager, on Ray or in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from orchestrator.backend import AnyVerifierConfig, Backend, Cluster, asked_policies
from orchestrator.config.build import build_node
from orchestrator.config.calibrated import inlined
from orchestrator.config.compose import chosen_node
from orchestrator.config.naming import placed
from orchestrator.config.parts import check_configs, check_named
from orchestrator.described import node_of
from orchestrator.errors import ConfigError, MurmurationError
from orchestrator.protocols import (
    Completion,
    Engine,
    EngineConfig,
    Failure,
    GenerateRequest,
    Loglik,
    LoglikRequest,
    ModelInfo,
    ScoreReply,
    ScoreRequest,
    Verifier,
)
from orchestrator.schema import Count, converted
from orchestrator.text.task import TextTask
from orchestrator.types import ENGINE, Overhead

_NO_VERIFIER = "none"


@dataclass(frozen=True, slots=True)
class Models:
    """Replicas that are ready: an ``engine`` and a ``verifier`` for ``solve`` and ``solve_many``.

    ``policies`` are the further engines by name. They answer on the event loop that started them, until the
    block of ``start`` ends.
    """

    engine: Engine
    verifier: Verifier | None
    backend: Backend
    policies: Mapping[str, Engine] = field(default_factory=dict)


@asynccontextmanager
async def start(
    engine: EngineConfig | str,
    verifier: AnyVerifierConfig | str | None = None,
    *,
    replicas: int = 1,
    verifier_replicas: int | None = None,
    cluster: Cluster | str = "local",
    policies: Mapping[str, EngineConfig | str] = MappingProxyType({}),
) -> AsyncIterator[Models]:
    """Start replicas of an engine and a verifier; the end of the block ends them.

    Each is a configuration (``actors.VllmEngineConfig(model=...)``) or the name of a file of ``conf/``
    (``"embedded"``). ``cluster`` is ``"local"``, which is Ray on this machine or the one that RAY_ADDRESS
    names; ``"inprocess"``, which is threads of this process; or a cluster with its own numbers of replicas,
    such as ``actors.RayCluster(address="auto", engine_replicas=8)``. ``verifier_replicas`` is as many as
    ``replicas`` by default. ``policies`` are further engines by name. Raises ConfigError if there is no room
    for them, and EngineError if one cannot start.

    Example::

        async with start(engine="embedded", verifier="embedded", cluster="inprocess") as models:
            result = await solve(question, strategy=ParticleFilter(), engine=models.engine,
                                 verifier=models.verifier)
    """
    check_named(policies)
    policy: EngineConfig = _built(ENGINE, engine)
    judge: AnyVerifierConfig = _built("verifier", _NO_VERIFIER if verifier is None else verifier)
    where = _cluster(cluster, replicas, replicas if verifier_replicas is None else verifier_replicas)
    others = {name: _policy(name, part) for name, part in policies.items()}
    check_configs(policy, judge, where, others)
    if judge.knows_answers:
        raise ConfigError("verifier", node_of(judge)["_target_"], "knows the answers: only a run may use it")
    try:
        backend = await where.start(asked_policies({ENGINE: policy, **others}, judge), judge.of_replicas)
        try:
            yield _models(backend, policy, judge, others)
        finally:
            await backend.close()
    finally:
        where.stop()


def _policy(name: str, part: EngineConfig | str) -> EngineConfig:
    try:
        policy: EngineConfig = _built(ENGINE, part)
    except ConfigError as error:
        raise placed(name, error) from None
    return policy


def _built(group: str, part: Any) -> Any:
    return (
        build_node(inlined({group: chosen_node(group, part)})[group], group)
        if isinstance(part, str)
        else part
    )


def _cluster(cluster: Cluster | str, engines: int, verifiers: int) -> Cluster:
    if not isinstance(cluster, str):
        return cluster
    numbers = {
        "engine_replicas": converted("replicas", engines, Count),
        "verifier_replicas": converted("verifier_replicas", verifiers, Count),
    }
    built: Cluster = build_node(chosen_node("cluster", cluster) | numbers, "cluster")
    return built


def _models(
    backend: Backend, policy: EngineConfig, judge: AnyVerifierConfig, others: Mapping[str, EngineConfig]
) -> Models:
    loop = asyncio.get_running_loop()
    verifier = judge.open(backend, TextTask(), {})
    return Models(
        StartedEngine(node_of(policy), backend.engine, loop),
        None if verifier is None else StartedVerifier(node_of(judge), verifier, loop),
        backend,
        {name: StartedEngine(node_of(c), backend.policies[name], loop) for name, c in others.items()},
    )


@dataclass(frozen=True)
class _Started:
    """A model of a backend: it refuses another event loop, where a call would wait forever."""

    run_description: Mapping[str, Any]
    inner: Any = field(repr=False)
    loop: asyncio.AbstractEventLoop = field(repr=False)

    @property
    def info(self) -> ModelInfo:
        info: ModelInfo = self.inner.info
        return info

    async def close(self) -> None:
        """Do nothing: the block of ``start`` ends its replicas."""

    def _check_loop(self) -> None:
        if asyncio.get_running_loop() is not self.loop:
            message = "the models of start() answer on the event loop that started them: await solve() there"
            raise MurmurationError(message)


class StartedEngine(_Started):
    """The engine of a backend."""

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        self._check_loop()
        replies: list[Completion | Failure] = await self.inner.generate(requests)
        return replies

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]:
        self._check_loop()
        replies: list[Loglik | Failure] = await self.inner.loglik(requests)
        return replies

    async def encode(self, texts: Sequence[str]) -> list[tuple[int, ...] | Failure]:
        self._check_loop()
        found: list[tuple[int, ...] | Failure] = await self.inner.encode(texts)
        return found

    async def release(self, home: str) -> Overhead:
        self._check_loop()
        overhead: Overhead = await self.inner.release(home)
        return overhead


class StartedVerifier(_Started):
    """The verifier of a backend."""

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        self._check_loop()
        replies: list[ScoreReply | Failure] = await self.inner.score(requests)
        return replies
