"""Laws and how they are checked: a law is a coroutine of a case, and its name is that of the function."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

C = TypeVar("C")
Law = Callable[[C], Awaitable[None]]
"""Raises AssertionError, with the values that break it, unless the law holds for a case."""


def require(holds: bool, message: str) -> None:
    """Raise AssertionError with the message unless the condition holds."""
    if not holds:
        raise AssertionError(message)


def name_of(law: Callable[..., Any]) -> str:
    """Return a law in words: the name of its function."""
    return law.__name__.replace("_", " ")


async def hold(law: Law[C], case: C) -> None:
    """Check one law. Raises AssertionError that names the law and shows the values, or the exception."""
    try:
        await law(case)
    except AssertionError as broken:
        raise AssertionError(f"{name_of(law)}: {broken}") from broken.__cause__
    except Exception as error:
        raise AssertionError(f"{name_of(law)}: it raised {type(error).__name__}: {error}") from error


async def hold_all(laws: Iterable[Law[C]], case: C) -> None:
    """Check laws in their order. Raises AssertionError for the first one that is broken."""
    for law in laws:
        await hold(law, case)
