"""vLLM engines that all tests share: each takes some tens of seconds to start."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import pytest

from actors.vllm_engine.config import VllmEngineConfig, VllmVerifierConfig
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

_END_TIMEOUT_S = 60.0
SMALL = {"max_num_seqs": 64, "kv_cache_memory_bytes": 2**27}


class Elsewhere(EngineBase, VerifierBase):
    """An engine or a verifier on an event loop of its own: tests that each have another loop can share it."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.inner: Any = self._submit(_made(build)).result()

    @property
    def info(self) -> ModelInfo:
        info: ModelInfo = self.inner.info
        return info

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        replies: list[Completion | Failure] = await self._there(self.inner.generate(requests))
        return replies

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]:
        replies: list[Loglik | Failure] = await self._there(self.inner.loglik(requests))
        return replies

    async def encode(self, texts: Sequence[str]) -> list[tuple[int, ...] | Failure]:
        ids: list[tuple[int, ...] | Failure] = await self._there(self.inner.encode(texts))
        return ids

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        replies: list[ScoreReply | Failure] = await self._there(self.inner.score(requests))
        return replies

    async def close(self) -> None:
        """Nothing: others may still need it."""

    def end(self) -> None:
        self._submit(self.inner.close()).result(_END_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _there(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of work on the other loop; cancelling this cancels that."""
        return await asyncio.wrap_future(self._submit(work))

    def _submit(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop)


async def _made(build: Callable[[], Any]) -> Any:
    return build()


@pytest.fixture(scope="session")
def vllm_policy() -> Iterator[Elsewhere]:
    """The shipped policy of the chain task."""
    engine = Elsewhere(VllmEngineConfig("embedded:chain-policy", args=SMALL).build)
    yield engine
    engine.end()


@pytest.fixture(scope="session")
def vllm_verifier() -> Iterator[Elsewhere]:
    """The shipped verifier of the chain task."""
    verifier = Elsewhere(VllmVerifierConfig("embedded:chain-verifier", args=SMALL).build)
    yield verifier
    verifier.end()
