"""Blocks of 16 tokens in vLLM's cache on a CPU: the incomplete last block of a step is computed again.

vLLM 0.32 takes multiples of 32 there (``CPUAttentionBackend``), though its kernel has a variant for multiples
of 16 (``vec16``, which ``_get_attn_isa`` names for them) and its platform only warns that it may be slower.
With AVX2 it is not, and a search of steps of 12 tokens has 1.3 to 1.5 times the throughput
(``python -m tests.bench.bench_engine``, with and without ``--block-size 32``).

vLLM's worker imports this module by the name of a class, ``worker_extension_cls``, before it makes the cache.
"""

from __future__ import annotations

from typing import Any

from vllm.v1.attention.backend import MultipleOf
from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend
from vllm.v1.attention.backends.registry import AttentionBackendEnum, register_backend


@register_backend(AttentionBackendEnum.CPU_ATTN)
class SmallBlockAttention(CPUAttentionBackend):  # type: ignore[misc]  # vLLM is Any to mypy
    """vLLM's attention on a CPU, with every block size that its kernel supports."""

    @staticmethod
    def get_supported_kernel_block_sizes(kv_cache_spec: Any = None) -> list[int | MultipleOf]:
        return [MultipleOf(16)]


class SmallBlocks:
    """An empty extension of vLLM's worker: importing this module is enough."""
