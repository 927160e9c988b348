"""An engine that gets into every trouble there is, on demand: the first word of a question says which."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import ConfigError, EngineDeadError
from orchestrator.protocols import (
    Completion,
    EngineBase,
    Failure,
    GenerateRequest,
    Loglik,
    LoglikRequest,
    ModelInfo,
)
from orchestrator.testing import FakeEngine


@dataclass(frozen=True)
class Coin:
    """A language of two letters and an early end, whatever the question."""

    def __call__(self, question: str, prefix: str) -> Mapping[str, float]:
        return {"a\n": 0.5, "b\n": 0.3, "": 0.2}


def engine() -> FakeEngine:
    """The same engine without the trouble, to compare with."""
    return FakeEngine(Coin())


@dataclass
class TroubledEngine(EngineBase):
    """Trouble that comes ``once`` leaves a file in ``folder``; so does every cancelled call."""

    folder: Path
    healthy: bool = True
    progress: int = 0
    inner: FakeEngine = field(default_factory=engine)

    @property
    def info(self) -> ModelInfo:
        return self.inner.info

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        for request in requests:
            await self._meet(request.question)
        replies = await self.inner.generate(requests)
        self.progress = self.inner.usage.generated_tokens
        return replies

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]:
        return await self.inner.loglik(requests)

    async def close(self) -> None:
        (self.folder / f"closed-{os.getpid()}").touch()
        if (self.folder / "slow-close").exists():
            await asyncio.sleep(3600)

    async def _meet(self, question: str) -> None:
        trouble, _, name = question.partition(" ")
        if trouble.endswith("-once"):
            if not self._first(name or trouble):
                return
            trouble = trouble.removesuffix("-once")
        await getattr(self, f"_{trouble}", self._peace)(name)

    def _first(self, name: str) -> bool:
        """Whether this is the first time, over all replicas and their lives."""
        try:
            (self.folder / name).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    async def _peace(self, name: str) -> None:
        return None

    async def _raise(self, name: str) -> None:
        raise RuntimeError(f"cannot do {name}")

    async def _exit(self, name: str) -> None:
        """Dies after a moment, so that its neighbours are in flight with it."""
        with (self.folder / "deaths").open("a") as file:
            file.write(f"{name}\n")
        await asyncio.sleep(0.2)
        os._exit(1)

    async def _dead(self, name: str) -> None:
        raise EngineDeadError("the engine core is gone")

    async def _sick(self, name: str) -> None:
        self.healthy = False
        await asyncio.sleep(3600)

    async def _hang(self, name: str) -> None:
        await asyncio.sleep(3600)

    async def _block(self, name: str) -> None:
        time.sleep(3600)  # noqa: ASYNC251 - a hang that answers no other call either

    async def _work(self, name: str) -> None:
        """Longer than the timeout, but with tokens all the while."""
        for _ in range(20):
            await asyncio.sleep(0.1)
            self.progress += 1

    async def _wait(self, name: str) -> None:
        """Until it is cancelled, and says so."""
        (self.folder / f"{name}-begun").touch()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            (self.folder / f"{name}-cancelled").touch()
            raise

    async def _slow(self, name: str) -> None:
        await asyncio.sleep(0.3)


def refuse_configuration() -> FakeEngine:
    raise ConfigError("engine.model", Path("/nonexistent"), "must be a folder or a model's name")


def refuse() -> FakeEngine:
    raise ValueError("no such weights")


def die() -> FakeEngine:
    os._exit(1)


def load_slowly(seconds: float) -> FakeEngine:
    time.sleep(seconds)
    return engine()
