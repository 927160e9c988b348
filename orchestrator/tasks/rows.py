"""Rows of a dataset: a JSON Lines or Parquet file, a folder of them, or a dataset on the hub."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.suggest import nearest
from orchestrator.tasks.json_rows import Row, kind_of, read_json

SUFFIXES = (".jsonl", ".json", ".parquet")
# The hub keeps every dataset as Parquet here, whatever its authors uploaded: SUBSET/SPLIT/0000.parquet.
HUB_PARQUET = "refs/convert/parquet"


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from. ``subset`` and ``split`` choose among the files of a folder or of the hub."""

    path: str
    subset: str | None = None
    split: str | None = None
    revision: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether the path is a local file or folder: all but ``owner/name``, which is a name of the hub."""
        is_path = self.path.startswith(("/", ".", "~")) or _is_data(Path(self.path))
        return is_path or Path(self.path).exists() or self.path.count("/") != 1


@lru_cache(maxsize=8)
def read_rows(source: Source) -> tuple[Row, ...]:
    """Read every row, in the order of the files. Raises ConfigError that names ``task.path``."""
    files = _local_files(source) if source.is_local else _hub_files(source)
    rows = [row for file in files for row in _read_file(file, source)]
    if not rows:
        raise ConfigError("task.path", source.path, "holds no rows")
    return tuple(rows)


def field_of(row: Mapping[str, Any], name: str, key: str) -> Any:
    """Return the field ``name`` of a row. Raises ConfigError for ``key``.

    A dot goes into a nested one, or with a number into a list: ``answers.0`` is the first of ``answers``.
    """
    value: Any = row
    for part in name.split("."):
        if isinstance(value, list | tuple) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
            continue
        if not isinstance(value, Mapping) or part not in value:
            known = list(value) if isinstance(value, Mapping) else []
            hint = nearest(part, known) or f"; it has {', '.join(map(str, known)) or 'nothing below'}"
            raise ConfigError(key, name, f"no such field in {place_of(row)}{hint}")
        value = value[part]
    return value


def place_of(row: Mapping[str, Any]) -> str:
    """Return where a row is, for a person."""
    return row.place if isinstance(row, Row) else "a row"


def text_of(row: Mapping[str, Any], name: str, key: str) -> str:
    """Return the text or number in the field ``name``. Raises ConfigError where it is neither, or blank."""
    return as_text(field_of(row, name, key), row, name, key)


def as_text(value: object, row: Mapping[str, Any], name: str, key: str) -> str:
    """Return a value of a row's field ``name`` as text, stripped. Raises ConfigError like ``text_of``."""
    if not isinstance(value, str) and not _is_number(value):
        allowed = f"must hold a text or a number; {place_of(row)} has {kind_of(value)}"
        raise ConfigError(key, name, allowed)
    text = str(value).strip()
    if not any(c.isprintable() and not c.isspace() for c in text):
        raise ConfigError(key, name, f"must not be empty; {place_of(row)} has {text!r}")
    if bad := next((c for c in text if c == "\0" or "\ud800" <= c <= "\udfff"), None):
        what = "a NUL character" if bad == "\0" else f"half a surrogate pair (\\u{ord(bad):x})"
        raise ConfigError(key, name, f"must be text; {place_of(row)} has {what} in it")
    return text


def _is_number(value: object) -> bool:
    """Return whether a value is a finite number; a whole one may be larger than any float."""
    if isinstance(value, int):
        return not isinstance(value, bool)
    return isinstance(value, float | Decimal) and math.isfinite(value)


def _is_data(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _local_files(source: Source) -> list[Path]:
    path = Path(source.path).expanduser()
    if path.is_file():
        if not _is_data(path):
            raise ConfigError("task.path", source.path, f"must end with one of {', '.join(SUFFIXES)}")
        return [path]
    if not path.is_dir():
        allowed = (
            "no such file or folder; give a .jsonl or .parquet file, or a dataset on the hub (owner/name)"
        )
        raise ConfigError("task.path", source.path, allowed)
    below = path / source.subset if source.subset and (path / source.subset).is_dir() else path
    shown = (f for f in sorted(below.rglob("*")) if not _is_hidden(f.relative_to(below)))
    files = [f for f in shown if f.is_file() and _is_data(f) and _is_of_split(f, source.split)]
    if not files:
        raise ConfigError("task.split", source.split, f"no {', '.join(SUFFIXES)} file of it in {below}")
    return files


def _is_hidden(path: Path) -> bool:
    """Return whether it is a system's or notebook's file: ``._rows.jsonl``, ``.ipynb_checkpoints/``."""
    return any(part.startswith(".") for part in path.parts)


def _is_of_split(file: Path, split: str | None) -> bool:
    """Return whether a file is of a split: ``test.jsonl``, ``test-0-of-1.parquet``, ``test/0.parquet``."""
    return split is None or split == file.parent.name or file.stem.split("-")[0] == split


def _hub_files(source: Source) -> list[Path]:
    """Fetch the split's Parquet files, from the hub or its local cache."""
    import huggingface_hub
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    pattern = f"{source.subset or 'default'}/{source.split or 'train'}/*.parquet"
    revision = source.revision or HUB_PARQUET
    try:
        folder = huggingface_hub.snapshot_download(
            source.path, repo_type="dataset", revision=revision, allow_patterns=[pattern]
        )
    except Exception as failure:  # OSError, and the client's errors
        reason = str(failure).split("\n")[0]
        allowed = (
            f"cannot be fetched from the hub ({type(failure).__name__}: {reason}); set task.path to a .jsonl "
            "or .parquet file, or fetch it once where there is a network (without HF_HUB_OFFLINE)"
        )
        raise ConfigError("task.path", source.path, allowed) from failure
    files = sorted(Path(folder).glob(pattern))
    if not files:
        there = sorted(
            {f"{f.parent.parent.name}/{f.parent.name}" for f in Path(folder).glob("*/*/*.parquet")}
        )
        known = f"; there are {', '.join(there)}" if there else ""
        raise ConfigError(
            "task.path", source.path, f"has no files {pattern}: see task.subset, task.split{known}"
        )
    return files


def _read_file(file: Path, source: Source) -> Sequence[Row]:
    try:
        if file.suffix.lower() == ".parquet":
            return _read_parquet(file)
        return read_json(file.read_bytes(), file.name)
    except ValueError as failure:
        raise ConfigError("task.path", source.path, str(failure)) from None
    except OSError as failure:
        raise ConfigError("task.path", file, f"cannot be read: {failure.strerror}") from None


def _read_parquet(file: Path) -> Sequence[Row]:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError:
        allowed = "Parquet files need pyarrow: pip install 'murmuration[data]', or give a .jsonl file"
        raise ConfigError("task.path", file, allowed) from None
    try:
        # A single file: its folders are not partitions. No threads: this process may be about to fork Ray.
        rows: list[dict[str, Any]] = parquet.ParquetFile(file).read(use_threads=False).to_pylist()
    except Exception as failure:
        reason = str(failure).split("\n")[0]
        raise ConfigError("task.path", file, f"is no Parquet file: {reason}") from failure
    return [Row(row, f"row {index} of {file.name}") for index, row in enumerate(rows)]
