"""Curves as pictures, where matplotlib is installed (the bench extra)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.curves import Curves, Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COSTS = {
    "generated_tokens": "generated tokens a problem",
    "reward_calls": "reward calls a problem",
    "seconds": "seconds a problem",
}
MARKERS = "osD^vP*X<>hdp"


def can_plot() -> bool:
    return find_spec("matplotlib") is not None


def _figure(num_panels: int, size: tuple[float, float]) -> tuple[Figure, Sequence[Axes]]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Text stays text, and the same curves give the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "murmuration", "font.size": 9})
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, num_panels, sharey=True, squeeze=False)
    return figure, list(axes[0])


def _draw(axes: Axes, points: Sequence[Measured], cost: str, *, interval: bool, **style: Any) -> None:
    # A method that never asks the verifier has no place on a logarithmic axis of its calls.
    shown = [p for p in points if getattr(p, cost) > 0]
    x, y = [getattr(p, cost) for p in shown], [p.accuracy.value for p in shown]
    axes.plot(x, y, linewidth=1.2, markersize=4, **style)
    if interval:
        low, high = [p.accuracy.low for p in shown], [p.accuracy.high for p in shown]
        axes.vlines(x, low, high, color=style["color"], linewidth=0.6)


def _style(index: int) -> dict[str, str]:
    """Ten colours, then the same ones dashed."""
    dashed = "--" if index // 10 % 2 else "-"
    return {"color": f"C{index % 10}", "marker": MARKERS[index % len(MARKERS)], "linestyle": dashed}


def _label(panels: Sequence[Axes], costs: Sequence[str]) -> None:
    panels[0].set_ylabel("accuracy")
    for axes, cost in zip(panels, costs, strict=True):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:.3g}")
        axes.set_xlabel(COSTS[cost])
        axes.grid(alpha=0.3, linewidth=0.5)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def plot_all(curves: Curves, title: str, paths: Sequence[Path]) -> None:
    """Every strategy against the three costs, in one picture, saved under each of ``paths``."""
    figure, panels = _figure(len(COSTS), (11, 4.6))
    for axes, cost in zip(panels, COSTS, strict=True):
        for i, (strategy, points) in enumerate(curves.items()):
            _draw(axes, points, cost, interval=True, label=strategy, **_style(i))
    _label(panels, list(COSTS))
    figure.suptitle(title)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    for path in paths:
        _save(figure, path)


def plot_one(curves: Curves, strategy: str, title: str, path: Path) -> None:
    """One strategy before the others in grey, against tokens and reward calls."""
    costs = ["generated_tokens", "reward_calls"]
    figure, panels = _figure(len(costs), (7, 2.8))
    for axes, cost in zip(panels, costs, strict=True):
        for name in curves:
            if name != strategy:
                _draw(axes, curves[name], cost, interval=False, color="0.8", marker=".")
        _draw(axes, curves[strategy], cost, interval=True, color="C0", marker="o")
    _label(panels, costs)
    figure.suptitle(f"{strategy}: {title}", fontsize=9)
    _save(figure, path)
