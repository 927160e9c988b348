"""A cluster without processes: nodes and replicas that die, hang, come back and answer late, by a seed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from actors.pool.handles import ReplicaDied
from actors.pool.placement import ClusterConfig, ReplicaSpec, Resources
from actors.pool.replica import Raised, Replica, ReplicaInfo, Restarted
from orchestrator.types import Overhead


@dataclass(frozen=True)
class Troubles:
    """How likely each kind of fault is to strike a call, and how often faults strike a part at the most.

    A request that is ``poison`` kills its replica whenever it comes there. A process takes ``returns_s``
    seconds on average to come back, and with the probability ``broken_starts`` cannot make its engine then.
    """

    chances: Mapping[str, float] = field(default_factory=dict)
    most: int = 0
    returns_s: float = 1.0
    broken_starts: float = 0.0
    poison: Callable[[Any], bool] = lambda request: False


KINDS = ("death", "idle death", "node", "link", "hang", "stuck call", "late", "doubled", "raise")


@dataclass(frozen=True)
class Death:
    """A death of a process, the loss of its connection or of a call, and the rows that were waited for."""

    replica: str
    kind: str
    rows: tuple[Any, ...]


class Cluster:
    """The host of a simulation: nodes, and the replicas on them.

    ``faults`` counts what has struck, ``deaths`` says whom; ``made`` are the tokens of engines.
    """

    def __init__(
        self, rng: random.Random, troubles: Troubles = Troubles(), num_nodes: int = 2, latency_s: float = 0.1
    ) -> None:
        self.rng = rng
        self.troubles = troubles
        self.nodes = [f"node-{i}" for i in range(num_nodes)]
        self.latency_s = latency_s
        self.faults: Counter[str] = Counter()
        self.deaths: list[Death] = []
        self.places: list[Place] = []
        self.made = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Work of the cluster itself, which lasts as long as the event loop."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def later(self, seconds: float, work: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_later(seconds, work)

    def strikes(self) -> str | None:
        """The fault that befalls the next call, if any."""
        if self.faults.total() >= self.troubles.most:
            return None
        drawn = self.rng.random()
        for kind, chance in self.troubles.chances.items():
            drawn -= chance
            if drawn < 0:
                self.faults[kind] += 1
                return kind
        return None

    def lose_node(self, node: str) -> None:
        """With all that is on it; never the last one. Another comes after a while."""
        if len(self.nodes) > 1 and node in self.nodes:
            self.nodes.remove(node)
            for place in self.places:
                if place.process is not None and place.process.node == node:
                    place.die("node", restart=True)
            self.later(self.rng.expovariate(0.1), lambda: self.nodes.append(f"{node}+"))

    def note(self, replica: str, kind: str, process: Process) -> None:
        """Writes down what has struck a process, and whom with it."""
        rows = tuple(row for reply, rows in process.waiting.items() if not reply.done() for row in rows)
        self.deaths.append(Death(replica, kind, rows))

    def place(self, spec: ReplicaSpec, name: str, config: ClusterConfig) -> Place:
        self.places.append(Place(self, name, spec.factory))
        return self.places[-1]

    def living_nodes(self) -> Mapping[str, Resources]:
        return {node: {"CPU": 8.0} for node in self.nodes}

    def free(self) -> str:
        return "nothing"

    async def lost(self) -> str:
        return await asyncio.get_running_loop().create_future()


@dataclass(eq=False)
class Process:
    """One life of a replica. ``waiting`` are the replies that it owes, with the rows that were asked for."""

    node: str
    replica: Replica
    is_deaf: bool = False
    waiting: dict[asyncio.Future[Any], tuple[Any, ...]] = field(default_factory=dict)
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)


class Place:
    """A replica as its controller reaches it. Its process is started anew whenever it dies."""

    def __init__(self, cluster: Cluster, name: str, factory: Callable[[], Any]) -> None:
        self._cluster = cluster
        self._name = name
        self._factory = factory
        self._is_gone = self._was_there = False
        self.process: Process | None = None
        self._starting = cluster.spawn(self._start(cluster.rng.uniform(0, 0.2)))

    async def _start(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        cluster, is_second = self._cluster, self._was_there
        breaks = is_second and cluster.rng.random() < cluster.troubles.broken_starts

        def make() -> Any:
            if breaks:
                cluster.faults["broken start"] += 1
                raise RuntimeError("the card is still full")
            model = self._factory()
            model.cluster = cluster
            return model

        node = cluster.rng.choice(cluster.nodes)
        replica = Replica(make, node, lambda: self.die("exit", restart=True))
        self.process, self._was_there = Process(node, replica), True

    def kill(self, *, restart: bool) -> None:
        self.die("killed", restart=restart)

    def die(self, kind: str, *, restart: bool) -> None:
        """The process ends; those who wait hear of it at once, or a moment later."""
        cluster, process, self.process = self._cluster, self.process, None
        self._is_gone = self._is_gone or not restart
        if self._is_gone:
            self._starting.cancel()
        if process is None:
            return
        for task in process.tasks:
            task.cancel()
        cluster.note(self._name, kind, process)
        cluster.later(cluster.rng.choice((0.0, 0.01, 0.3)), lambda: _lose(process))
        if not self._is_gone:
            delay_s = 0.5 + cluster.rng.expovariate(1 / cluster.troubles.returns_s)
            self._starting = cluster.spawn(self._start(delay_s))

    def lose_link(self) -> None:
        """Calls under way are lost to the controller; the process goes on with them, and with what comes."""
        if self.process is not None:
            self._cluster.note(self._name, "link", self.process)
            _lose(self.process)

    async def ready(self) -> ReplicaInfo:
        if self.process is None and not self._was_there and not self._is_gone:
            await asyncio.wait([self._starting])
        info: ReplicaInfo = await self._call(lambda process: process.replica.ready())
        return info

    async def ask(self, method: str, requests: Sequence[Any]) -> list[Any] | Raised | Restarted:
        async def work(process: Process) -> list[Any] | Raised | Restarted:
            raised = await self._befall(process, requests)
            return raised or await process.replica.ask(method, requests)

        answer: list[Any] | Raised | Restarted = await self._call(work, tuple(requests))
        return answer

    async def release(self, home: str) -> Overhead:
        wasted: Overhead = await self._call(lambda process: process.replica.release(home))
        return wasted

    async def pulse(self) -> int | Restarted | None:
        count: int | Restarted | None = await self._call(lambda process: process.replica.pulse())
        return count

    def is_placed(self) -> bool:
        return self.process is not None

    async def close(self) -> None:
        await self._call(lambda process: process.replica.close())

    async def _call(
        self, work: Callable[[Process], Coroutine[Any, Any, Any]], rows: tuple[Any, ...] = ()
    ) -> Any:
        """What ``work`` returns in the process, or whatever happens instead. Raises ReplicaDied."""
        if self._is_gone:
            raise ReplicaDied("it is dead", is_final=True)
        process = self.process
        if process is None:
            raise ReplicaDied("it is restarting", before=True)
        reply = asyncio.get_running_loop().create_future()
        process.waiting[reply] = rows
        task = self._cluster.spawn(self._work(process, work, reply))
        process.tasks = [*(t for t in process.tasks if not t.done()), task]
        try:
            return await reply
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            process.waiting.pop(reply, None)

    async def _work(
        self,
        process: Process,
        work: Callable[[Process], Coroutine[Any, Any, Any]],
        reply: asyncio.Future[Any],
    ) -> None:
        value = await work(process)
        if self.process is process and not process.is_deaf and not reply.done():
            reply.set_result(value)

    async def _befall(self, process: Process, requests: Sequence[Any]) -> Raised | None:
        """What happens to a call before it is answered."""
        cluster = self._cluster
        when = cluster.rng.uniform(0, cluster.latency_s)
        is_poisoned = any(map(cluster.troubles.poison, requests))
        cluster.faults.update(["poison"] if is_poisoned else [])
        kind = "poison" if is_poisoned else cluster.strikes()
        blows: dict[str | None, Callable[[], None]] = {
            "node": lambda: cluster.lose_node(process.node),
            "link": self.lose_link,
            **dict.fromkeys(("poison", "death", "idle death"), lambda: self._die(process, str(kind))),
        }
        if kind in blows:
            cluster.later(when if kind != "idle death" else cluster.rng.uniform(0, 5), blows[kind])
        if kind in ("raise", "stuck call"):  # of which the call alone is to blame
            cluster.deaths.append(Death(self._name, kind, tuple(requests)))
        if kind in ("poison", "stuck call"):
            await asyncio.get_running_loop().create_future()
        if kind == "late":
            await asyncio.sleep(cluster.rng.uniform(1, 40))
        if kind == "doubled":
            process.tasks.append(cluster.spawn(process.replica.ask("work_at", requests)))
        process.is_deaf = process.is_deaf or kind == "hang"
        return Raised("RuntimeError", "this call raises") if kind == "raise" else None

    def _die(self, process: Process, kind: str) -> None:
        if self.process is process:
            self.die(kind, restart=True)


def _lose(process: Process) -> None:
    for reply in process.waiting:
        if not reply.done():
            reply.set_exception(ReplicaDied("the connection is lost"))
