"""The shipped configuration files: where they are, and what is read from them without Hydra."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

_PACKAGE = Path(__file__).resolve().parents[1]
# Installed, the files are in the package; in a checkout they are beside it.
CONF = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())
TARGET = "_target_"


def replay_selector() -> dict[str, Any]:
    """Return the node of ``conf/replay.yaml`` that selects again among the candidates of a run."""
    return {str(key): value for key, value in _read(CONF / "replay.yaml")["selector"].items()}


@cache
def trace_words() -> Mapping[str, Sequence[str]]:
    """Return the words of ``conf/traces.yaml`` by the name of their list."""
    return {str(name): [str(word) for word in words] for name, words in _read(CONF / "traces.yaml").items()}


@cache
def shipped_strategies() -> frozenset[str]:
    """Return the classes that the files of the group ``strategy`` name."""
    nodes = map(_read, (CONF / "strategy").glob("*.yaml"))
    return frozenset(str(node[TARGET]) for node in nodes if TARGET in node)


@cache
def shipped_targets() -> frozenset[str]:
    """Return every class that a file of the groups names."""
    return frozenset(target for path in CONF.rglob("*.yaml") for target in targets_of(_read(path)))


def targets_of(value: Any) -> Iterator[str]:
    """Yield the classes that a configuration names, at any depth."""
    if isinstance(value, Mapping):
        if TARGET in value:
            yield str(value[TARGET])
        for item in value.values():
            yield from targets_of(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from targets_of(item)


def _read(path: Path) -> dict[Any, Any]:
    node = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(node, dict)
    return node
