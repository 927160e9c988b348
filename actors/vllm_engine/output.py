"""What vLLM's processes write while they start: passed on as it comes, and searched for why one ended.

vLLM's own process dies of an exception that only its output has: what the caller gets is "Engine core
initialization failed. See root cause above." (0.32, ``v1/engine/utils.py``).
"""

from __future__ import annotations

import os
import re
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

MAX_CHARS = 20_000
"""How much of the end of the output is kept."""

_LONGEST = 300
_MOMENT_S = 0.01
# "(EngineCore pid=29241) ERROR 11-27 02:48:54 [core.py:1510] ", each part where it is.
_PREFIX = re.compile(r"^(\([^()]* pid=\d+\) )?([A-Z]+ \d\d-\d\d \d\d:\d\d:\d\d \[[^\]]*\] ?)?")
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(: .*)?$")
_BEGIN = "Traceback (most recent call last):"
# Of processes that only report that another one has failed.
_REPORTS = ("root cause", "SystemExit", "KeyboardInterrupt")


@contextmanager
def stderr_kept() -> Iterator[Callable[[], str]]:
    """Pass on what this process, and each that it starts inside, writes to standard error; keep its end.

    Yields a function that returns what was written so far, at most ``MAX_CHARS`` characters. Processes that
    outlive the block are still passed on.
    """
    before, (readable, writable) = os.dup(2), os.pipe()
    os.dup2(writable, 2)
    os.close(writable)
    kept = bytearray()
    threading.Thread(target=_pass_on, args=(readable, before, kept), name="stderr", daemon=True).start()

    def output() -> str:
        _drain(readable)
        return kept.decode(errors="replace")[-MAX_CHARS:]

    try:
        yield output
    finally:
        os.dup2(before, 2)


def _drain(readable: int) -> None:
    """Wait until what was written has been read, for a moment at most."""
    for _ in range(50):
        with suppress(OSError):  # closed: every process has ended
            if select.select([readable], [], [], 0)[0]:
                time.sleep(_MOMENT_S)
                continue
        break
    time.sleep(_MOMENT_S)  # from having been read to being kept


def _pass_on(readable: int, before: int, kept: bytearray) -> None:
    """Copy until every process has closed its end."""
    while data := os.read(readable, 2**16):
        with suppress(OSError):  # nobody reads it: a full disk, a closed terminal
            os.write(before, data)
        kept += data
        del kept[: -4 * MAX_CHARS]
    os.close(readable)
    os.close(before)


def root_cause(output: str) -> str | None:
    """Return the last exception of an output as one line, ``"ModuleNotFoundError: ..."``; None without one.

    Exceptions that only report those of other processes do not count.
    """
    cause, in_traceback, lines = None, False, output.splitlines()
    for i, line in enumerate(lines):
        text = _text(line)
        if text.startswith(_BEGIN):
            in_traceback = True
        elif in_traceback and text and not text[0].isspace():
            in_traceback = False
            if _EXCEPTION.match(text) and not any(report in text for report in _REPORTS):
                cause = _whole(lines[i:])
    return cause


def _whole(lines: list[str]) -> str:
    """Return an exception's message, which may go on in the next lines of the same process."""
    first, *rest = lines
    texts = [_text(first)]
    for line in rest:
        text = _text(line).strip()
        if not text or text.startswith((_BEGIN, "Process ")) or _prefix(line) != _prefix(first):
            break
        texts.append(text)
    return " ".join(" ".join(texts).split())[:_LONGEST]


def _text(line: str) -> str:
    return _PREFIX.sub("", line)


def _prefix(line: str) -> str:
    match = _PREFIX.match(line)
    return match[0] if match else ""
