"""The ``.eval`` archives of inspect_ai: a zip file with ``header.json`` and one file a sample.

inspect_ai compresses them with Zstandard, which Python's ``zipfile`` reads from 3.14 on: here pyarrow does.
Archives are written with Deflate, which every version of inspect_ai reads.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from orchestrator.errors import ConfigError
from orchestrator.exchange.rows import KEY
from orchestrator.storage.atomic import json_bytes, write_lines
from orchestrator.storage.json_reading import MAX_FILE_BYTES, BadJson, parse_object
from orchestrator.storage.plain_files import open_to_read

SUFFIX = ".eval"
_SAMPLES, _HEADER, _SUMMARIES = "samples/", "header.json", "summaries.json"
_ZSTANDARD = 93  # method of the zip format (APPNOTE 4.4.5)
_LOCAL_HEADER = struct.Struct("<26xHH")  # the lengths of the name and of the extra field
_MAX_ENTRIES = 1_000_000
# The last two: another method of compression, an encrypted entry.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, RuntimeError)


def read_archive(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the name and the value of each sample. Raises ConfigError for a damaged archive."""
    try:
        with open_to_read(path) as file, zipfile.ZipFile(file) as archive:
            entries = [e for e in archive.infolist() if e.filename.startswith(_SAMPLES)]
            if len(entries) > _MAX_ENTRIES:
                raise ConfigError(KEY, path, f"has more than {_MAX_ENTRIES:,} samples")
            for entry in entries:
                yield entry.filename, parse_object(_content(archive, file, entry, path))
    except BadJson as failure:
        raise ConfigError(KEY, path, str(failure)) from None
    except _DAMAGED as failure:
        raise ConfigError(KEY, path, f"is no whole archive: {failure}") from None


def _content(archive: zipfile.ZipFile, file: BinaryIO, entry: zipfile.ZipInfo, path: Path) -> bytes:
    if entry.file_size > MAX_FILE_BYTES:
        raise ConfigError(KEY, path, f"{entry.filename} has more than {MAX_FILE_BYTES // 2**20} MiB")
    if entry.compress_type == _ZSTANDARD:
        return _zstandard(_packed(file, entry), entry, path)
    with archive.open(entry) as opened:
        return opened.read(MAX_FILE_BYTES + 1)


def _packed(file: BinaryIO, entry: zipfile.ZipInfo) -> bytes:
    """Return an entry as it is in the file."""
    file.seek(entry.header_offset)
    name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    file.seek(name + extra, 1)
    return file.read(min(entry.compress_size, MAX_FILE_BYTES))


def _zstandard(packed: bytes, entry: zipfile.ZipInfo, path: Path) -> bytes:
    try:
        import pyarrow as pa
    except ModuleNotFoundError:
        allowed = "needs pyarrow: pip install 'murmuration[data]', or: inspect log convert --to json"
        raise ConfigError(KEY, path, allowed) from None
    try:
        content = pa.decompress(packed, entry.file_size, codec="zstd", asbytes=True)
    except (pa.ArrowException, OSError, ValueError) as failure:
        reason = str(failure).partition("\n")[0]
        raise ConfigError(KEY, path, f"{entry.filename} cannot be decompressed: {reason}") from None
    if zlib.crc32(content) != entry.CRC:
        raise ConfigError(KEY, path, f"{entry.filename} is damaged")
    return bytes(content)


def write_archive(path: Path, log: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> None:
    """Write an archive, atomically. Raises OSError with the file's name."""
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in _entries(log, samples):
            archive.writestr(name, value)
    write_lines(path, [packed.getvalue()])


def _entries(log: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, bytes]]:
    for sample in samples:
        yield f"{_SAMPLES}{sample['id']}_epoch_{sample['epoch']}.json", json_bytes(sample)
    yield _SUMMARIES, _array([_summary(sample) for sample in samples])
    yield _HEADER, json_bytes(log)


def _summary(sample: Mapping[str, Any]) -> dict[str, Any]:
    return {name: sample[name] for name in ("id", "epoch", "input", "target", "scores")}


def _array(values: Sequence[Mapping[str, Any]]) -> bytes:
    return b"[" + b",".join(json_bytes(value, indent=None).rstrip(b"\n") for value in values) + b"]"
