"""What stays warm between points: kept for equal keys, closed before another is made."""

from __future__ import annotations

import pytest

from orchestrator.warm import Warm


class Made:
    """Notes in order what was made and what was closed."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.warm: Warm[str] = Warm(lambda value: self.log.append(f"close {value}"))

    def of(self, key: str) -> str:
        return self.warm.of(key, lambda: self.make(f"{key}{len(self.log)}"))

    def make(self, value: str) -> str:
        self.log.append(f"make {value}")
        return value


def test_an_equal_key_keeps_what_there_is() -> None:
    made = Made()
    assert [made.of("a") for _ in range(3)] == ["a0"] * 3
    assert made.log == ["make a0"]


def test_another_key_is_made_anew_after_the_old_was_closed() -> None:
    made = Made()
    assert [made.of(key) for key in "aba"] == ["a0", "b2", "a4"]
    assert made.log == ["make a0", "close a0", "make b2", "close b2", "make a4"]


def test_a_value_is_closed_once() -> None:
    made = Made()
    assert made.warm.close() is False
    made.of("a")
    assert [made.warm.close(), made.warm.close()] == [True, False]
    assert made.log == ["make a0", "close a0"]


def test_what_could_not_be_made_leaves_nothing_behind() -> None:
    made = Made()
    made.of("a")
    with pytest.raises(ZeroDivisionError):
        made.warm.of("b", lambda: str(1 // 0))
    assert made.of("a") == "a2" and made.log[-1] == "make a2"


def test_a_failure_to_close_does_not_close_twice() -> None:
    made = Made()
    made.warm = Warm(lambda value: str(1 // 0))  # type: ignore[arg-type]
    made.of("a")
    with pytest.raises(ZeroDivisionError):
        made.of("b")
    assert made.warm.close() is False
