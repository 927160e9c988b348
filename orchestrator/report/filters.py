"""The filters of the page's template: how it formats values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from markupsafe import Markup
from matplotlib.ticker import EngFormatter

from orchestrator.allocation.bounds import Interval
from orchestrator.allocation.saturation import MAX_SAMPLES
from orchestrator.report.figures import Drawing
from orchestrator.report.levels import Level
from orchestrator.report.measures import generic
from orchestrator.storage.revised import Share


def inline_svg(drawing: Drawing) -> Markup:
    """Return a figure for the page: without a file's prologue, and with a text for screen readers."""
    body = drawing.svg[drawing.svg.index("<svg") :]
    return Markup(body.replace("<svg", f'<svg role="img" aria-label="{drawing.caption}"', 1))


def percent(value: float) -> str:
    """Return a share as a percentage with one decimal."""
    return f"{100 * value:.1f}"


def quoted(quoted: Mapping[str, float], column: str) -> str:
    """Return the figure of a column as a percentage; nothing where a point does not have it."""
    found = next((value for name, value in quoted.items() if generic(name) == column), None)
    return "" if found is None else percent(found)


def rates(level: Level) -> str:
    """Return the range of a level's pass rates."""
    low, high = round(100 * level.low), round(100 * level.high)
    return f"{low} %" if low == high else f"{low} to {high} %"


def engineering(value: float) -> str:
    """Return a round number as on the axes of the figures: 500, 2k, 1G; below 1 as it is."""
    return EngFormatter(sep="")(value) if value >= 1 else f"{value:.3g}"


def share(share: Share) -> str:
    """Return a share in per cent with its interval, and what it is a share of."""
    return f"{percent(share.value)} ({percent(share.low)} to {percent(share.high)}) of {share.num_attempts:,}"


def short(value: float) -> str:
    """Return a number for a table: three significant digits, thousands grouped, or a power of ten."""
    if abs(value) >= 1e7:
        return f"{value:.2e}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def samples(interval: Interval | None) -> str:
    """Return a number of samples with its interval."""
    if interval is None:
        return "still rising"
    low, value, high = (
        f"{round(x):,}" if x < MAX_SAMPLES else "never" for x in (interval.low, interval.value, interval.high)
    )
    return f"{value} ({low} to {high})"


def interval(values: tuple[float, float, float]) -> str:
    """Return a value with the ends of its interval."""
    value, low, high = map(short, values)
    return f"{value} ({low} to {high})"


def temperature(value: float) -> str:
    """Return a temperature of a selection."""
    return "∞" if math.isinf(value) else f"{value:g}"


FILTERS: Mapping[str, Callable[..., str]] = {
    each.__name__: each
    for each in (
        engineering,
        inline_svg,
        interval,
        percent,
        quoted,
        rates,
        samples,
        share,
        short,
        temperature,
    )
}
