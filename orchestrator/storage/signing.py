"""Signatures show which run directories the user has written.

As Jupyter signs notebooks: an HMAC-SHA256 over command.json and config.json with a key that only the user
has, in signature.json. It stays valid where the directory is moved or copied.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from orchestrator.errors import ConfigError
from orchestrator.storage.atomic import write_json
from orchestrator.storage.json_reading import MAX_FILE_BYTES, BadJson, parse_object
from orchestrator.storage.plain_files import open_to_read
from orchestrator.storage.run_files import COMMAND, CONFIG
from orchestrator.terminal import warn

SIGNATURE = "signature.json"
KEY_FILE = "signing_key"
_SIGNED = (COMMAND, CONFIG)
_KEY_BYTES = 32
_DOMAIN = b"murmuration run directory 1"


class UnsafeKeyError(Exception):
    """The key cannot be used; the message is the reason."""


def key_path() -> Path:
    """Return the key's path in XDG_STATE_HOME (``~/.local/state``). Raises UnsafeKeyError without a home."""
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():
        try:
            state = Path.home() / ".local" / "state"
        except RuntimeError as failure:
            raise UnsafeKeyError(str(failure)) from None
    return state / "murmuration" / KEY_FILE


def signed_bytes(run_dir: Path) -> dict[str, bytes]:
    """Read the files of a directory that its signature covers, as far as they exist.

    The bytes that are checked must be the bytes that are used: a folder may change in between. Raises
    ConfigError for a link, and OSError.
    """
    found = {}
    for name in _SIGNED:
        with suppress(FileNotFoundError), open_to_read(run_dir / name) as file:
            found[name] = file.read(MAX_FILE_BYTES + 1)
    return found


def is_own(run_dir: Path, files: Mapping[str, bytes]) -> bool:
    """Return whether the user's key has signed exactly these files of a directory."""
    try:
        with open_to_read(run_dir / SIGNATURE) as file:
            stored = parse_object(file.read(2**16)).get("hmac_sha256")
        key = _read_key(key_path())
    except (OSError, BadJson, UnsafeKeyError, ConfigError):
        return False
    expected = _signature(key, files)
    return isinstance(stored, list) and any(isinstance(s, str) and _equal(s, expected) for s in stored)


def sign(run_dir: Path, files: Mapping[str, bytes]) -> None:
    """Write the signature of files that are about to be written, command.json first.

    It is valid before config.json exists, too: a process may be killed between the two. Where the key cannot
    be stored, a warning says so, and the directory stays unsigned. Raises OSError where signature.json cannot
    be written.
    """
    try:
        key = _key()
    except (OSError, UnsafeKeyError, ConfigError) as failure:
        warn(f"{run_dir}: is not signed: {failure}; resuming it may require trust=true (docs/security.md)")
        return
    names = [name for name in _SIGNED if name in files]
    parts = [names[: i + 1] for i in range(len(names))]
    signatures = [_signature(key, {name: files[name] for name in part}) for part in parts]
    write_json(run_dir / SIGNATURE, {"hmac_sha256": signatures})


def _signature(key: bytes, files: Mapping[str, bytes]) -> str:
    parts = [_DOMAIN]
    for name in _SIGNED:
        data = files.get(name)
        parts.append(f"{name} {-1 if data is None else len(data)}".encode() + b"\n" + (data or b""))
    return hmac.digest(key, b"\n".join(parts), "sha256").hex()


def _equal(stored: str, expected: str) -> bool:
    return hmac.compare_digest(stored.encode(errors="replace"), expected.encode())


def _key() -> bytes:
    """Return the user's key, created at its first use. Raises OSError and UnsafeKeyError."""
    path = key_path()
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_key(path)
    return _read_key(path)


def _make_key(path: Path) -> None:
    """Write a new key whole or not at all, and never over another process's key."""
    temporary = path.with_name(f".{KEY_FILE}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _read_key(path: Path) -> bytes:
    """Read the key. Raises UnsafeKeyError where another user may have read or written it."""
    folder = path.parent.stat()
    with open_to_read(path) as file:
        status = os.fstat(file.fileno())
        key = file.read(_KEY_BYTES + 1)
    mine = {status.st_uid, folder.st_uid} == {os.geteuid()}
    if not mine or stat.S_IMODE(status.st_mode) & 0o077 or stat.S_IMODE(folder.st_mode) & 0o022:
        raise UnsafeKeyError(f"{path} must be yours alone (0600, in a folder of 0700): remove it")
    if len(key) != _KEY_BYTES:
        raise UnsafeKeyError(f"{path} is no key of {_KEY_BYTES} bytes: remove it")
    return key
