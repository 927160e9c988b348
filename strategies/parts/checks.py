"""Rules between knobs: a bad one is a ConfigError that names its key and what is allowed.

The annotation of a knob states what it may be (``orchestrator.schema``).
"""

from __future__ import annotations

from orchestrator.errors import ConfigError
from orchestrator.types import Denoising


def require(holds: bool, knob: str, value: object, allowed: str) -> None:
    """Raise ConfigError for ``strategy.<knob>`` unless the condition holds."""
    if not holds:
        raise ConfigError(f"strategy.{knob}", value, allowed)


def threshold_fits(params: Denoising) -> None:
    """Raise ConfigError for a threshold on a confidence that is not in [0, 1]."""
    bounded = params.remasking in ("low_confidence", "topk_margin")
    allowed = "needs a confidence in [0, 1]: remasking=low_confidence or topk_margin"
    require(params.threshold is None or bounded, "denoising.threshold", params.threshold, allowed)
