"""Hydra as a function: arguments in, what is made of the composed configuration out."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import env_override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from orchestrator.config.build import GROUPS
from orchestrator.config.files import CONF
from orchestrator.config.flags import flags_first
from orchestrator.config.spelling import quote
from orchestrator.dotted import entries
from orchestrator.errors import ConfigError
from orchestrator.storage.folders import FreeFolders
from orchestrator.suggest import nearest

VERSION_BASE = "1.3"
# With these Hydra only composes: it makes no folder and writes no file.
WRITE_NOTHING = ("hydra.output_subdir=null", "hydra.run.dir=.")
T = TypeVar("T")


def _as_given(folder: str) -> str:
    return folder


OmegaConf.register_new_resolver("free_folder", _as_given, replace=True)


@contextmanager
def folders_claimed() -> Iterator[None]:
    """Make folders that are named by the time unique inside the block: no other run has them."""
    folders = FreeFolders()
    OmegaConf.register_new_resolver("free_folder", folders.claim, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("free_folder", _as_given, replace=True)
        folders.release()


def with_config(
    arguments: Sequence[str],
    use: Callable[[DictConfig], T],
    name: str = "config",
    figure: Callable[[T], float | None] = lambda value: None,
) -> list[T]:
    """Return ``use(configuration)`` for a command line, called inside Hydra: ``HydraConfig`` is set.

    ``name`` is the file of ``conf/`` that is composed. ``figure`` is what another sweeper gets of each value,
    to maximise it.

    One value; none if the arguments request something else (``--cfg``), several under another sweeper.
    Raises Hydra's errors, and the first of ``use``.
    """
    values: list[T] = []
    failures: list[Exception] = []

    def task(config: DictConfig) -> float | None:
        try:
            values.append(use(config))
            return figure(values[-1])
        except Exception as failure:  # noqa: BLE001 - raised below: Hydra would print its own lines
            failures.append(failure)
            return None

    given, sys.argv = sys.argv, [sys.argv[0], *_without_record(arguments)]
    try:
        with env_override({"HYDRA_FULL_ERROR": "1"}):  # errors are raised here instead of being printed
            hydra.main(version_base=VERSION_BASE, config_path=str(CONF), config_name=name)(task)()
    finally:
        sys.argv = given
    if failures:
        raise failures[0]
    return values


def _without_record(arguments: Sequence[str]) -> list[str]:
    """Add what keeps Hydra from writing its record: ``hydra_record`` writes that for a run."""
    is_set = any(a.lstrip("+~").startswith("hydra.output_subdir=") for a in arguments)
    is_multirun = bool({"-m", "--multirun"}.intersection(arguments))  # under another sweeper
    return flags_first([*arguments, *(() if is_set or is_multirun else ("hydra.output_subdir=null",))])


def only_composed(arguments: Sequence[str], use: Callable[[DictConfig], T], name: str = "config") -> T:
    """Return ``use(configuration)`` as in ``with_config``, for one configuration; nothing is written."""
    (value,) = with_config([*arguments, *WRITE_NOTHING], use, name)
    return value


def known_keys(arguments: Sequence[str] = (), name: str = "config") -> list[str]:
    """Return every dotted key of the configuration with the groups that these arguments choose.

    If it cannot be composed with them, those of the default configuration without the chosen groups.
    """
    groups = [a for a in arguments if _chooses(a.partition("=")[0].lstrip("+"))]
    with _shipped():
        try:
            return _keys(hydra.compose(name, [*groups, *_search_path(arguments)]))
        except (HydraException, OmegaConfBaseException, ValueError):  # the last for a group that is null
            chosen = {re.split("[/@=]", group.lstrip("+"))[0] for group in groups}
            keys = _keys(hydra.compose(name))
            return [key for key in keys if key.partition(".")[0] not in chosen or key in chosen]


def chosen_node(group: str, name: str) -> dict[str, Any]:
    """Return the node of one of the shipped files of a group, as a run with the default groups has it.

    Raises ConfigError where there is no such file, or where it leaves a key open, such as a model's name.
    """
    names = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    if name not in names:
        raise ConfigError(group, name, f"must be one of {', '.join(names)}{nearest(name, names)}")
    with _shipped():
        config = hydra.compose("config", [f"{group}={name}"])
    if open_keys := sorted(OmegaConf.missing_keys(config[group])):
        allowed = f"must be given: write a configuration in place of the name {name!r}"
        raise ConfigError(f"{group}.{open_keys[0]}", None, allowed)
    node = OmegaConf.to_container(config[group], resolve=True)
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.items()}


def each_choice(
    group: str, fixed: Sequence[str], arguments: Sequence[str]
) -> Iterator[tuple[str, DictConfig | Exception]]:
    """Yield every choice of a group with the configuration composed for it, or why it cannot be composed.

    ``fixed`` are further overrides; ``arguments`` say which folders of configurations there are.
    """
    added = [*fixed, *_search_path(arguments)]
    with _shipped():
        folder = GlobalHydra.instance().config_loader()
        for name in folder.get_group_options(group):
            try:
                yield name, hydra.compose("config", [*added, f"{group}={name}"])
            except (HydraException, OmegaConfBaseException) as failure:
                yield name, failure


@contextmanager
def _shipped() -> Iterator[None]:
    """Let Hydra compose the shipped configuration inside the block, even while it composes another."""
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(version_base=VERSION_BASE, config_dir=str(CONF)):
            yield
    finally:
        GlobalHydra.instance().hydra = outer  # the instance may be a new one: Hydra replaces it by a copy


def _chooses(key: str) -> bool:
    """Return whether a key chooses a file: of a group, or of a group below one (``task/prompt``)."""
    return re.split("[/@]", key)[0] in (*GROUPS, "experiment") and "." not in key.partition("@")[0]


def _search_path(arguments: Sequence[str]) -> list[str]:
    """Return the folder of ``--config-dir`` as an override."""
    flags = ("-cd", "--config-dir")
    split = [word for a in arguments for word in (a.split("=", 1) if a.startswith(flags) else [a])]
    folders = [
        folder for flag, folder in itertools.pairwise(split) if flag in flags and Path(folder).is_dir()
    ]
    return [f"hydra.searchpath=[{quote(f'file://{Path(folder).absolute()}')}]" for folder in folders[-1:]]


def _keys(config: DictConfig) -> list[str]:
    return [key for key, _ in entries(OmegaConf.to_container(config, resolve=False))]
