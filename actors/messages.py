"""Parts of error messages: what a library's error says, and the first names of a long list."""

from __future__ import annotations


def brief(error: BaseException) -> str:
    """Return what an error says as one line, with its type where the text alone would not say what it is.

    Messages of libraries run over many lines; at most 300 characters are kept.
    """
    text = " ".join(str(error).split())
    if not text or not isinstance(error, OSError | ValueError | RuntimeError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text[:300]


def some(names: list[str]) -> str:
    """Return the first three names of a list, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
