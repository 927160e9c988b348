"""A mistake in one function, and the law that must see it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

import pytest


@dataclass(frozen=True)
class Mutation:
    """``target`` (module:function) becomes ``mistake(what it was)``; ``law`` must then fail."""

    name: str
    target: str
    mistake: Callable[[Any], Any]
    law: Callable[[], Any]

    def assert_seen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        owner, _, name = self.target.rpartition(":")
        *path, last = name.split(".")
        place = resolve_name(f"{owner}:{'.'.join(path)}") if path else resolve_name(owner)
        monkeypatch.setattr(place, last, self.mistake(getattr(place, last)))
        with pytest.raises(AssertionError):
            _kept(self.law)


def _kept(law: Callable[[], Any]) -> None:
    result = law()
    if inspect.iscoroutine(result):
        asyncio.run(result)
