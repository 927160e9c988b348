"""Text for a terminal: what came from data, servers and files cannot steer it."""

from __future__ import annotations

import io
import re
import shlex
import sys
from pathlib import Path

from orchestrator.streams import write_error

# Controls but tab and end of line (C0, DEL, C1), the marks that turn the direction of writing, separators
# that a terminal may take for an end of line, and halves of surrogate pairs, which have no bytes.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
MAX_LINE = 4000
"""Characters of one message: a longer one, such as one with a value of megabytes, is cut in its middle."""


def printable(text: str) -> str:
    """Return the text with every unprintable character as Python escapes it."""
    return _UNPRINTABLE.sub(lambda match: _escaped(match[0]), text)


def one_line(text: str) -> str:
    """Return the printable text in one line of bounded length."""
    line = printable(" ".join(text.split()))
    if len(line) <= MAX_LINE:
        return line
    half = MAX_LINE // 2
    return f"{line[:half]} [... {len(line) - 2 * half:,} characters ...] {line[-half:]}"


def complain(text: str) -> None:
    """Write an error to stderr, in one line, whatever a library wrote."""
    write_error(f"error: {one_line(text)}")


def warn(text: str) -> None:
    """Write a warning to stderr, in one line."""
    write_error(f"warning: {one_line(text)}")


def program() -> str:
    """Return how this program is called: by its installed name, or as the script of a checkout."""
    return "murmuration" if Path(sys.argv[0]).stem == "murmuration" else "python run.py"


def take_any_text() -> None:
    """Make standard output escape what its encoding cannot hold, as standard error does by default."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def shell_word(text: str) -> str:
    """Quote a text for a shell: as little as possible, with escapes where it is unprintable."""
    if printable(text) == text and "\n" not in text and "\t" not in text:
        return shlex.quote(text)
    raw = text.encode("utf-8", "surrogateescape" if _is_of_bytes(text) else "surrogatepass")
    return "$'" + "".join(_of_byte(byte) for byte in raw) + "'"


def _of_byte(byte: int) -> str:
    character = chr(byte)
    return f"\\x{byte:02x}" if character in "'\\" or not 0x20 <= byte < 0x7F else character


def _is_of_bytes(text: str) -> bool:
    return all(not "\ud800" <= c <= "\udfff" or "\udc80" <= c <= "\udcff" for c in text)


def _escaped(character: str) -> str:
    number = ord(character)
    return (
        f"\\x{number:02x}"
        if number < 0x100
        else f"\\u{number:04x}"
        if number < 0x10000
        else f"\\U{number:08x}"
    )
