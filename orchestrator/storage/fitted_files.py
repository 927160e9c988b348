"""Files that were fitted to runs, such as calibrations and plans: JSON with a kind and a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.storage.atomic import write_json
from orchestrator.storage.json_reading import BadJson, read_object

KIND, DIGEST = "kind", "digest"


def digest_text(value: Any) -> str:
    """Return a digest of a JSON value: a word, as configurations of strangers may hold."""
    text = json.dumps(value, sort_keys=True, default=str)
    return f"blake2b_{hashlib.blake2b(text.encode(errors='backslashreplace'), digest_size=8).hexdigest()}"


def write_fitted(path: Path, kind: str, content: Mapping[str, Any]) -> None:
    """Write a fitted file, atomically. Raises ConfigError where it cannot be written."""
    whole = {KIND: kind, **content}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {**whole, DIGEST: digest_text(whole)})
    except OSError as failure:
        raise ConfigError("to", path, f"cannot be written: {failure.strerror}") from None


def read_fitted(path: Path, kind: str, key: str) -> dict[str, Any]:
    """Read a fitted file. Raises ConfigError where it is none of this kind, or has changed."""
    try:
        value = read_object(path)
    except FileNotFoundError:
        raise ConfigError(key, path, "is no file") from None
    except OSError as failure:
        raise ConfigError(key, path, f"cannot be read: {failure.strerror}") from None
    except BadJson as failure:
        raise ConfigError(key, path, str(failure)) from None
    return check_fitted(value, kind, key, path)


def check_fitted(value: Mapping[str, Any], kind: str, key: str, source: object) -> dict[str, Any]:
    """Return the content of a fitted file, checked as ``read_fitted`` does."""
    if value.get(KIND) != kind:
        raise ConfigError(key, source, f"is no {kind}: its kind is {value.get(KIND)}")
    content = {name: item for name, item in value.items() if name != DIGEST}
    if value.get(DIGEST) != digest_text(content):
        raise ConfigError(
            key, source, f"has changed since it was written (its digest differs): fit a new {kind}"
        )
    return dict(value)
