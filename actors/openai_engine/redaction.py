"""A server's words made safe to show: one line, bounded, and without the key that the server was sent.

A server knows the key of its requests and may repeat it, by mistake or not: whole, in part, or encoded.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator
from urllib.parse import unquote

LONGEST_MESSAGE = 300
# The rest of a longer text is ignored; a message shows far less.
_LONGEST_READ = 8192
# Shorter ones are placeholders, such as EMPTY, and may be words of an answer.
_SHORTEST_KEY = 8
_PLACEHOLDERS = frozenset({"empty", "none", "null", "dummy", "test", "token", "local", "ollama", "lm-studio"})
_GRAM = 8
_ENCODED_GRAM = 12
_SHOWN = "(key)"
_HIDDEN = "(not shown: it repeats the key)"
_ESCAPE = re.compile(r"\\+(?:u00|x)([0-9a-fA-F]{2})")
_LOWER = {ord(c): c.lower() for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}  # str.lower changes some texts' lengths


def one_line(text: object, limit: int = LONGEST_MESSAGE) -> str:
    """Return the text without control characters, invisible ones and lone surrogates, cut at ``limit``."""
    shown = "".join(c if c.isprintable() else " " for c in str(text)[:_LONGEST_READ])
    return " ".join(shown.split())[:limit]


class Secret:
    """The key that a server was sent; None where there is none."""

    def __init__(self, key: str | None) -> None:
        key = "" if key is None or key.lower() in _PLACEHOLDERS else key
        self._key = key.translate(_LOWER)
        self._encoded = [form.translate(_LOWER) for form in _encodings(key)]
        self._grams = dict(_grams([self._key, self._key[::-1]], _GRAM))
        self._grams |= dict(_grams(self._encoded, _ENCODED_GRAM))

    def clean(self, text: object, limit: int = LONGEST_MESSAGE) -> str:
        """Return ``one_line`` of a text, with every part of the key removed."""
        shown = one_line(text, _LONGEST_READ)
        if not self._key:
            return shown[:limit]
        shown = self._without(shown)
        repeats = any(self._without(view) != view for view in _views(shown))
        return (_HIDDEN if repeats else shown)[:limit]

    def is_in(self, text: str) -> bool:
        """Return whether a model's text holds the key, plain or encoded; placeholders do not count."""
        if len(self._key) < _SHORTEST_KEY:
            return False
        forms = [self._key, self._key[::-1], *self._encoded]
        return any(f in view.translate(_LOWER) for view in (text, *_views(text)) for f in forms)

    def _without(self, text: str) -> str:
        """Return the text with ``(key)`` for each stretch that consists of parts of the key."""
        low, kept, i = text.translate(_LOWER), [], 0
        while i < len(text):
            end = max(
                (i + size for size in set(self._grams.values()) if low[i : i + size] in self._grams),
                default=i,
            )
            if end == i:
                kept.append(text[i])
                i += 1
                continue
            while any(low[end - size + 1 : end + 1] in self._grams for size in set(self._grams.values())):
                end += 1
            kept.append(_SHOWN)
            i = end
        return "".join(kept)


def _grams(forms: list[str], size: int) -> Iterator[tuple[str, int]]:
    """Yield every part of ``size`` characters, and its size; a shorter form is one part."""
    for form in forms:
        length = min(len(form), size)
        for i in range(len(form) - length + 1):
            if length >= 4:
                yield form[i : i + length], length


def _encodings(key: str) -> list[str]:
    """Return the key in base64, at any offset in what is encoded, and in hexadecimal digits."""
    data, forms = key.encode(errors="replace"), []
    for shift in range(3):
        coded = base64.b64encode(bytes(shift) + data).decode().rstrip("=")
        # The first and last characters hold bits of the neighbours of the key.
        core = coded[(0, 2, 3)[shift] : -1 if (shift + len(data)) % 3 else None]
        forms += [core, core.replace("+", "-").replace("/", "_")]
    return [f for f in (*forms, data.hex()) if len(f) >= _SHORTEST_KEY]


def _views(text: str) -> Iterator[str]:
    """Yield the text with its escapes decoded, and without what may be between letters."""
    views = [text, unquote(unquote(text)), html.unescape(text)]
    views.append(_ESCAPE.sub(lambda found: chr(int(found[1], 16)), text))
    for view in views:
        if view is not text:
            yield view
        yield "".join(c for c in view if c.isprintable() and not c.isspace())
