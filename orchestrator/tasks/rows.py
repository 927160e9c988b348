"""Rows of a dataset: a JSON Lines or Parquet file, a folder of them, or a dataset on the hub."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from orchestrator.errors import ConfigError, nearest

SUFFIXES = (".jsonl", ".json", ".parquet")
# Where the hub keeps every dataset as Parquet, whatever its authors uploaded: SUBSET/SPLIT/0000.parquet.
HUB_PARQUET = "refs/convert/parquet"
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from. ``subset`` and ``split`` choose among the files of a folder or of the hub."""

    path: str
    subset: str | None = None
    split: str | None = None
    revision: str | None = None

    @property
    def is_local(self) -> bool:
        """A name of the hub is ``owner/name``; everything else is a file or a folder here."""
        is_path = self.path.startswith(("/", ".", "~")) or Path(self.path).suffix in SUFFIXES
        return is_path or Path(self.path).exists() or self.path.count("/") != 1


@lru_cache(maxsize=8)
def read_rows(source: Source) -> tuple[Row, ...]:
    """Every row, in the order of the files. Raises ConfigError that names ``task.path`` and what to do."""
    files = _local_files(source) if source.is_local else _hub_files(source)
    rows = [row for file in files for row in _read_file(file, source)]
    if not rows:
        raise ConfigError("task.path", source.path, "holds no rows")
    return tuple(rows)


def field_of(row: Row, name: str, key: str) -> Any:
    """The field ``name`` of a row; a dot goes into a nested one. Raises ConfigError for ``key``."""
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            known = list(value) if isinstance(value, Mapping) else []
            hint = nearest(part, known) or f"; the rows have {', '.join(map(str, known)) or 'nothing below'}"
            raise ConfigError(key, name, f"no such field{hint}")
        value = value[part]
    return value


def _local_files(source: Source) -> list[Path]:
    path = Path(source.path).expanduser()
    if path.is_file():
        if path.suffix not in SUFFIXES:
            raise ConfigError("task.path", source.path, f"must end with one of {', '.join(SUFFIXES)}")
        return [path]
    if not path.is_dir():
        allowed = (
            "no such file or folder; give a .jsonl or .parquet file, or a dataset on the hub (owner/name)"
        )
        raise ConfigError("task.path", source.path, allowed)
    below = path / source.subset if source.subset and (path / source.subset).is_dir() else path
    files = [f for f in sorted(below.rglob("*")) if f.suffix in SUFFIXES and _is_of_split(f, source.split)]
    if not files:
        raise ConfigError("task.split", source.split, f"no {', '.join(SUFFIXES)} file of it in {below}")
    return files


def _is_of_split(file: Path, split: str | None) -> bool:
    """``test.jsonl``, ``test-00000-of-00001.parquet`` and ``test/0000.parquet`` are of the split ``test``."""
    return split is None or split == file.parent.name or file.stem.split("-")[0] == split


def _hub_files(source: Source) -> list[Path]:
    """The split's Parquet files, from the hub or its cache here."""
    import huggingface_hub
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    pattern = f"{source.subset or 'default'}/{source.split or 'train'}/*.parquet"
    revision = source.revision or HUB_PARQUET
    try:
        folder = huggingface_hub.snapshot_download(
            source.path, repo_type="dataset", revision=revision, allow_patterns=[pattern]
        )
    except Exception as failure:  # OSError, and the client's own
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
    if file.suffix == ".parquet":
        return _read_parquet(file)
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json":
            rows = json.loads(text)
        else:
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    except ValueError as failure:  # of the text's encoding too
        raise ConfigError("task.path", source.path, f"{file.name} is no JSON: {failure}") from None
    except OSError as failure:
        raise ConfigError("task.path", file, f"cannot be read: {failure.strerror}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError("task.path", source.path, f"{file.name} must hold objects, one a row")
    return rows


def _read_parquet(file: Path) -> Sequence[Row]:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError:
        allowed = "Parquet files need pyarrow: pip install 'murmuration[data]', or give a .jsonl file"
        raise ConfigError("task.path", file, allowed) from None
    try:
        # A single file: its folders are no partitions. No threads: this process may be about to fork Ray.
        rows: list[Row] = parquet.ParquetFile(file).read(use_threads=False).to_pylist()
    except Exception as failure:
        raise ConfigError("task.path", file, f"is no Parquet file: {failure}") from failure
    return rows
