"""The replies of one model in a folder: lines that several runs append, each to a file of its own.

``model.json`` says which model they are of. A line is one reply, in the format of a journal, under the digest
of its request; it is passed to the operating system at once, in one write, and outlives this process. No two
runs write one file, so that no lock is needed; what another run adds is found by the next one.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.errors import ConfigError
from orchestrator.protocols import Completion, Loglik, ModelInfo, ScoreReply
from orchestrator.storage.appending import OpenFiles
from orchestrator.storage.atomic import write_json
from orchestrator.storage.journal_lines import Record, read_record, write_record
from orchestrator.storage.json_reading import read_object
from orchestrator.storage.plain_files import check_folder, open_to_read

log = logging.getLogger(__name__)

MODEL = "model.json"
KEY = "cassette"
Reply = Completion | ScoreReply | Loglik
_BEFORE_KEY = b'"request":"'
_BAD = (ValueError, KeyError, TypeError, AttributeError)  # what a damaged line raises


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a reply's line is."""

    path: Path
    offset: int
    size: int


class Tape:
    """The replies of one model, by key. Raises ConfigError where its folder is none, or holds links.

    Lines that are damaged or cut short are as good as missing: their requests are sent again.
    """

    def __init__(self, folder: Path) -> None:
        check_folder(folder)
        self._folder = folder
        self._places: dict[str, _Place] = {}
        self._own = folder / f"{os.getpid()}-{secrets.token_hex(8)}.jsonl"
        self._files = OpenFiles()
        self._size = 0
        self._num_damaged = 0
        self._is_full = False
        for path in sorted(folder.glob("*.jsonl")):
            self._scan(path)

    def _scan(self, path: Path) -> None:
        """Note where the lines of a file are; they are read once they are requested."""
        offset = 0
        with open_to_read(path) as file:
            for line in file:
                if (key := _key_of(line)) is not None:
                    self._places[key] = _Place(path, offset, len(line))
                else:
                    self._damaged(path)
                offset += len(line)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def info(self) -> ModelInfo | None:
        """What the model promised when it was recorded; None before that."""
        try:
            return msgspec.convert(read_object(self._folder / MODEL)["info"], ModelInfo)
        except FileNotFoundError:
            return None
        except (OSError, *_BAD) as failure:
            allowed = f"its {MODEL} was not written by Murmuration: {failure}"
            raise ConfigError(KEY, self._folder, allowed) from None

    def begin(self, model: Mapping[str, Any], info: ModelInfo) -> None:
        """Say whose replies these are, unless the folder does. Raises ConfigError where it cannot be made."""
        if self.info is not None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_json(self._folder / MODEL, {**model, "info": msgspec.to_builtins(info)})
        except OSError as failure:
            raise ConfigError(KEY, self._folder, f"cannot be written: {failure.strerror}") from None

    def find(self, key: str) -> Reply | None:
        """Return the reply that was kept under a key; None without one that can be read."""
        if (place := self._places.get(key)) is None:
            return None
        with suppress(OSError, ConfigError, *_BAD), open_to_read(place.path) as file:
            file.seek(place.offset)
            record = read_record(file.read(place.size))
            if record.digest == key and record.replies:
                (reply,) = record.replies
                return reply if isinstance(reply, Reply) else None
        del self._places[key]
        self._damaged(place.path)
        return None

    def keep(self, replies: Sequence[tuple[str, Reply]]) -> None:
        """Append replies under their keys; once that fails, as on a full disk, no more are kept."""
        if self._is_full or not replies:
            return
        lines = {key: write_record(Record("", key, 0.0, 0, 0, (reply,))) for key, reply in replies}
        try:
            self._files.append(self._own, b"".join(lines.values()))
        except (OSError, ConfigError) as failure:
            self._is_full = True
            log.warning("%s=%s: no more replies are kept: %s", KEY, self._folder.parent, failure)
            return
        for key, line in lines.items():
            self._places[key] = _Place(self._own, self._size, len(line))
            self._size += len(line)

    def _damaged(self, path: Path) -> None:
        self._num_damaged += 1
        if self._num_damaged == 1:
            log.warning("%s: a line is damaged, cut short or of another release: it is not used", path)

    def close(self) -> None:
        """Close the file."""
        self._files.close_all()


def _key_of(line: bytes) -> str | None:
    """Return the key of a whole line, without reading the rest of it."""
    begins = line.find(_BEFORE_KEY) + len(_BEFORE_KEY)
    ends = line.find(b'"', begins)
    if not line.endswith(b"\n") or begins < len(_BEFORE_KEY) or ends < 0:
        return None
    return line[begins:ends].decode("ascii", "replace")
