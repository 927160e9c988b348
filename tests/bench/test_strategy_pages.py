"""What docs/strategies.md says of a table of strategies: its controls, and of what the figures are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tests.bench.claims import BEST, ENTROPIC, across
from tests.bench.methods import REFERENCE, SYSTEMATIC
from tests.bench.scaling import Estimate
from tests.bench.stored import Measured, Table, with_intervals
from tests.bench.strategy_pages import annealed, compared, provenance, side_by_side

BUDGETS = (4, 8, 16)


def table(right: Mapping[str, Sequence[int]], reference: str = REFERENCE) -> Table:
    """Methods that solve so many of 16 problems at N = 4, 8, 16."""
    curves = {
        name: tuple(
            Measured(
                name, n, Estimate(0, 0, 0), 0.0, 10.0 * n, 2.0 * n, 0.0, 0, None, "1" * k + "0" * (16 - k)
            )
            for n, k in zip(BUDGETS, solved, strict=True)
        )
        for name, solved in right.items()
    }
    return with_intervals(Table("abc", "chain", "test", 16, (3,), reference, {}, curves, first=6000))


def test_the_entropic_filter_is_compared_with_systematic_resampling() -> None:
    right = {REFERENCE: (4, 6, 8), SYSTEMATIC: (6, 8, 10), ENTROPIC: (6, 8, 12)}
    (control,) = annealed(table(right))
    head, _, row = control.splitlines()
    assert "minus `particle_filter, systematic`" in head
    assert (
        row.startswith("| `entropic_particle_filter` | +.000 (+.000 to +.000) | +.000") and "+.125 (" in row
    )
    assert control in compared(table(right))
    assert annealed(table(right, SYSTEMATIC)) == [] == annealed(table({REFERENCE: (4, 6, 8)}))


def test_a_temperature_that_was_badly_chosen_is_said() -> None:
    """Best of N has another curve in the other table, beside which the filter gains half as much."""
    tuned = table({REFERENCE: (4, 8, 12), BEST: (1, 2, 4)})
    text = across(tuned, table({REFERENCE: (1, 1, 1), BEST: (2, 4, 8)}))
    assert "needs 2.0 to 2.0 times fewer samples than best-of-N\nat N = 8 to 16" in text
    assert across(tuned, table({REFERENCE: (4, 8, 12), BEST: (2, 2, 8)})) == ""
    assert across(table({BEST: (1, 2, 4)}), table({BEST: (2, 4, 8)})) == ""


def test_few_methods_stand_beside_each_other() -> None:
    text = side_by_side(table({REFERENCE: (4, 8, 12), "astar": (4, 8, 16)}))
    assert text.startswith(
        "Reduced run: 16 problems (test) x 1 seed: problems 6000 to 6015, seed 3, commit abc."
    )
    assert text.endswith("| `astar` | 16 | 1.000 (1.000 to 1.000) | +.250 (+.062 to +.438) | 160 | 32.0 |")
    full = replace(table({REFERENCE: (4, 8, 12)}), problems=200, seeds=(0, 1, 2))
    assert provenance(full).startswith("200 problems (test) x 3 seeds: problems 6000 to 6199, seeds 0, 1, 2,")
