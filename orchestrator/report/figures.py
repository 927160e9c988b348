"""Curves, drawn by matplotlib: the same SVG in the page and, with a PNG, in files.

Colours are Okabe and Ito's, which colour-blind readers can distinguish; markers and dashes distinguish
series without colour.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator

from orchestrator.report.measures import COSTS, Measured, pareto
from orchestrator.terminal import printable

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
MARKERS = "os^DvP*X<>hdp"
GLYPHS = "●■▲◆▼✚★✖◀▶⬢♦⬟"  # the markers as text, in the same order
DASHES = ("-", "--", ":", "-.")
BORDERS = ("solid", "dashed", "dotted", "dashed")
SIZE = (5.6, 4.0)  # inches, before the legend
STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a dollar sign is a dollar sign
    "svg.fonttype": "none",  # text stays text: it can be read aloud, searched and copied
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "path.simplify": False,
}

MAX_LABEL = 90  # characters
MAX_BANDS = 5  # more series have thin bars: filled bands would hide each other

Curves = Mapping[str, Sequence[Measured]]
Spread = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure with its file name (no suffix) and what it shows in words."""

    name: str
    caption: str
    svg: str
    png: bytes


def draw_all(curves: Curves, prefix: str) -> list[Drawing]:
    """Draw accuracy against N and against each cost, and pass@N; nothing without a curve.

    A series' lines have the identifier ``prefix-figure-series{i}-...``, by which the page hides and shows
    them. Nothing is drawn against N if limits differ: then N is not what was spent.
    """
    points = list(chain.from_iterable(curves.values()))
    if len(points) < 2:
        return []
    drawings = []
    if len({(p.series, p.budget) for p in points}) == len(points):
        caption = "Accuracy against N"
        drawings.append(draw("accuracy_n", caption, curves, prefix, _against(lambda p: p.budget, "N")))
    for cost, label in COSTS.items():
        if any(p.costs[cost] > 0 for p in points):
            painter = _against(lambda p, cost=cost: p.costs[cost], label, cost)  # type: ignore[misc]
            drawings.append(draw(f"accuracy_{cost}", f"Accuracy against {label}", curves, prefix, painter))
    drawings.append(draw("pass_at_n", "Selected accuracy against pass@N", curves, prefix, _paint_pass))
    return drawings


def style_of(index: int) -> dict[str, Any]:
    """Return colour, marker and dash of a series."""
    dash = DASHES[index // len(COLOURS) % len(DASHES)]
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": dash,
    }


def label_of(series: str) -> str:
    """Return a series' name for a legend: of bounded length, and not hidden by matplotlib."""
    text = " ".join(printable(series[: 2 * MAX_LABEL]).split())
    shown = text if len(text) <= MAX_LABEL else f"{text[: MAX_LABEL - 1]}…"
    return f" {shown}" if shown.startswith("_") else shown or "?"


def key_of(index: int) -> dict[str, str]:
    """Return the same for the page's style sheet: colour, a glyph, and the style of a border."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "glyph": GLYPHS[index % len(GLYPHS)],
        "border": BORDERS[index // len(COLOURS) % len(BORDERS)],
    }


Paint = Callable[[Axes, Curves, str], None]


def draw(name: str, caption: str, curves: Curves, prefix: str, paint: Paint) -> Drawing:
    """Draw a figure in the style of the page; ``paint`` puts the curves on its axes."""
    identifier = f"{prefix}-{name}"
    with mpl.rc_context({**STYLE, "svg.hashsalt": identifier}):
        num_rows = -(-len(curves) // 2)
        figure = Figure(figsize=(SIZE[0], SIZE[1] + 0.19 * num_rows), layout="constrained")
        axes = figure.add_subplot()
        paint(axes, curves, identifier)
        axes.grid(alpha=0.3, linewidth=0.5)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the page's own fonts have it
            return Drawing(name, caption, _svg(figure, caption), _png(figure))


def _against(x_of: Callable[[Measured], float], label: str, cost: str | None = None) -> Paint:
    """Return a painter of accuracy over a logarithmic axis; with a cost, of its Pareto frontier too."""

    def paint(axes: Axes, curves: Curves, identifier: str) -> None:
        if cost is not None and len(curves) > 1:
            _paint_frontier(axes, curves, cost)
        for i, points in enumerate(curves.values()):
            # A cost of 0 has no place on a logarithmic axis.
            shown = sorted((p for p in points if x_of(p) > 0), key=x_of)
            if shown:
                has_bands = len(curves) <= MAX_BANDS
                # Bars at one N would overlap.
                aside = 1.0 if has_bands or cost is not None else 1.012 ** (i - (len(curves) - 1) / 2)
                x = [aside * x_of(p) for p in shown]
                spread = _band if has_bands else _bars
                _paint_series(axes, x, shown, f"{identifier}-series{i}", i, spread)
        axes.set_xscale("log")
        if cost is None:
            budgets = sorted({p.budget for points in curves.values() for p in points})
            axes.set_xticks(budgets, [str(b) for b in budgets])
        else:
            low, high = axes.get_xlim()
            axes.xaxis.set_major_locator(
                LogLocator(subs=(1, 2, 5) if high > 15 * low else (1, 1.5, 2, 3, 4, 6, 8))
            )
            axes.xaxis.set_major_formatter(EngFormatter(sep="") if high >= 1e3 else "{x:g}")
        axes.minorticks_off()
        axes.set_xlabel(label)
        axes.set_ylabel("accuracy")
        axes.set_ylim(*_window(list(chain.from_iterable(curves.values()))))

    return paint


def _window(points: Sequence[Measured]) -> tuple[float, float]:
    """Return the range of the axis: all accuracies, with as much of their intervals as leaves the curves 1/3.

    With two seeds, intervals reach from 0 to 1.
    """
    values = [p.accuracy.value for p in points]
    low, high = min(values), max(values)
    room = max(high - low, 0.05)
    below, above = min(p.accuracy.low for p in points), max(p.accuracy.high for p in points)
    edge = 0.06 * room  # so that no marker lies on an axis
    return max(below, low - room) - edge, min(above, high + room) + edge


def _paint_series(
    axes: Axes, x: Sequence[float], points: Sequence[Measured], gid: str, index: int, spread: Spread
) -> None:
    y, style = [p.accuracy.value for p in points], style_of(index)
    axes.plot(
        x, y, label=label_of(points[0].series), gid=f"{gid}-line", linewidth=1.4, markersize=4.5, **style
    )
    low, high = [p.accuracy.low for p in points], [p.accuracy.high for p in points]
    spread(axes, x, low, high, color=style["color"], gid=f"{gid}-band")


def _band(axes: Axes, x: Sequence[float], low: Sequence[float], high: Sequence[float], **style: Any) -> None:
    if len(x) == 1:  # a band has no width there
        _bars(axes, x, low, high, **style)
    else:
        axes.fill_between(x, low, high, alpha=0.12, linewidth=0, **style)


def _bars(axes: Axes, x: Sequence[float], low: Sequence[float], high: Sequence[float], **style: Any) -> None:
    axes.vlines(x, low, high, linewidth=0.7, alpha=0.45, **style)


def _paint_frontier(axes: Axes, curves: Curves, cost: str) -> None:
    points = [p for p in chain.from_iterable(curves.values()) if p.costs[cost] > 0]
    frontier = pareto(points, cost)
    if len(frontier) > 1:
        x, y = [p.costs[cost] for p in frontier], [p.accuracy.value for p in frontier]
        axes.step(
            x, y, where="post", color="#888888", linewidth=5, alpha=0.35, label="Pareto frontier", zorder=0
        )


def _paint_pass(axes: Axes, curves: Curves, identifier: str) -> None:
    """Paint accuracy over pass@N: on the diagonal, every problem with a right candidate has it selected."""
    for i, (name, points) in enumerate(curves.items()):
        x, y = [p.pass_at_budget for p in points], [p.accuracy.value for p in points]
        axes.plot(
            x, y, label=name, gid=f"{identifier}-series{i}-line", linewidth=1, markersize=4.5, **style_of(i)
        )
    low = min(p.accuracy.value for points in curves.values() for p in points)
    top = max(p.pass_at_budget for points in curves.values() for p in points)
    axes.plot([low, top], [low, top], color="#888888", linewidth=1, linestyle=(0, (1, 3)), zorder=0)
    along: dict[str, Any] = {"rotation": 45, "rotation_mode": "anchor", "transform_rotates_text": True}
    at = low + 0.02 * (top - low)
    axes.text(at, at, " selected = pass@N", va="bottom", color="#666666", fontsize=8, **along)
    axes.set_xlabel("pass@N: a right answer among the candidates")
    axes.set_ylabel("accuracy of the selected answer")


def _svg(figure: Figure, caption: str) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Title": caption})
    return text.getvalue()


def _png(figure: Figure) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=150, metadata={"Software": None})
    return data.getvalue()
