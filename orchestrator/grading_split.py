"""Where tokens are split: at what stands in no brackets."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.grading_tokens import Token, Tokens

_OPENING = ("(", "[", "{", "\\{")
_CLOSING = (")", "]", "}", "\\}")


def depth_change(token: Token) -> int:
    """1 for what opens, -1 for what closes. Brackets of an interval need not be a pair."""
    if token.kind == "sign":
        return (token.text in _OPENING) - (token.text in _CLOSING)
    if token.kind != "command":
        return 0
    return token.text.startswith("begin ") + (token.text == "langle") - (token.text in ("end", "rangle"))


def split(tokens: Tokens, joint: str) -> list[Tokens]:
    """The parts between ``joint``, a sign or a command."""
    return [part for part, _ in split_at(tokens, lambda t: t.is_sign(joint) or t.is_command(joint))]


def split_at(tokens: Tokens, is_joint: Callable[[Token], bool]) -> list[tuple[Tokens, Token | None]]:
    """The parts, each with the joint that follows it."""
    parts: list[tuple[Tokens, Token | None]] = []
    depth = start = 0
    for index, token in enumerate(tokens):
        depth += depth_change(token)
        if depth == 0 and is_joint(token):
            parts.append((tokens[start:index], token))
            start = index + 1
    return [*parts, (tokens[start:], None)]
