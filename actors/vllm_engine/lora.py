"""A LoRA adapter in vLLM: checked before vLLM starts, loaded before the first request, and named in each.

vLLM keeps the matrices beside the weights and computes both at every token. A request whose adapter cannot be
loaded would end the engine's process, so it is loaded by a call of its own.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors.checkpoints.adapters import Adapter, find_adapter, shapes_of
from actors.checkpoints.models import resolve_model
from actors.messages import brief
from actors.vllm_engine.settings import VllmConfig
from orchestrator.errors import ConfigError, EngineDeadError, EngineError
from orchestrator.schema import group_of

_DTYPES = ("float16", "bfloat16")


@dataclass(eq=False, slots=True)
class Lora:
    """The one adapter of an engine, and whether vLLM has loaded it."""

    adapter: Adapter
    request: Any
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _is_loaded: bool = False

    def check(self, vllm_config: Any) -> None:
        """Raise ConfigError where vLLM would refuse the adapter's configuration."""
        self._check_dtype(vllm_config)
        from vllm.lora.peft_helper import PEFTHelper

        longest = vllm_config.model_config.max_model_len
        try:
            helper = PEFTHelper.from_local_dir(str(self.adapter.folder), longest)
            helper.validate_legal(vllm_config.lora_config)
        except (TypeError, ValueError) as error:
            raise self.adapter.refused(f"vLLM: {brief(error)}") from error

    def _check_dtype(self, vllm_config: Any) -> None:
        """vLLM's kernels for a card assert this in its process, which then ends without a reason."""
        dtype = str(vllm_config.model_config.dtype).removeprefix("torch.")
        if vllm_config.device_config.device_type == "cuda" and dtype not in _DTYPES:
            key = self.adapter.key.replace("lora", "dtype")
            raise ConfigError(key, dtype, f"must be {' or '.join(_DTYPES)} with an adapter on a card")

    async def load(self, llm: Any) -> None:
        """Load the adapter, once. Raises EngineError, EngineDeadError."""
        if self._is_loaded:
            return
        async with self._lock:
            if self._is_loaded:
                return
            try:
                await llm.add_lora(self.request)
            except Exception as error:  # vLLM sends a bare one back from its process
                sick = EngineDeadError if llm.errored else EngineError
                adapter = self.adapter
                raise sick(f"{adapter.key}={adapter.value}: vLLM cannot load it: {brief(error)}") from error
            self._is_loaded = True


def prepared(config: VllmConfig) -> Lora | None:
    """Return the adapter of a configuration, or None where it has none. Raises ConfigError."""
    adapter = find_adapter(group_of(config), config.lora)
    if adapter is None:
        return None
    adapter.check_features(dora=False, heads=())
    if os.path.isdir(folder := resolve_model(config.model)):
        adapter.check_fits(config.model, shapes_of(Path(folder)))
    from vllm.lora.request import LoRARequest

    return Lora(adapter, LoRARequest(group_of(config), 1, str(adapter.folder.absolute())))
