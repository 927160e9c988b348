"""What the tests compose cheaply is what Hydra composes."""

from __future__ import annotations

import os
from pathlib import Path

import hydra
import pytest
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from orchestrator.config.compose import only_composed
from orchestrator.config.files import CONF
from tests import composing


def all_of(config: DictConfig) -> tuple[str, str]:
    """A configuration as it is written, and Hydra's own part of it."""
    return OmegaConf.to_yaml(config), OmegaConf.to_yaml(HydraConfig.instance().cfg)


def test_a_file_read_before_composes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["experiment=pf_math500", "strategy=astar", "task/prompt=plain", "run_dir=x"]
    cheap = [only_composed(arguments, all_of) for _ in range(2)]
    for source in (composing.FileConfigSource, composing.ImportlibResourcesConfigSource):
        monkeypatch.setattr(source, "load_config", source.load_config.__wrapped__)
    monkeypatch.setattr(Hydra, "get_mode", Hydra.get_mode.__wrapped__)
    plain = only_composed(arguments, all_of)
    assert cheap == [plain, plain]


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    file, there = tmp_path / "config.yaml", []
    for text in ("a: 1\n", "a: 2\n", "b: 12\n"):
        file.write_text(text)
        os.utime(file, ns=(len(there), len(there)))  # whatever the resolution of the file system's clock
        with hydra.initialize_config_dir(str(tmp_path), version_base="1.3"):
            there.append(hydra.compose("config"))
    assert there == [{"a": 1}, {"a": 2}, {"b": 12}]


def test_a_mode_that_is_given_counts() -> None:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        composer = hydra.core.global_hydra.GlobalHydra.instance().hydra
        assert composer is not None
        assert composer.get_mode("config", ["hydra.mode=MULTIRUN"]) is RunMode.MULTIRUN
        assert Hydra.get_mode.__wrapped__(composer, "config", []) is None is composer.get_mode("config", [])
