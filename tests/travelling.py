"""An engine that exists only in a job's upload: a test copies this file there as ``actors/travelling.py``.

A replica that has built one has found its code in the upload. It writes that to the file ``$TRAVELLING_LOG``,
and answers each call ``$TRAVELLING_DELAY_S`` seconds later, as a larger model would.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.transformers_engine.config import TransformersEngineConfig
from orchestrator.protocols import EngineBase, ModelInfo

CONF = """
defaults:
  - embedded
  - _self_
_target_: actors.travelling.TravellingEngine
"""


@dataclass(frozen=True)
class TravellingEngine(TransformersEngineConfig):
    """The shipped policy, watched and slowed down."""

    def build(self) -> Any:
        with Path(os.environ["TRAVELLING_LOG"]).open("a") as log:
            log.write(f"{os.getpid()} {__file__}\n")
        return Slow(super().build(), float(os.environ.get("TRAVELLING_DELAY_S", "0")))


class Slow(EngineBase):
    """An engine that takes its time."""

    def __init__(self, engine: EngineBase, delay_s: float) -> None:
        self._engine, self._delay_s = engine, delay_s

    @property
    def info(self) -> ModelInfo:
        return self._engine.info

    @property
    def progress(self) -> int | None:
        return self._engine.progress

    async def close(self) -> None:
        await self._engine.close()

    async def generate(self, requests: Sequence[Any]) -> list[Any]:
        await asyncio.sleep(self._delay_s)
        return await self._engine.generate(requests)
