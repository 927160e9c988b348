"""A digest of a model's files, by which a resumed run notices that the model has changed.

Importing this file loads no heavy library.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from actors.checkpoints.models import resolve_model

_READ = {".json", ".safetensors", ".gguf", ".jinja", ".model", ".txt", ".py"}
"""What loaders read; a model card or a log may change."""

WHOLE_BYTES = 128 * 2**20
"""Folders up to this size are read whole, which takes well under a second."""

_NUM_SAMPLES = 512
_SAMPLE_BYTES = 4096
_HEAD_BYTES = 2**20


def digest_of(model: str, revision: str | None = None, *, file: str = "config.json") -> str | None:
    """Return a digest of the model that ``model`` names: equal digests, equal models. None if unknown.

    A folder gives ``sha256:...`` over the names, sizes and contents of the files that loaders read. Of a
    folder above ``WHOLE_BYTES`` only each file's beginning (with the header of safetensors) and evenly spread
    samples are read, which takes about a second at most. Training and quantising change every sample; a
    single changed number may be missed. A repository of the hub gives ``commit:...``, the commit that the
    cache holds for ``revision``, or None where it has not been downloaded yet; ``file`` is one that it has.

    >>> digest_of("embedded:chain-policy") == digest_of("embedded:chain-policy")
    True
    """
    path = Path(resolve_model(model)) if model else None
    if path is None or not path.exists():
        return _commit(model, revision, file)
    try:
        return f"sha256:{_of_files(path)}"
    except OSError:
        return None


def _of_files(path: Path) -> str:
    files = {path.name: path} if path.is_file() else dict(sorted(_files(path)))
    sizes = {name: file.stat().st_size for name, file in files.items()}
    whole = sum(sizes.values()) <= WHOLE_BYTES
    digest = hashlib.sha256()
    for name, file in files.items():
        digest.update(f"{name}\0{sizes[name]}\0".encode(errors="surrogateescape"))
        for block in _whole(file) if whole else _samples(file, sizes[name], _NUM_SAMPLES // len(files)):
            digest.update(block)
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files that loaders read, by name: those of the folder, and the shards that an index names."""
    for path in folder.iterdir():
        if path.suffix in _READ and path.is_file() and not path.name.startswith("."):
            yield path.name, path
    for path in folder.glob("additional_chat_templates/*.jinja"):
        yield str(path.relative_to(folder)), path
    for name in _shards(folder / "model.safetensors.index.json"):
        if "/" in name and (folder / name).is_file():
            yield name, folder / name


def _shards(index: Path) -> set[str]:
    try:
        return {str(name) for name in json.loads(index.read_bytes())["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()


def _whole(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while block := stream.read(_HEAD_BYTES):
            yield block


def _samples(file: Path, size: int, num_samples: int) -> Iterator[bytes]:
    """The file's beginning, and evenly spread blocks of the rest, the last one at its end."""
    with file.open("rb") as stream:
        yield stream.read(_HEAD_BYTES)
        span = size - _HEAD_BYTES - _SAMPLE_BYTES
        for i in range(num := max(4, num_samples)):
            if span > 0:
                stream.seek(_HEAD_BYTES + span * i // (num - 1))
                yield stream.read(_SAMPLE_BYTES)


def _commit(model: str, revision: str | None, file: str) -> str | None:
    """The commit that the hub's cache holds for a repository's revision."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision):
        return f"commit:{revision}"
    try:
        path = try_to_load_from_cache(model, file, revision=revision)
    except (HFValidationError, OSError):
        return None
    return f"commit:{Path(path).parent.name}" if isinstance(path, str) else None
