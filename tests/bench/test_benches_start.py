"""Every benchmark can be started: what it imports from the others is there."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

BENCHES = sorted(path.stem for path in Path(__file__).parent.glob("bench_*.py"))


@pytest.mark.heavy
@pytest.mark.parametrize("name", BENCHES)
def test_it_can_be_imported(name: str) -> None:
    assert callable(import_module(f"tests.bench.{name}").main)
