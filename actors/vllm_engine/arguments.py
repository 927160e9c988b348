"""Arguments that go to vLLM as they are, checked by name without importing it."""

from __future__ import annotations

import ast
import importlib.util
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.suggest import nearest

_CLASSES = ("EngineArgs", "AsyncEngineArgs")
# Arguments that a key of ours sets, or that the way an engine is asked leaves no choice about.
_OURS = {
    "model": "model",
    "dtype": "dtype",
    "max_model_len": "max_context",
    "revision": "revision",
    "trust_remote_code": "trust_remote_code",
    "tensor_parallel_size": "gpus",
    "runner": None,
    "pooler_config": None,
    "logprobs_mode": None,
    "skip_tokenizer_init": None,
}


# Where vLLM reads weights from. The others (auto among them) fall back to pickles, which may run code.
_SAFE_FORMATS = (
    "safetensors", "fastsafetensors", "instanttensor", "runai_streamer", "runai_streamer_sharded",
    "sharded_state", "tensorizer", "mistral", "dummy",
)  # fmt: skip


# Arguments that may be a folder or a file, or a name that is none.
_PATHS = frozenset({"tokenizer", "hf_config_path", "generation_config", "download_dir", "model", "lora_path"})


@cache
def argument_names() -> frozenset[str] | None:
    """The fields of vLLM's AsyncEngineArgs, read from its source; None where vLLM is not installed.

    Importing it takes seconds, and what a command line says is to be checked before anything loads.
    """
    package = importlib.util.find_spec("vllm")
    if package is None or package.origin is None:
        return None
    source = (Path(package.origin).parent / "engine" / "arg_utils.py").read_text(encoding="utf-8")
    classes = [
        node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name in _CLASSES
    ]
    fields = [node for cls in classes for node in cls.body if isinstance(node, ast.AnnAssign)]
    return frozenset(node.target.id for node in fields if isinstance(node.target, ast.Name))


def absolute_paths(args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with files and folders here by their whole paths; in mappings inside them too."""
    return {name: _absolute(name, value) for name, value in args.items()}


def _absolute(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return absolute_paths(value)
    if not isinstance(value, str):
        return value
    is_path = value.startswith(("./", "../", "~/")) or (name in _PATHS and os.path.exists(value))
    return os.path.abspath(os.path.expanduser(value)) if is_path else value


def check_arguments(group: str, args: Mapping[str, Any]) -> None:
    """Raise ConfigError for an argument that vLLM does not have, or that has a key of ours.

    Where vLLM is not installed names are left for the replica to check: it may be elsewhere.
    """
    names = argument_names()
    for name, value in args.items():
        key = f"{group}.args.{name}"
        if name in _OURS:
            ours = _OURS[name]
            raise ConfigError(key, value, f"set {group}.{ours}" if ours else "is set by the way vLLM is used")
        if name == "load_format" and value not in (None, *_SAFE_FORMATS):
            why = " (vLLM loads no GGUF by itself any more)" if value == "gguf" else ""
            raise ConfigError(key, value, f"must be one of {', '.join(_SAFE_FORMATS)}{why}")
        if names is not None and name not in names:
            hint = nearest(name, names.difference(_OURS)) or "; its EngineArgs lists them"
            raise ConfigError(key, value, f"vLLM has no such argument{hint}")
