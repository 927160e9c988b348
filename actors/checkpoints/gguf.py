"""A model in one GGUF file, which transformers de-quantises. Light: no heavy library is loaded."""

from __future__ import annotations

import os
from pathlib import Path

from actors.checkpoints.models import resolve_model


def gguf_file(model: str) -> Path | None:
    """Return the GGUF file that ``model`` names; None where it names something else."""
    path = Path(resolve_model(model))
    return path if path.suffix == ".gguf" and os.path.isfile(path) else None
