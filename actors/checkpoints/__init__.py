"""The files of a model: where they are, whether they are whole, and their digest.

Importing this package loads no heavy library.
"""

from actors.checkpoints.models import EMBEDDED, WEIGHTS, check_model_path, resolve_model

__all__ = ["EMBEDDED", "WEIGHTS", "check_model_path", "resolve_model"]
