"""Collections are rare inside, cycles go all the same, and afterwards everything is as it was."""

from __future__ import annotations

import gc
import weakref

from orchestrator.runs.garbage import rare_collections


class Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.itself = self


def test_cycles_of_a_run_are_found() -> None:
    with rare_collections():
        knots = [weakref.ref(Knot()) for _ in range(50_000)]
        assert sum(knot() is not None for knot in knots) < len(knots)
    gc.collect()
    assert all(knot() is None for knot in knots)


def test_everything_is_as_before_when_it_ends() -> None:
    before = gc.get_threshold(), gc.get_freeze_count()
    with rare_collections():
        assert gc.get_threshold() > before[0] and gc.get_freeze_count() > before[1]
    assert (gc.get_threshold(), gc.get_freeze_count()) == before
