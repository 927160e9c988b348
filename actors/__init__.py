"""What runs on the cluster: engines, verifiers and the pool that places them.

Each name below is imported when it is first used: importing this package loads neither Ray nor torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actors.diffusion_config import DiffusionEngineConfig
    from actors.diffusion_engine import DiffusionEngine
    from actors.generative_verifier import GenerativeVerifier
    from actors.inprocess import InProcessCluster
    from actors.likelihood_verifier import LikelihoodVerifier
    from actors.openai_config import OpenAIEngineConfig
    from actors.openai_engine import OpenAIEngine
    from actors.placement import ClusterConfig
    from actors.pool_backend import RayCluster
    from actors.transformers_config import TransformersEngineConfig, TransformersVerifierConfig
    from actors.transformers_engine import TransformersEngine
    from actors.transformers_verifier import TransformersVerifier
    from actors.verifier_configs import (
        GenerativeVerifierConfig,
        LikelihoodVerifierConfig,
    )
    from actors.vllm_config import VllmEngineConfig, VllmVerifierConfig
    from actors.vllm_engine import VllmEngine
    from actors.vllm_verifier import VllmVerifier

_MODULES = {
    "actors.diffusion_config": ("DiffusionEngineConfig",),
    "actors.diffusion_engine": ("DiffusionEngine",),
    "actors.generative_verifier": ("GenerativeVerifier",),
    "actors.likelihood_verifier": ("LikelihoodVerifier",),
    "actors.openai_config": ("OpenAIEngineConfig",),
    "actors.openai_engine": ("OpenAIEngine",),
    "actors.inprocess": ("InProcessCluster",),
    "actors.placement": ("ClusterConfig",),
    "actors.pool_backend": ("RayCluster",),
    "actors.transformers_config": ("TransformersEngineConfig", "TransformersVerifierConfig"),
    "actors.transformers_engine": ("TransformersEngine",),
    "actors.transformers_verifier": ("TransformersVerifier",),
    "actors.verifier_configs": ("GenerativeVerifierConfig", "LikelihoodVerifierConfig"),
    "actors.vllm_config": ("VllmEngineConfig", "VllmVerifierConfig"),
    "actors.vllm_engine": ("VllmEngine",),
    "actors.vllm_verifier": ("VllmVerifier",),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "ClusterConfig",
    "DiffusionEngine",
    "DiffusionEngineConfig",
    "GenerativeVerifier",
    "GenerativeVerifierConfig",
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
