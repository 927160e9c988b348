"""``points.json`` in a sweep's folder: what each point is, where it is, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.storage.atomic import json_bytes, write_json
from orchestrator.storage.run_files import COMMAND, sound_points
from orchestrator.storage.signing import sign

INDEX = "points.json"


class SweepIndex:
    """``points.json``, kept up to date while a sweep runs.

    Entries of an earlier sweep into the same folder stay, unless their points are run again. The command
    line is kept in command.json, for ``resume=DIR``.
    """

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / INDEX
        self._entries = {_key(entry): entry for entry in read_index(folder)}
        command = {"overrides": list(arguments), "sweep": True}
        sign(folder, {COMMAND: json_bytes(command)})
        write_json(folder / COMMAND, command)

    def status_of(self, folder: str) -> int | None:
        """Return how the point in a folder ended last; None where it was not run."""
        entry = self._entries.get(folder)
        return None if entry is None or entry["mistake"] else entry["status"]

    def record(
        self,
        overrides: Sequence[str],
        *,
        folder: str | None = None,
        status: int | None = None,
        mistake: str | None = None,
    ) -> None:
        """Write a point's entry: its exit status, None before it was run; ``mistake`` is why it cannot be."""
        entry = {"folder": folder, "overrides": list(overrides), "status": status, "mistake": mistake}
        self._entries[_key(entry)] = entry
        write_json(self._path, {"points": list(self._entries.values())})


def _key(entry: Mapping[str, Any]) -> str:
    return str(entry["folder"] or json.dumps(entry["overrides"]))


def read_index(folder: Path) -> list[dict[str, Any]]:
    """Return the entries of a sweep's ``points.json``; none where there is no such file, or a damaged one."""
    return sound_points(folder / INDEX)


def sweep_folder(run_dir: Path) -> Path | None:
    """Return the folder of the sweep that a run is a point of, or None."""
    return next((folder for folder in run_dir.absolute().parents if (folder / INDEX).exists()), None)
