"""What holds for every test: no network, no telemetry, one thread, and the same verdict twice."""

from __future__ import annotations

import os
import tempfile

# Set before torch, Ray or a hub client is imported, and inherited by the processes that tests start. A value
# from outside wins.
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray's new behaviour; without it every start warns about the old one.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Float sums must not depend on the machine's cores, nor one test starve another.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
if "XDG_STATE_HOME" not in os.environ:  # where run directories' signing key is: not the user's own
    _state = tempfile.TemporaryDirectory(prefix="murmuration-state-")
    os.environ["XDG_STATE_HOME"] = _state.name
for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

from hypothesis import settings  # noqa: E402 - the environment comes first

# A verdict must be about the tree, not about the draw or how busy the machine is.
settings.register_profile("house", derandomize=True, deadline=None)
settings.load_profile("house")
