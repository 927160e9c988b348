"""Ray's token, readable by its owner only: any user who reads it may run code on the Ray that it guards.

Ray 2.60 creates it with default permissions, usually 0644, and uses a file that exists as it is.
"""

from __future__ import annotations

import logging
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

_TOKEN_BYTES = 32  # as Ray's own generator


def keep_token_private() -> None:
    """Make the token that a new Ray will look for, or remove the permissions of others on it.

    A token in RAY_AUTH_TOKEN is in no file. A file that cannot be made or changed is left to Ray; a token
    that others can still read is reported in a warning.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token" or os.environ.get("RAY_AUTH_TOKEN"):
        return
    given = os.environ.get("RAY_AUTH_TOKEN_PATH")
    try:
        path = Path(given) if given else Path.home() / ".ray" / "auth_token"
        if not given and not path.exists():
            _make(path)
        if path.exists() and path.stat().st_mode & 0o077:
            _tighten(path)
    except (OSError, RuntimeError) as failure:
        log.warning("Ray's token: %s; others on this machine may be able to read it", failure)


def _make(path: Path) -> None:
    """Write it atomically, and never over one that another process has made since."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(_TOKEN_BYTES))
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _tighten(path: Path) -> None:
    """Remove the permissions of others; the warning says how to get a new token."""
    path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o077)
    log.warning("Ray's token %s could be read by others, and now cannot: remove it to get a new one", path)
