"""Long arithmetic chains: sixteen operations, each of which the shipped policy may get wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from orchestrator.tasks.chain import ChainTask

NUM_STEPS = 16


@dataclass(frozen=True, slots=True)
class LongChainTask(ChainTask):
    """Arithmetic chains of sixteen operations as a task: 10,000 problems a split."""

    id_prefix: ClassVar[str] = "long-chain"
    num_operations: ClassVar[int] = NUM_STEPS
