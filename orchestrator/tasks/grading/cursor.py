"""A place among the tokens of a formula."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.tasks.grading.formula import Formula, Unreadable
from orchestrator.tasks.grading.tokens import Token, Tokens

MAX_NESTING = 40


class Cursor:
    """Tokens, and the place up to which they are read."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self.position = 0
        self._nesting = 0
        self._bars = 0
        self._in_function = 0

    @property
    def _next(self) -> Token | None:
        return self._tokens[self.position] if self.position < len(self._tokens) else None

    @property
    def is_at_end(self) -> bool:
        return self.position == len(self._tokens)

    def _peek(self, offset: int) -> Token | None:
        index = self.position + offset
        return self._tokens[index] if index < len(self._tokens) else None

    def _take(self) -> Token:
        token = self._next
        if token is None:
            raise Unreadable
        self.position += 1
        return token

    def _took(self, *signs: str) -> bool:
        if self._next is None or not (self._next.is_sign(*signs) or self._next.is_command(*signs)):
            return False
        self.position += 1
        return True

    def _expect(self, sign: str) -> None:
        if not self._took(sign):
            raise Unreadable

    def _nested(self, rule: Callable[[], Formula]) -> Formula:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise Unreadable
        node = rule()
        self._nesting -= 1
        return node

    def _insert(self, *tokens: Token, replacing: int = 0) -> None:
        """Put tokens at the place, instead of the next ones."""
        rest = self._tokens[self.position + replacing :]
        self._tokens = [*self._tokens[: self.position], *tokens, *rest]
