"""What happens in a run, one line an event: ``events.jsonl`` of its directory, and warnings on stderr.

An event is a record of the standard ``logging`` whose ``extra`` holds its name and its fields: ``emit.emit``
makes them, and whatever makes one need not know of this file.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.storage.appending import AppendedFile, end_line
from orchestrator.storage.sweep_index import INDEX
from orchestrator.streams import write_error
from orchestrator.terminal import one_line, printable

EVENTS = "events.jsonl"
LEVELS: dict[str, int | None] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "none": None,
}
"""The values of ``log_level``: the least that ``events.jsonl`` holds. ``none`` keeps no file."""

_PACKAGES = ("actors", "orchestrator")


def run_names(run_dir: Path) -> dict[str, str | None]:
    """The run and the sweep's point that a directory is of: folder names; a run alone has no point."""
    place = run_dir.resolve()
    if (place.parent / INDEX).exists():
        return {"run": place.parent.name, "point": place.name}
    return {"run": place.name, "point": None}


@contextmanager
def recorded(run_dir: Path, level: str) -> Iterator[None]:
    """Writes down what this project's own loggers tell, from ``level`` (of LEVELS) up.

    Warnings and above go to stderr as well, whatever the level.
    """
    least = LEVELS[level]
    handlers: list[logging.Handler] = [StderrHandler()]
    if least is not None:
        handlers.append(EventFile(run_dir, least))
    loggers = [logging.getLogger(name) for name in _PACKAGES]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(min(logging.WARNING, least or logging.WARNING))
        for handler in handlers:
            logger.addHandler(handler)
    try:
        yield
    finally:
        for logger, earlier in zip(loggers, before, strict=True):
            logger.setLevel(earlier)
            for handler in handlers:
                logger.removeHandler(handler)
        for handler in handlers:
            handler.close()


class StderrHandler(logging.Handler):
    """Warnings for a person, above the bar where one is being drawn (it replaces ``sys.stderr``)."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(_Printable("%(asctime)s %(levelname)s: %(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            write_error(self.format(record))
        except Exception:  # noqa: BLE001 - as every handler does: a line that cannot be made ends no search
            self.handleError(record)


class _Printable(logging.Formatter):
    """What a server or a file wrote is in a warning: one line of it, which cannot steer a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name that logging gave it
        record.message = one_line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return printable(super().formatException(ei))


@contextmanager
def warnings_shown() -> Iterator[None]:
    """Shows warnings of this project's own loggers on stderr: for the tools beside run.py."""
    handler, loggers = StderrHandler(), [logging.getLogger(name) for name in _PACKAGES]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


class EventFile(logging.Handler):
    """Appends one line of strict JSON an event: whole, or where the disk is full not at all.

    A full disk ends no search: events that it has no room for are left out, which is told once.
    """

    def __init__(self, run_dir: Path, level: int) -> None:
        super().__init__(level)
        self._path = run_dir / EVENTS
        self._file: AppendedFile | None = None
        self._is_full = False
        self.setFormatter(_Lines(run_names(run_dir)))
        with suppress(OSError, ConfigError):  # the first event tells
            end_line(self._path)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._opened().append(self.format(record).encode() + b"\n")
        except (OSError, ConfigError) as failure:
            if not self._is_full:
                write_error(f"{one_line(str(failure))}; events are left out")
            self._is_full = True
        except Exception:  # noqa: BLE001 - as every handler does: a line that cannot be made ends no search
            self.handleError(record)

    def _opened(self) -> AppendedFile:
        """The file; a new one where it was deleted: what comes is kept again."""
        if self._file is not None and not self._path.exists() and self._path.parent.exists():
            self._close_file()
        if self._file is None:
            self._file = AppendedFile(self._path)
        return self._file

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None

    def close(self) -> None:
        self._close_file()
        super().close()


class _Lines(logging.Formatter):
    """Formats an event as JSON: its time, name, level and text, then run and point, then its own fields."""

    def __init__(self, ids: Mapping[str, str | None]) -> None:
        super().__init__()
        self._ids = ids

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "event": getattr(record, "event", None),
            "level": record.levelname,
            "message": record.getMessage(),
        }
        # A library may have every record of the process carry some fields of its own; other handlers add two.
        usual = vars(logging.makeLogRecord({})).keys() | {"message", "asctime"}
        own = {k: v for k, v in vars(record).items() if k not in usual and not k.startswith("_")}
        return _ENCODER.encode(line | dict(self._ids) | own)


def _plain(value: object) -> str:
    """A time as RFC 3339 has it; anything else in its own words."""
    return value.isoformat(timespec="milliseconds") if isinstance(value, datetime) else str(value)


# Made once: json.dumps makes one for every call that sets an option.
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=_plain)
