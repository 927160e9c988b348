"""The names of models: where their files are, and whether they can be loaded. Light, as ``files``."""

from __future__ import annotations

import os
from pathlib import Path

from actors.checkpoints.files import (
    INDEX,
    INDEX_SUFFIX,
    check_folder,
    check_gguf,
    check_index,
    check_tokenizer_folder,
    named_weights,
)
from orchestrator.errors import ConfigError
from orchestrator.suggest import nearest

EMBEDDED = "embedded:"
GGUF = "gguf"
"""The kind of a model that may be a GGUF file."""
WEIGHTS = Path(__file__).parents[1] / "embedded" / "weights"


def resolve_model(model: str) -> str:
    """Return the folder or the hub name that ``model`` means: ``embedded:NAME`` is a shipped model."""
    if model.startswith(EMBEDDED):
        return str(WEIGHTS / model.removeprefix(EMBEDDED))
    return os.path.expanduser(model) if model.startswith("~") else model


def task_of(model: str) -> str | None:
    """Return the only task that a shipped model knows (``chain`` for embedded:chain-policy); None: any."""
    return model.removeprefix(EMBEDDED).rpartition("-")[0] if model.startswith(EMBEDDED) else None


def check_model_path(key: str, model: str, kind: str = "folder") -> None:
    """Raise ConfigError for ``key`` when ``model`` names a local folder that holds no model.

    With the ``kind`` GGUF it may be such a file, where the packages that read it are installed.

    A name of the hub is not looked up: the hub may be unreachable and the model in its cache.
    """
    folder = Path(resolve_model(model))
    if model.startswith(EMBEDDED):
        shipped = sorted(f"{EMBEDDED}{p.parent.name}" for p in WEIGHTS.glob("*/config.json"))
        if model not in shipped:
            raise ConfigError(key, model, f"no such shipped model{nearest(model, shipped)}")
    elif not model:
        raise ConfigError(key, model, "must name a model: a folder, or a repository on the hub")
    elif kind == GGUF and folder.suffix == ".gguf" and os.path.isfile(folder):
        check_gguf(key, model, folder)
    elif is_a_path(model):
        check_folder(key, model, folder)


def check_tokenizer_path(key: str, name: str) -> None:
    """Raise ConfigError for ``key`` when ``name`` names a local folder that holds no tokenizer."""
    if is_a_path(name) and not name.startswith(EMBEDDED):
        check_tokenizer_folder(key, name, Path(resolve_model(name)))


def absolute(name: str) -> str:
    """Return the absolute path of a local folder: a replica may have another working directory."""
    if name.startswith(EMBEDDED) or not is_a_path(name):
        return name
    return os.path.abspath(os.path.expanduser(name))


def make_absolute(config: object, *names: str) -> None:
    """Make the fields of a frozen configuration that name local folders absolute."""
    for name in names:
        if isinstance(value := getattr(config, name), str):
            object.__setattr__(config, name, absolute(value))


def is_a_path(name: str) -> bool:
    """Return whether a name can only be a local path, or is an existing one."""
    looks_so = name.startswith(("/", ".", "~")) or name.endswith(".gguf")
    return looks_so or (bool(name) and os.path.exists(resolve_model(name)))  # Path's raises for long names


def check_repository(key: str, name: str, revision: str | None) -> None:
    """Raise ConfigError where a repository of the hub names weights that are not safetensors.

    Local folders have been checked before. Fetches the two files that could name weights.
    """
    if os.path.exists(name):
        return
    from transformers.utils.hub import cached_file

    def find(file: str) -> Path | None:
        found = cached_file(name, file, revision=revision, _raise_exceptions_for_missing_entries=False)
        return None if found is None else Path(found)

    config = find("config.json")
    named = named_weights(config, key, name) if config is not None else None
    for index in {INDEX, *([named] if named and named.endswith(INDEX_SUFFIX) else [])}:
        if (path := find(index)) is not None:
            check_index(key, name, path)
