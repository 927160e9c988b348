"""Arguments that are passed on to vLLM, checked by name without importing it."""

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
# Arguments that another key sets, or that the way vLLM is used decides.
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


# Arguments that may be a folder, a file or another name.
_PATHS = frozenset({"tokenizer", "hf_config_path", "generation_config", "download_dir", "model", "lora_path"})


@cache
def argument_names() -> frozenset[str] | None:
    """Return the fields of vLLM's AsyncEngineArgs, read from its source; None where it is not installed.

    Importing it takes seconds, and a command line is checked before anything loads.
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


def num_stages(group: str, args: Mapping[str, Any]) -> int:
    """Return the pipeline stages of a replica: 1 without the argument. Raises ConfigError."""
    size = args.get("pipeline_parallel_size")
    if size is None:
        return 1
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        key = f"{group}.args.pipeline_parallel_size"
        raise ConfigError(key, size, "must be a whole number of 1 or more: the stages of a replica")
    return size


def absolute_paths(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments with absolute paths for local files and folders, also in nested mappings."""
    return {name: _absolute(name, value) for name, value in args.items()}


def _absolute(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return absolute_paths(value)
    if not isinstance(value, str):
        return value
    is_path = value.startswith(("./", "../", "~/")) or (name in _PATHS and os.path.exists(value))
    return os.path.abspath(os.path.expanduser(value)) if is_path else value


def check_arguments(group: str, args: Mapping[str, Any]) -> None:
    """Raise ConfigError for an argument that vLLM does not have, or that another key sets.

    Where vLLM is not installed, the replica checks the names: it may be on another machine.
    """
    names = argument_names()
    for name, value in args.items():
        key = f"{group}.args.{name}"
        if name in _OURS:
            ours = _OURS[name]
            raise ConfigError(key, value, f"set {group}.{ours}" if ours else "is set by the way vLLM is used")
        if name == "load_format" and value not in (None, *_SAFE_FORMATS):
            why = " (vLLM no longer loads GGUF)" if value == "gguf" else ""
            raise ConfigError(key, value, f"must be one of {', '.join(_SAFE_FORMATS)}{why}")
        if names is not None and name not in names:
            hint = nearest(name, names.difference(_OURS)) or "; its EngineArgs lists them"
            raise ConfigError(key, value, f"vLLM has no such argument{hint}")
