"""What happens in a run, one line an event: ``events.jsonl`` of its directory, and warnings on stderr.

An event is a record of the standard ``logging`` whose ``extra`` holds its name and its fields: ``emit.emit``
makes them, and its caller need not know this file.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.observe.scopes import own_scope
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


def run_names(run_dir: Path) -> dict[str, str | None]:
    """Return the folder names of a directory's run and point; a run outside a sweep has no point."""
    place = run_dir.resolve()
    if (place.parent / INDEX).exists():
        return {"run": place.parent.name, "point": place.name}
    return {"run": place.name, "point": None}


@contextmanager
def recorded(run_dir: Path, level: str) -> Iterator[None]:
    """Record what this project's loggers report, from ``level`` (a key of LEVELS) up, in ``events.jsonl``.

    What happens in another run at work is left out (``scopes``). Warnings and errors also go to stderr,
    whatever the level, and once, however many runs are at work.
    """
    least = LEVELS[level]
    with own_scope() as scope, ExitStack() as listening:
        listening.enter_context(warnings_shown())
        if least is not None:
            file = listening.enter_context(closing(EventFile(run_dir, least)))
            file.addFilter(scope.may_hold)
            listening.enter_context(_LOGGERS.heard_by(file))
        yield


class StderrHandler(logging.Handler):
    """Prints warnings on stderr, above the progress bar where there is one (it replaces ``sys.stderr``)."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(_Printable("%(asctime)s %(levelname)s: %(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            write_error(self.format(record))
        except Exception:  # noqa: BLE001 - as every handler does: a bad record must not end the search
            self.handleError(record)


class _Printable(logging.Formatter):
    """Formats a warning as one printable line: text of a server or a file cannot steer the terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name that logging gave it
        record.message = one_line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return printable(super().formatException(ei))


class _Loggers:
    """This project's loggers, which all runs of the process share.

    Their level is the lowest of the handlers at work; after the last it is what it was before the first.
    """

    def __init__(self, *names: str) -> None:
        self._loggers = [logging.getLogger(name) for name in names]
        self._before = [logger.level for logger in self._loggers]
        self._handlers: list[logging.Handler] = []  # a handler is in it once for each use
        self._lock = threading.Lock()

    @contextmanager
    def heard_by(self, handler: logging.Handler) -> Iterator[None]:
        """Give a handler what the loggers report inside the block."""
        with self._lock:
            if not self._handlers:
                self._before = [logger.level for logger in self._loggers]
            self._handlers.append(handler)
            self._update(handler)
        try:
            yield
        finally:
            with self._lock:
                self._handlers.remove(handler)
                self._update(handler)

    def _update(self, handler: logging.Handler) -> None:
        """Add or remove a handler, as it is at work or not, and set the level."""
        for logger, before in zip(self._loggers, self._before, strict=True):
            logger.setLevel(min((at_work.level for at_work in self._handlers), default=before))
            (logger.addHandler if handler in self._handlers else logger.removeHandler)(handler)


_LOGGERS = _Loggers("actors", "orchestrator")
_STDERR = StderrHandler()


@contextmanager
def warnings_shown() -> Iterator[None]:
    """Show warnings of this project's loggers on stderr."""
    with _LOGGERS.heard_by(_STDERR):
        yield


class EventFile(logging.Handler):
    """Appends one line of strict JSON per event: the whole line, or nothing if the disk is full.

    A full disk does not end the search: events without room are left out, which is reported once.
    """

    def __init__(self, run_dir: Path, level: int) -> None:
        super().__init__(level)
        self._path = run_dir / EVENTS
        self._file: AppendedFile | None = None
        self._is_full = False
        self.setFormatter(_Lines(run_names(run_dir)))
        with suppress(OSError, ConfigError):  # the first event reports it
            end_line(self._path)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._opened().append(self.format(record).encode() + b"\n")
        except (OSError, ConfigError) as failure:
            if not self._is_full:
                write_error(f"{one_line(str(failure))}; events are left out")
            self._is_full = True
        except Exception:  # noqa: BLE001 - as every handler does: a bad record must not end the search
            self.handleError(record)

    def _opened(self) -> AppendedFile:
        """Return the open file; a new one if it was deleted."""
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
    """Formats an event as JSON: time, name, level and text, then run and point, then the event's fields."""

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
        # A library may add fields to every record of the process; other handlers add two.
        usual = vars(logging.makeLogRecord({})).keys() | {"message", "asctime"}
        own = {k: v for k, v in vars(record).items() if k not in usual and not k.startswith("_")}
        return _ENCODER.encode(line | dict(self._ids) | own)


def _plain(value: object) -> str:
    """Return a time as in RFC 3339, anything else as ``str``."""
    return value.isoformat(timespec="milliseconds") if isinstance(value, datetime) else str(value)


# One for all events: json.dumps makes a new encoder for every call that sets an option.
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=_plain)
