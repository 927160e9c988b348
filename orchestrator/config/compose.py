"""Hydra as a function: arguments in, whatever is made of the composed configuration out."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

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
from orchestrator.storage.folders import FreeFolders

VERSION_BASE = "1.3"
# Hydra then only composes: it makes no folder and writes no file.
_WRITE_NOTHING = ("hydra.output_subdir=null", "hydra.run.dir=.")
T = TypeVar("T")


def _as_wanted(wanted: str) -> str:
    return wanted


OmegaConf.register_new_resolver("free_folder", _as_wanted, replace=True)


@contextmanager
def folders_claimed() -> Iterator[None]:
    """Within, a folder that the configuration names by the time is one that no other run has."""
    folders = FreeFolders()
    OmegaConf.register_new_resolver("free_folder", folders.claim, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("free_folder", _as_wanted, replace=True)
        folders.release()


def with_config(arguments: Sequence[str], use: Callable[[DictConfig], T]) -> list[T]:
    """``use(configuration)`` for what a command line stands for, inside Hydra: ``HydraConfig`` is set.

    One value; none where the arguments ask for something else (``--cfg``), several under another sweeper
    than ours. Raises Hydra's errors, and the first of ``use``.
    """
    values: list[T] = []
    failures: list[Exception] = []

    def task(config: DictConfig) -> None:
        try:
            values.append(use(config))
        except Exception as failure:  # noqa: BLE001 - raised below: Hydra would print lines of its own
            failures.append(failure)

    given, sys.argv = sys.argv, [sys.argv[0], *_without_record(arguments)]
    try:
        with env_override({"HYDRA_FULL_ERROR": "1"}):  # errors come to us instead of being printed
            hydra.main(version_base=VERSION_BASE, config_path=str(CONF), config_name="config")(task)()
    finally:
        sys.argv = given
    if failures:
        raise failures[0]
    return values


def _without_record(arguments: Sequence[str]) -> list[str]:
    """The arguments with Hydra kept from writing its record: ``hydra_record`` does that for a run."""
    is_set = any(a.lstrip("+~").startswith("hydra.output_subdir=") for a in arguments)
    is_multirun = bool({"-m", "--multirun"}.intersection(arguments))  # under another sweeper than ours
    return flags_first([*arguments, *(() if is_set or is_multirun else ("hydra.output_subdir=null",))])


def only_composed(arguments: Sequence[str], use: Callable[[DictConfig], T]) -> T:
    """``use(configuration)`` as ``with_config`` has it, for one configuration, and nothing is written."""
    (value,) = with_config([*arguments, *_WRITE_NOTHING], use)
    return value


def known_keys(arguments: Sequence[str] = ()) -> list[str]:
    """Every dotted key of the configuration with the groups that these arguments choose.

    Where it cannot be composed with them, of the default configuration without the groups that are chosen.
    """
    groups = [a for a in arguments if _chooses(a.partition("=")[0].lstrip("+"))]
    with _shipped():
        try:
            return _keys(hydra.compose("config", [*groups, *_search_path(arguments)]))
        except (HydraException, OmegaConfBaseException, ValueError):  # the last for a group that is null
            chosen = {re.split("[/@=]", group.lstrip("+"))[0] for group in groups}
            keys = _keys(hydra.compose("config"))
            return [key for key in keys if key.partition(".")[0] not in chosen or key in chosen]


@contextmanager
def _shipped() -> Iterator[None]:
    """Within, Hydra composes the shipped configuration, also while it is at work on another."""
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(version_base=VERSION_BASE, config_dir=str(CONF)):
            yield
    finally:
        GlobalHydra.instance().hydra = outer  # another instance than before: Hydra puts a copy in its place


def _chooses(key: str) -> bool:
    """Whether a key chooses a file: of a group, or of a group below one (``task/prompt``)."""
    return re.split("[/@]", key)[0] in (*GROUPS, "experiment") and "." not in key.partition("@")[0]


def _search_path(arguments: Sequence[str]) -> list[str]:
    """The folder of ``--config-dir``, as an override."""
    flags = ("-cd", "--config-dir")
    split = [word for a in arguments for word in (a.split("=", 1) if a.startswith(flags) else [a])]
    folders = [
        folder for flag, folder in itertools.pairwise(split) if flag in flags and Path(folder).is_dir()
    ]
    return [f"hydra.searchpath=[{quote(f'file://{Path(folder).absolute()}')}]" for folder in folders[-1:]]


def _keys(config: DictConfig) -> list[str]:
    return [key for key, _ in entries(OmegaConf.to_container(config, resolve=False))]
