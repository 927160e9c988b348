"""The arguments of vLLM's engine: the user's, and the ones that suit this machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from actors.checkpoints.adapters import Adapter
from actors.checkpoints.models import resolve_model
from actors.messages import brief
from actors.pool.placement import GPUS_VARIABLE
from actors.vllm_engine.arguments import num_stages
from actors.vllm_engine.config import VllmEngineConfig, VllmVerifierConfig
from orchestrator.errors import ConfigError
from orchestrator.schema import group_of

# The smallest block of the cache that vLLM takes on any CPU: a step's prefix is computed again from its last
# whole block on. With an explicit cache size vLLM neither takes most of the memory nor runs the model to
# measure it. A worker in a separate process would take longer to start, and to reach at every token.
_ON_CPU: Mapping[str, Any] = {
    "distributed_executor_backend": "uni",
    "block_size": 32,
    "enforce_eager": True,
    "kv_cache_memory_bytes": 2 * 2**30,
}
# Smaller blocks where the kernel has them. A worker extension that the user sets is kept.
_SMALL_BLOCKS: Mapping[str, Any] = {
    "block_size": 16,
    "worker_extension_cls": "actors.vllm_engine.blocks.SmallBlocks",
}
# A seeded request whose prompt is read in parts kills the engine there (0.32: it rewinds the seed's generator
# and "CPU Generator does not use offset"): prompts are read whole.
_SEEDS_ON_CPU: Mapping[str, Any] = {"enable_chunked_prefill": False}
_TENSOR, _PIPELINE = "tensor_parallel_size", "pipeline_parallel_size"
# The workers of a replica use the bundles of its placement group, of one card each.
_WORKERS_OF_RAY = {"distributed_executor_backend": "ray"}
# The part of a whole card that vLLM would use; a share of a card gets that share of it.
_MEMORY_OF_A_CARD = 0.9


VllmConfig = VllmEngineConfig | VllmVerifierConfig


@dataclass(frozen=True, slots=True)
class Purpose:
    """What vLLM is used for, beside its configuration.

    ``fixed`` are engine arguments that the caller depends on. ``checks`` are called with the tokenizer before
    vLLM starts, and raise ConfigError. With ``by_position`` a token depends on its request's seed and its
    place only (``positions``).
    """

    fixed: Mapping[str, Any] = field(default_factory=dict)
    by_position: bool = False
    checks: Sequence[Callable[[Any], object]] = ()


def engine_args(config: VllmConfig, fixed: Mapping[str, Any], adapter: Adapter | None = None) -> Any:
    """Return vLLM's arguments; ``dtype`` auto is float32 on a CPU. Raises ConfigError."""
    from vllm import AsyncEngineArgs
    from vllm.platforms import current_platform

    on_cpu = current_platform.is_cpu()
    if config.batch_invariant and on_cpu:
        raise ConfigError(f"{group_of(config)}.batch_invariant", "true", "vLLM has no such mode on a CPU")
    given = {
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "load_format": "safetensors",
        **(
            _of_cores(config.dtype, config.args, fixed)
            if on_cpu
            else _of_cards(group_of(config), config.args)
        ),
        **(_of_adapter(adapter) if adapter is not None else {}),
        **{name: value for name, value in config.args.items() if value is not None},
        **fixed,
        "model": resolve_model(config.model),
        "dtype": "float32" if on_cpu and config.dtype == "auto" else config.dtype,
        "max_model_len": config.max_context,
        "revision": config.revision,
        "trust_remote_code": config.trust_remote_code,
    }
    try:
        return AsyncEngineArgs(**given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{group_of(config)}.args", dict(config.args), brief(error)) from None


def _of_adapter(adapter: Adapter) -> dict[str, Any]:
    """Return the use of one adapter; vLLM takes some ranks, and fills the others up."""
    from vllm.config.lora import MaxLoRARanks

    ranks = sorted(get_args(MaxLoRARanks))
    enough = next((rank for rank in ranks if rank >= adapter.rank), None)
    if enough is None:
        raise adapter.refused(f"has rank {adapter.rank}, and vLLM takes at most {ranks[-1]}")
    return {"enable_lora": True, "max_loras": 1, "max_lora_rank": enough}


def _of_cores(dtype: str, args: Mapping[str, Any], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Return what suits a CPU; with several workers each has its process."""
    alone = all((args.get(name) or 1) == 1 for name in (_TENSOR, _PIPELINE))
    fitting = {k: v for k, v in _ON_CPU.items() if alone or k != "distributed_executor_backend"}
    if alone and _has_small_blocks(dtype, args):
        fitting |= _SMALL_BLOCKS
    return fitting if fixed.get("runner") == "pooling" else {**fitting, **_SEEDS_ON_CPU}


def _has_small_blocks(dtype: str, args: Mapping[str, Any]) -> bool:
    """Return whether blocks of 16 cost nothing here: in bfloat16 they prevent the use of AMX."""
    import torch

    if platform.machine() not in ("x86_64", "AMD64") or args.get("worker_extension_cls"):
        return False
    return dtype in ("auto", "float32") or not torch.cpu._is_amx_tile_supported()


def _of_cards(group: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the use of cards: a share of one, or several: those of a stage hold a part of each layer.

    Raises ConfigError where the arguments need other cards than the replica has.
    """
    gpus, stages, size = num_gpus(), num_stages(group, args), args.get(_TENSOR)
    whole = max(1, int(gpus))
    if size is not None and size * stages > whole:
        allowed = f"the replica has {gpus:g} GPUs: set cluster.{group}_gpus={size * stages}"
        raise ConfigError(f"{group}.args.{_TENSOR}", size, allowed)
    if whole % stages:
        allowed = f"the replica has {gpus:g} GPUs: set cluster.{group}_gpus to a multiple of it"
        raise ConfigError(f"{group}.args.{_PIPELINE}", stages, allowed)
    if whole > 1:
        return ({_TENSOR: whole // stages} if size is None else {}) | _WORKERS_OF_RAY
    return {"gpu_memory_utilization": _MEMORY_OF_A_CARD * gpus} if gpus else {}


def num_gpus() -> float:
    """Return the GPUs that the replica has reserved; outside of a replica, one."""
    return float(os.environ.get(GPUS_VARIABLE, "1"))
