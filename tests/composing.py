"""Cheaper compositions: most of the quick level's time was Hydra's, and half of that was spent twice.

What a run composes is unchanged, which tests/test_composing.py shows. Processes that tests start have Hydra
as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from copy import deepcopy
from dataclasses import replace
from functools import wraps
from typing import Any

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
from hydra._internal.hydra import Hydra
from hydra.plugins.config_source import ConfigResult

_kept: dict[Hashable, ConfigResult] = {}


def compose_cheaply() -> None:
    """Let Hydra read a file again only after it has changed, and compose a command line once, not twice."""
    for source in (FileConfigSource, ImportlibResourcesConfigSource):
        source.load_config = _read_once(source.load_config)  # type: ignore[method-assign]
    Hydra.get_mode = _mode_where_it_is_set(Hydra.get_mode)  # type: ignore[method-assign]


def _read_once(read: Callable[..., ConfigResult]) -> Callable[..., ConfigResult]:
    @wraps(read)
    def load_config(source: Any, config_path: str) -> ConfigResult:
        key = (source.scheme(), source.provider, source.path, config_path, _state_of(source, config_path))
        if key not in _kept:
            _kept[key] = read(source, config_path)
        kept = _kept[key]  # Hydra takes the list of defaults out of what it is given
        return replace(kept, config=deepcopy(kept.config), header=dict(kept.header))

    return load_config


def _state_of(source: Any, config_path: str) -> Hashable:
    """Return what changes with a file; nothing for one of a package."""
    if source.scheme() != "file":
        return None
    name = config_path if config_path.endswith(".yaml") else f"{config_path}.yaml"
    try:
        state = os.stat(os.path.join(source.path, name))
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns


def _mode_where_it_is_set(get_mode: Callable[..., Any]) -> Callable[..., Any]:
    """Compose only where an argument may set ``hydra.mode``; no file of ``conf/`` does, so it is None."""

    @wraps(get_mode)
    def mode(hydra: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        return get_mode(hydra, config_name, overrides) if any("mode" in o for o in overrides) else None

    return mode
