"""What vLLM's engine is told: its own arguments, and the ones that suit this machine."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from actors.checkpoint_files import brief
from actors.loading import check_model_path, resolve_model
from actors.placement import GPUS_VARIABLE
from actors.vllm_arguments import check_arguments
from orchestrator.errors import ConfigError

# The smallest block of the cache that vLLM takes on any CPU: a step's prefix is computed again from its last
# whole block on. With an explicit cache vLLM neither takes most of the memory nor runs the
# model to measure it.
# A worker in a process of its own would take longer to start, and to reach at every token.
_ON_CPU: Mapping[str, Any] = {
    "distributed_executor_backend": "uni",
    "block_size": 32,
    "enforce_eager": True,
    "kv_cache_memory_bytes": 2 * 2**30,
}
# Smaller ones still, where the kernel has them. A worker of the user's own is left as it is.
_SMALL_BLOCKS: Mapping[str, Any] = {
    "block_size": 16,
    "worker_extension_cls": "actors.vllm_blocks.SmallBlocks",
}
# A seeded request whose prompt is read in parts kills the engine there (0.32: it winds the seed's generator
# back, and "CPU Generator does not use offset"): prompts are read whole.
_SEEDS_ON_CPU: Mapping[str, Any] = {"enable_chunked_prefill": False}
_PARALLEL = ("tensor", "pipeline")
# The workers of a replica take the bundles of its placement group, of one card each.
_WORKERS_OF_RAY = {"distributed_executor_backend": "ray"}
# What vLLM would take of a card that it has for itself; a share of a card is that share of it.
_MEMORY_OF_A_CARD = 0.9


@dataclass(frozen=True, slots=True)
class VllmOptions:
    """What vLLM is started with; ``group`` is the place in the configuration, for error messages.

    ``dtype`` auto is float32 on a CPU and the checkpoint's own elsewhere. ``args`` are vLLM's own engine
    arguments, ``fixed`` those that the caller depends on. ``checks`` are called with the tokenizer before
    vLLM starts, and raise ConfigError. With ``by_position`` a token depends on its request's seed and its
    place alone (``vllm_positions``).
    """

    group: str
    model: str
    dtype: str = "auto"
    max_context: int | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    batch_invariant: bool = False
    args: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    by_position: bool = False
    checks: Sequence[Callable[[Any], object]] = ()


def check_options(options: VllmOptions) -> None:
    """Whatever can be known to be wrong without importing vLLM. Raises ConfigError."""
    check_model_path(f"{options.group}.model", options.model)
    check_arguments(options.group, options.args)


def engine_args(options: VllmOptions) -> Any:
    from vllm import AsyncEngineArgs
    from vllm.platforms import current_platform

    on_cpu = current_platform.is_cpu()
    if options.batch_invariant and on_cpu:
        raise ConfigError(f"{options.group}.batch_invariant", "true", "vLLM has no such mode on a CPU")
    given = {
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "load_format": "safetensors",
        **(_of_cores(options) if on_cpu else _of_cards(options)),
        **{name: value for name, value in options.args.items() if value is not None},
        **options.fixed,
        "model": resolve_model(options.model),
        "dtype": "float32" if on_cpu and options.dtype == "auto" else options.dtype,
        "max_model_len": options.max_context,
        "revision": options.revision,
        "trust_remote_code": options.trust_remote_code,
    }
    try:
        return AsyncEngineArgs(**given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{options.group}.args", dict(options.args), brief(error)) from None


def _of_cores(options: VllmOptions) -> dict[str, Any]:
    """What suits a CPU; with several workers each has a process of its own."""
    alone = all((options.args.get(f"{kind}_parallel_size") or 1) == 1 for kind in _PARALLEL)
    fitting = {k: v for k, v in _ON_CPU.items() if alone or k != "distributed_executor_backend"}
    if alone and _has_small_blocks(options):
        fitting |= _SMALL_BLOCKS
    return fitting if options.fixed.get("runner") == "pooling" else {**fitting, **_SEEDS_ON_CPU}


def _has_small_blocks(options: VllmOptions) -> bool:
    """Whether vLLM's attention takes blocks of 16 here at no cost: in bfloat16 they keep it from AMX."""
    import torch

    if platform.machine() not in ("x86_64", "AMD64") or options.args.get("worker_extension_cls"):
        return False
    return options.dtype in ("auto", "float32") or not torch.cpu._is_amx_tile_supported()


def _of_cards(options: VllmOptions) -> dict[str, Any]:
    """How much of which cards: a share of one, or several that hold a part of each layer.

    Raises ConfigError where the arguments ask for more cards than the replica has.
    """
    gpus = num_gpus()
    asked = [options.args.get(f"{kind}_parallel_size") for kind in _PARALLEL]
    if any(size is not None for size in asked):
        num_cards = math.prod(size or 1 for size in asked)
        if num_cards > max(1, int(gpus)):
            key = f"{options.group}.args.{_PARALLEL[0]}_parallel_size"
            allowed = f"the replica has {gpus:g} GPUs: set cluster.{options.group}_gpus={num_cards}"
            raise ConfigError(key, asked[0], allowed)
        return _WORKERS_OF_RAY if num_cards > 1 else {}
    if gpus > 1:
        return {"tensor_parallel_size": int(gpus)} | _WORKERS_OF_RAY
    return {"gpu_memory_utilization": _MEMORY_OF_A_CARD * gpus} if gpus else {}


def num_gpus() -> float:
    """What the replica has reserved; outside of a replica, one card."""
    return float(os.environ.get(GPUS_VARIABLE, "1"))
