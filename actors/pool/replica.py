"""One engine or verifier, called by method name and watched by a pulse, wherever it runs."""

from __future__ import annotations

import asyncio
import logging
import os
import traceback
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from actors.stages import Stage, loading
from orchestrator.errors import ConfigError, EngineDeadError, EngineError, MurmurationError
from orchestrator.protocols import EngineBase, Method, ModelInfo, VerifierBase
from orchestrator.types import Overhead

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReplicaInfo:
    """A replica that has made its engine, or failed to: then ``error`` says why, and the rest is empty.

    ``trace`` is then all that is known about it. ``incarnation`` differs between the process before a restart
    and the one after it.
    """

    pid: int
    incarnation: str
    node_id: str
    model: ModelInfo = ModelInfo()
    template_notes: Mapping[str, str] = field(default_factory=dict)
    error: MurmurationError | None = None
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Raised:
    """The whole call raised: the exception as text, so that none must survive pickling.

    ``member`` names the replica, which is avoided at the next attempt.
    """

    type: str
    message: str
    member: str | None = None


@dataclass(frozen=True, slots=True)
class Restarted:
    """The reply of a process without an engine: it replaced a dead one, or is still making its first.

    ``doing`` says what it does meanwhile; empty until ``ready`` is called.
    """

    doing: str = ""


class Replica:
    """Holds one engine or verifier, which ``make`` makes.

    The engine is made by ``ready``, not by the constructor, so that an error in making it is a reply and not
    an endless loop of restarts. ``die`` is called when the engine is beyond repair.
    """

    def __init__(self, make: Callable[[], Any], node_id: str, die: Callable[[], object]) -> None:
        self._make_model = make
        self._node_id = node_id
        self._die = die
        self._incarnation = uuid.uuid4().hex
        self._model: EngineBase | VerifierBase | None = None
        self._error: MurmurationError | None = None
        self._trace = ""
        self._stage: Stage | None = None

    async def ready(self) -> ReplicaInfo:
        """Make the engine at the first call, and describe it."""
        if self._model is None and self._error is None:
            self._make()
        who = (os.getpid(), self._incarnation, self._node_id)
        if self._model is None:
            return ReplicaInfo(*who, error=self._error, trace=self._trace)
        return ReplicaInfo(*who, self._model.info, dict(self._model.template_notes))

    def _make(self) -> None:
        try:
            with loading() as self._stage:
                self._model = _checked(self._make_model())
        except ConfigError as error:
            self._error = ConfigError(error.key, str(error.value), error.allowed)
        except Exception as error:
            log.exception("the engine could not be made")
            has_words = isinstance(error, EngineError)
            self._error = EngineError(str(error) if has_words else f"{type(error).__name__}: {error}")
            self._trace = traceback.format_exc()

    async def ask(self, method: Method, requests: Sequence[Any]) -> list[Any] | Raised | Restarted:
        """Return the replies of ``engine.<method>(requests)``, as many as there are requests."""
        return await self.guarded(method, lambda: self.answer(method, requests))

    async def answer(self, method: Method, requests: Sequence[Any]) -> list[Any]:
        replies: list[Any] = await getattr(self._model, method)(requests)
        if len(replies) != len(requests):
            raise EngineError(f"{len(requests)} requests got {len(replies)} replies")
        return replies

    async def guarded(self, method: Method, work: Callable[[], Awaitable[T]]) -> T | Raised | Restarted:
        """Return what ``work`` returns, or what it raised, as a value."""
        if self._model is None:
            return Restarted()
        try:
            return await work()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - it becomes a value, and fails no other call
            try:
                log.exception("%s raised", method)
            finally:  # there may be no memory left for a line
                self._die_if_sick(error)
            return Raised(type(error).__name__, str(error))

    async def release(self, home: str) -> Overhead:
        """Forget a problem that has ended, and return what the engine discarded for it."""
        return await self._model.release(home) if isinstance(self._model, EngineBase) else Overhead()

    async def pulse(self) -> int | Restarted | None:
        """Return the engine's token counter, None where it has none; also while the engine is being made."""
        if self._model is None:
            return Restarted(str(self._stage or ""))
        self._die_if_sick(None)
        return self._model.progress

    def _die_if_sick(self, error: Exception | None) -> None:
        """Exit where the engine is dead: it would fail every call, and only dead replicas are replaced.

        One that is out of memory counts as dead: what it holds by then would fail other calls as well. (A
        card that is out of memory raises another error, and the engine continues.)
        """
        sick = self._model is not None and not self._model.healthy
        if sick or isinstance(error, EngineDeadError | MemoryError):
            try:
                log.critical("the engine is dead: the replica exits")
            finally:
                self._die()

    async def close(self) -> None:
        if self._model is not None:
            await self._model.close()


def _checked(model: Any) -> EngineBase | VerifierBase:
    if not isinstance(model, EngineBase | VerifierBase):
        raise TypeError(f"{type(model).__name__} derives from neither EngineBase nor VerifierBase")
    return model
