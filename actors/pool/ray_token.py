"""Ray's token, for its owner alone: whoever reads it may run code on the Ray that it guards.

Ray 2.60 makes it with the permissions of any file, 0644 as a rule; a file that is there already it takes.
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
    """Makes the token that a new Ray will look for, or takes from others what they may do with it.

    What RAY_AUTH_TOKEN holds is in no file. A file that cannot be made or changed is Ray's affair; a token
    that others can read all the same is told in a warning.
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
    """Whole or not at all, and never over one that another process has made meanwhile."""
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
    """Whoever has read it knows it: the warning says how to have another."""
    path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o077)
    log.warning("Ray's token %s could be read by others, and now cannot: remove it to have a new one", path)
