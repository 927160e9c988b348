"""Tokens of plain text: four bytes of UTF-8 each, about what a model's tokenizer makes of English."""

from __future__ import annotations

from collections.abc import Sequence

BYTES_PER_TOKEN = 4


def encoded(text: str) -> tuple[int, ...]:
    """Return a text's tokens: each is a 1 and up to four of its bytes, read as one number."""
    data = text.encode(errors="surrogatepass")
    parts = (data[i : i + BYTES_PER_TOKEN] for i in range(0, len(data), BYTES_PER_TOKEN))
    return tuple(int.from_bytes(b"\x01" + part, "big") for part in parts)


def decoded(token_ids: Sequence[int]) -> str:
    """Return the text of tokens."""
    data = (number.to_bytes(BYTES_PER_TOKEN + 1, "big").lstrip(b"\0")[1:] for number in token_ids)
    return b"".join(data).decode(errors="surrogatepass")


def cut(text: str, num_tokens: int) -> str:
    """Return the beginning of a text, of at most ``num_tokens`` tokens and whole characters."""
    data = text.encode(errors="surrogatepass")[: num_tokens * BYTES_PER_TOKEN]
    return data.decode(errors="ignore")
