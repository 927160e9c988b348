"""The tokens of an answer, and splitting them at signs outside brackets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

TokenKind = Literal["number", "letters", "words", "command", "sign"]

_OPENING = ("(", "[", "{", "\\{")
_CLOSING = (")", "]", "}", "\\}")


@dataclass(frozen=True, slots=True)
class Token:
    r"""``text`` of a command comes without its backslash, of words as they are in ``\text{...}``."""

    kind: TokenKind
    text: str
    spaced: bool = False

    def is_sign(self, *signs: str) -> bool:
        return self.kind == "sign" and self.text in signs

    def is_command(self, *names: str) -> bool:
        return self.kind == "command" and self.text in names


Tokens = Sequence[Token]


def depth_change(token: Token) -> int:
    """Return 1 for what opens, -1 for what closes. Brackets of an interval need not be a pair."""
    if token.kind == "sign":
        return (token.text in _OPENING) - (token.text in _CLOSING)
    if token.kind != "command":
        return 0
    return token.text.startswith("begin ") + (token.text == "langle") - (token.text in ("end", "rangle"))


def split(tokens: Tokens, joint: str) -> list[Tokens]:
    """Return the parts between ``joint``, a sign or a command."""
    return [part for part, _ in split_at(tokens, lambda t: t.is_sign(joint) or t.is_command(joint))]


def split_at(tokens: Tokens, is_joint: Callable[[Token], bool]) -> list[tuple[Tokens, Token | None]]:
    """Return the parts, each with the joint that follows it."""
    parts: list[tuple[Tokens, Token | None]] = []
    depth = start = 0
    for index, token in enumerate(tokens):
        depth += depth_change(token)
        if depth == 0 and is_joint(token):
            parts.append((tokens[start:index], token))
            start = index + 1
    return [*parts, (tokens[start:], None)]
