"""Hydra's own record of a run, ``.hydra/`` in its directory.

Hydra itself would write it before the directory is checked: through any link that is there, and with any
secret that a file holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.storage.atomic import write_atomically

if TYPE_CHECKING:
    from omegaconf import DictConfig

HYDRA = ".hydra"


def hydra_record(config: DictConfig) -> Mapping[str, str]:
    """Return the texts of the files by their names, for a configuration that Hydra has just composed."""
    from hydra.core.hydra_config import HydraConfig  # the library has no use for Hydra, which takes long
    from omegaconf import OmegaConf

    hydra = HydraConfig.get()
    return {
        "config.yaml": OmegaConf.to_yaml(config),
        "hydra.yaml": OmegaConf.to_yaml(OmegaConf.create({"hydra": hydra})),
        "overrides.yaml": OmegaConf.to_yaml(hydra.overrides.task),
    }


def write_record(run_dir: Path, record: Mapping[str, str]) -> None:
    """Write the files. Raises OSError."""
    folder = run_dir / HYDRA
    folder.mkdir(exist_ok=True)
    for name, text in record.items():
        write_atomically(folder / name, text)
