"""Reads the file that an offline W&B run leaves: wandb 0.31 ships its messages, but no reader in Python.

After a header of seven bytes it is a LevelDB log (github.com/google/leveldb, doc/log_format.md): blocks of
32 KiB, in each of them pieces of records as ``crc32, length, kind, payload``.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

_BLOCK, _PIECE, _HEADER = 32 * 2**10, struct.Struct("<IHB"), struct.Struct("<4sHB")
_FULL, _LAST = 1, 4


def records(path: Path) -> Iterator[Any]:
    """Every record of a ``.wandb`` file, in order. Raises ValueError where the file is damaged."""
    data, at, parts = path.read_bytes(), _HEADER.size, b""
    if _HEADER.unpack_from(data) != (b":W&B", 0xBEE1, 0):
        raise ValueError(f"{path}: no file of wandb")
    while at + _PIECE.size <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < _PIECE.size:
            at += left
            continue
        crc, length, kind = _PIECE.unpack_from(data, at)
        payload = data[at + _PIECE.size : at + _PIECE.size + length]
        if crc != zlib.crc32(payload, zlib.crc32(bytes([kind]))):
            raise ValueError(f"{path}: damaged at {at}")
        at += _PIECE.size + length
        parts += payload
        if kind in (_FULL, _LAST):
            yield wandb_internal_pb2.Record.FromString(parts)  # type: ignore[attr-defined]
            parts = b""
