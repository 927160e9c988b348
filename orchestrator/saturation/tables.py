"""What ``python -m orchestrator.saturation`` prints."""

from __future__ import annotations

import math

from rich.table import Table

from orchestrator.allocation.bounds import Interval, bounds
from orchestrator.allocation.saturation import MAX_SAMPLES
from orchestrator.allocation.saturation_study import Samples, Study
from orchestrator.allocation.surface import Surface


def share(interval: Interval | None) -> str:
    """Return a share with its interval."""
    return "" if interval is None else f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def count(interval: Interval | None) -> str:
    """Return a number of samples with its interval."""
    if interval is None:
        return "still rising"
    return f"{_number(interval.value)} ({_number(interval.low)} to {_number(interval.high)})"


def _number(value: float) -> str:
    return f"{round(value):,}" if value < MAX_SAMPLES else "never"


def saturation_table(study: Study) -> Table:
    """Return a row for each N, and one for N*; forecasts of the pilot beside what was measured."""
    pilot = f"forecast from {study.pilot} samples, with 95 % over {study.num_problems} problems"
    table = _table(f"{study.measure}: {pilot}", "N", "measured", *study.forecasts)
    for i, n in enumerate(study.ns):
        table.add_row(str(n), share(study.truth[i]), *(share(f.at[i]) for f in study.forecasts.values()))
    stops = [count(f.saturates_at) for f in study.forecasts.values()]
    table.add_row(f"N* ({study.epsilon:g})", count(study.saturates_at), *stops, style="bold")
    return table


def bounds_table(samples: Samples, num_samples: int) -> Table:
    """Return what N samples allow at best and at worst."""
    table = _table(f"bounds at N = {num_samples}", "", "accuracy")
    found = bounds(samples.right, samples.log_odds, samples.keys, num_samples)
    for name, interval in found.items():
        table.add_row(name, share(interval))
    return table


def surface_table(surface: Surface) -> Table:
    """Return accuracy(k, T), with T*(k) at the end of each row and k*(T) at that of each column."""
    names = [temperature_text(t) for t in surface.temperatures]
    table = _table("one of k samples, drawn by softmax(log-odds / T)", "k", *names, "T*")
    for k, row, best in zip(surface.ks, surface.means, surface.best_temperatures, strict=True):
        table.add_row(str(k), *(f"{x:.3f}" for x in row), temperature_text(best))
    table.add_row("k*", *map(str, surface.best_sizes), "", style="bold")
    falls = [surface.fall(i) for i in range(len(names))]
    table.add_row("fall after k*", *(f"{f.value:.3f}" if f.low > 0 else "" for f in falls), "")
    return table


def temperature_text(temperature: float) -> str:
    """Return a column's name: T=0 is the best, T=inf any."""
    return "T=inf" if math.isinf(temperature) else f"T={temperature:g}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name, no_wrap=True)
    return table
