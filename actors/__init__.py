"""Engines, verifiers, and the pool that runs their replicas.

Each name below is imported on first use: importing this package loads neither Ray nor torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actors.diffusion_engine.config import DiffusionEngineConfig
    from actors.diffusion_engine.engine import DiffusionEngine
    from actors.http_verifier.config import HttpVerifierConfig
    from actors.http_verifier.verifier import HttpVerifier
    from actors.openai_engine.chat import ChatEngine
    from actors.openai_engine.config import OpenAIEngineConfig
    from actors.openai_engine.engine import OpenAIEngine
    from actors.pool.backend import RayCluster
    from actors.pool.inprocess import InProcessCluster
    from actors.pool.placement import ClusterConfig
    from actors.transformers_engine.config import TransformersEngineConfig, TransformersVerifierConfig
    from actors.transformers_engine.engine import TransformersEngine
    from actors.transformers_engine.verifier import TransformersVerifier
    from actors.verifiers.config import (
        GenerativeVerifierConfig,
        LikelihoodVerifierConfig,
    )
    from actors.verifiers.generative import GenerativeVerifier
    from actors.verifiers.likelihood import LikelihoodVerifier
    from actors.vllm_engine.config import VllmEngineConfig, VllmVerifierConfig
    from actors.vllm_engine.engine import VllmEngine
    from actors.vllm_engine.verifier import VllmVerifier

_MODULES = {
    "actors.diffusion_engine.config": ("DiffusionEngineConfig",),
    "actors.diffusion_engine.engine": ("DiffusionEngine",),
    "actors.http_verifier.config": ("HttpVerifierConfig",),
    "actors.http_verifier.verifier": ("HttpVerifier",),
    "actors.openai_engine.chat": ("ChatEngine",),
    "actors.verifiers.generative": ("GenerativeVerifier",),
    "actors.verifiers.likelihood": ("LikelihoodVerifier",),
    "actors.openai_engine.config": ("OpenAIEngineConfig",),
    "actors.openai_engine.engine": ("OpenAIEngine",),
    "actors.pool.inprocess": ("InProcessCluster",),
    "actors.pool.placement": ("ClusterConfig",),
    "actors.pool.backend": ("RayCluster",),
    "actors.transformers_engine.config": ("TransformersEngineConfig", "TransformersVerifierConfig"),
    "actors.transformers_engine.engine": ("TransformersEngine",),
    "actors.transformers_engine.verifier": ("TransformersVerifier",),
    "actors.verifiers.config": ("GenerativeVerifierConfig", "LikelihoodVerifierConfig"),
    "actors.vllm_engine.config": ("VllmEngineConfig", "VllmVerifierConfig"),
    "actors.vllm_engine.engine": ("VllmEngine",),
    "actors.vllm_engine.verifier": ("VllmVerifier",),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "ChatEngine",
    "ClusterConfig",
    "DiffusionEngine",
    "DiffusionEngineConfig",
    "GenerativeVerifier",
    "GenerativeVerifierConfig",
    "HttpVerifier",
    "HttpVerifierConfig",
    "InProcessCluster",
    "LikelihoodVerifier",
    "LikelihoodVerifierConfig",
    "OpenAIEngine",
    "OpenAIEngineConfig",
    "RayCluster",
    "TransformersEngine",
    "TransformersEngineConfig",
    "TransformersVerifier",
    "TransformersVerifierConfig",
    "VllmEngine",
    "VllmEngineConfig",
    "VllmVerifier",
    "VllmVerifierConfig",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return __all__
