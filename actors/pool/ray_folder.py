"""The folder for the sockets of a Ray that is started here: their paths are at most 107 bytes long."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from ray._common.utils import get_default_system_temp_dir

from orchestrator.errors import ConfigError

# Of "/ray/session_2026-01-01_12-00-00_123456_4194304/sockets/plasma_store.1", and the lower limit of macOS.
_MOST_BYTES = 103 - 68
_SHORT = ("/tmp", "/var/tmp", "/dev/shm")


class RayFolder:
    """A context: ``path`` is a new short folder for ``ray.init``, None where the usual one is short enough.

    Raises ConfigError for a folder that cannot be written, or too long where no short one can be made.
    """

    def __init__(self) -> None:
        self.path = _short_folder()

    @property
    def environment(self) -> dict[str, str]:
        """The variables for the processes of that Ray: vLLM has sockets too."""
        return {"VLLM_RPC_BASE_PATH": self.path} if self.path else {}

    def __enter__(self) -> RayFolder:
        return self

    def __exit__(self, *_: object) -> None:
        if self.path:
            shutil.rmtree(self.path, ignore_errors=True)


def _short_folder() -> str | None:
    usual: str = get_default_system_temp_dir()  # type: ignore[no-untyped-call]
    variable = next((name for name in ("RAY_TMPDIR", "TMPDIR") if name in os.environ), "TMPDIR")
    _check_writable(variable, usual)
    if len(os.fsencode(os.path.abspath(usual))) <= _MOST_BYTES:
        return None
    for place in _SHORT:
        try:
            return tempfile.mkdtemp(prefix="murmuration-", dir=place)
        except OSError:
            continue
    allowed = f"is too long for Ray's sockets, and none of {', '.join(_SHORT)} can be written"
    raise ConfigError(variable, usual, allowed)


def _check_writable(variable: str, folder: str) -> None:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as failure:
        allowed = f"Ray cannot keep its files there: {failure.strerror}; name another folder"
        raise ConfigError(variable, folder, allowed) from failure
