"""No text stops the controller: extraction takes linear time, whatever a model writes."""

from __future__ import annotations

import pytest

from tests.bench.bench_extraction import EXTRACTORS, seconds
from tests.orchestrator.hostile_texts import FRAMES, PIECES, hostile_text

# Quadratic time is minutes at this length; linear time is some hundredths of a second.
LENGTH = 40_000
BOUND = 2.0


@pytest.mark.heavy
@pytest.mark.parametrize("name", EXTRACTORS)
def test_long_hostile_texts_take_no_time(name: str) -> None:
    for index, piece in enumerate(PIECES):
        # Runs of one character are what adjacent repetitions share among them in every way.
        frames = FRAMES if len(piece) == 1 else ("{}", FRAMES[index % len(FRAMES)])
        for frame in frames:
            text = hostile_text(piece, frame, LENGTH)
            assert seconds(EXTRACTORS[name], text) < BOUND, (piece, frame)
