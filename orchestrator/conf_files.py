"""The configuration files that are shipped: where they are, and the one that is read without Hydra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

CONF = Path(__file__).resolve().parents[1] / "conf"
TARGET = "_target_"


def replay_rules() -> dict[str, Any]:
    """What ``conf/replay.yaml`` knows of strategies: who chooses again, and whose samples are independent."""
    rules = OmegaConf.to_container(OmegaConf.load(CONF / "replay.yaml"))
    assert isinstance(rules, dict)
    return {str(key): node for key, node in rules.items()}
