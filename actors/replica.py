"""What runs inside a Ray actor: one engine or verifier, asked by name and watched by a pulse."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ray

from orchestrator.errors import ConfigError, EngineDeadError, EngineError, MurmurationError
from orchestrator.protocols import EngineBase, Method, ModelInfo, VerifierBase
from orchestrator.types import Overhead

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReplicaInfo:
    """A replica that has made its engine, or failed to: then ``error`` says why, and the rest is empty.

    ``incarnation`` differs between the process before a restart and the one after it.
    """

    pid: int
    incarnation: str
    node_id: str
    model: ModelInfo = ModelInfo()
    template_notes: Mapping[str, str] = field(default_factory=dict)
    error: MurmurationError | None = None


@dataclass(frozen=True, slots=True)
class Raised:
    """The whole call raised: what it was, as text, so that no exception need survive pickling.

    ``member`` names the replica, which is avoided at the next attempt.
    """

    type: str
    message: str
    member: str | None = None


@dataclass(frozen=True, slots=True)
class Restarted:
    """What a process says that Ray put in a dead one's place: no engine until it is asked ``ready``."""


class Replica:
    """One engine or verifier in a process of its own.

    The factory arrives pickled and is read after ``environ`` is set: libraries that read their number of
    threads when they are imported find it. The engine is made by ``ready``, not by the constructor, so
    that an error in making it is a reply and not an endless loop of restarts.
    """

    def __init__(self, factory: bytes, environ: Mapping[str, str]) -> None:
        os.environ.update(environ)
        self._factory = factory
        self._incarnation = uuid.uuid4().hex
        self._model: EngineBase | VerifierBase | None = None
        self._error: MurmurationError | None = None

    async def ready(self) -> ReplicaInfo:
        """Makes the engine at the first call, and says what it is."""
        if self._model is None and self._error is None:
            self._make()
        who = (os.getpid(), self._incarnation, ray.get_runtime_context().get_node_id())
        if self._model is None:
            return ReplicaInfo(*who, error=self._error)
        return ReplicaInfo(*who, self._model.info, dict(self._model.template_notes))

    def _make(self) -> None:
        try:
            self._model = _checked(pickle.loads(self._factory)())
        except ConfigError as error:
            self._error = ConfigError(error.key, str(error.value), error.allowed)
        except Exception as error:
            log.exception("the engine could not be made")
            self._error = EngineError(f"{type(error).__name__}: {error}")

    async def ask(self, method: Method, requests: bytes) -> bytes | Raised | Restarted:
        """The pickled replies of ``engine.<method>(requests)``, as many as there are requests.

        Pickled here and not by Ray, which takes several times as long over small frozen values.
        """
        if self._model is None:
            return Restarted()
        try:
            asked = pickle.loads(requests)
            replies = await getattr(self._model, method)(asked)
            if len(replies) != len(asked):
                raise EngineError(f"{len(asked)} requests got {len(replies)} replies")
            return pickle.dumps(replies, protocol=5)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - it becomes a value, and fails no other call
            try:
                log.exception("%s raised", method)
            finally:  # there may be no memory left for a line
                self._exit_if_dead(error)
            return Raised(type(error).__name__, str(error))

    async def release(self, home: str) -> Overhead:
        """Forgets a problem that is over, and returns what the engine did for it in vain."""
        return await self._model.release(home) if isinstance(self._model, EngineBase) else Overhead()

    async def pulse(self) -> int | Restarted | None:
        """The engine's token counter, None where it has none; runs in a thread of its own, beside ``ask``."""
        if self._model is None:
            return Restarted()
        self._exit_if_dead(None)
        return self._model.progress

    def _exit_if_dead(self, error: Exception | None) -> None:
        """A dead engine in a live process would fail every call: Ray replaces only dead processes.

        One that is out of memory is as good as dead: what it holds by then would fail others' calls as well.
        (A card that is out of memory raises another error, and the engine goes on.)
        """
        sick = self._model is not None and not self._model.healthy
        if sick or isinstance(error, EngineDeadError | MemoryError):
            try:
                log.critical("the engine is dead: the replica exits")
                logging.shutdown()
            finally:
                os._exit(1)

    async def close(self) -> None:
        if self._model is not None:
            await self._model.close()


def _checked(model: Any) -> EngineBase | VerifierBase:
    if not isinstance(model, EngineBase | VerifierBase):
        raise TypeError(f"{type(model).__name__} derives from neither EngineBase nor VerifierBase")
    return model
