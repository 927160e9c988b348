"""Replicas on one card load side by side, unless one of them measures what is free."""

from __future__ import annotations

import threading
from pathlib import Path

from actors.stages import loading
from actors.vllm_engine.turns import turn


class Loader(threading.Thread):
    """A replica that loads until it is ``released``."""

    def __init__(self, lock: Path, *, measures: bool) -> None:
        super().__init__(daemon=True)
        self.lock, self.measures, self.doing = lock, measures, ""
        self.loads, self.released, self.is_waiting = threading.Event(), threading.Event(), threading.Event()
        self.start()

    def run(self) -> None:
        with loading() as stage:
            change = stage.change

            def noted(what: str) -> None:
                change(what)
                (self.is_waiting.set if "waiting" in what else self.is_waiting.clear)()

            stage.change = noted  # type: ignore[method-assign]
            with turn(self.lock, measures=self.measures):
                self.loads.set()
                self.released.wait(30)

    def end(self) -> None:
        self.released.set()
        self.join(30)


def test_those_with_bytes_load_side_by_side_and_one_that_measures_alone(tmp_path: Path) -> None:
    lock = tmp_path / "card.lock"
    first, second = (Loader(lock, measures=False) for _ in range(2))
    assert first.loads.wait(30) and second.loads.wait(30), "at the same time"
    measuring = Loader(lock, measures=True)
    assert measuring.is_waiting.wait(30), "and says so"
    first.end()
    assert not measuring.loads.is_set(), "the second still loads"
    second.end()
    assert measuring.loads.wait(30) and not measuring.is_waiting.is_set()
    third, other = Loader(lock, measures=False), Loader(lock, measures=True)
    assert third.is_waiting.wait(30) and other.is_waiting.wait(30)
    measuring.end()
    third.released.set()
    other.end()
    assert third.loads.wait(30) and other.loads.wait(30)
    third.join(30)
