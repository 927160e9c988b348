"""Curves as pictures, where matplotlib is installed (the bench extra)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.methods import SYSTEMATIC
from tests.bench.stored import Curves, Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COSTS = {
    "generated_tokens": "generated tokens a problem",
    "reward_calls": "reward calls a problem",
    "seconds": "seconds a problem",
}
# A kind of method is a dash and a set of markers; within it colours tell methods apart. They are Okabe and
# Ito's, which colour-blind readers tell apart too.
KINDS = {
    "samples": ("greedy", "best_of_n", "self_consistency"),
    "particles": (
        "particle_filter",
        "entropic_particle_filter",
        "particle_gibbs",
        "parallel_tempering",
        "particle_cascade",
        SYSTEMATIC,
    ),
    "trees": ("astar", "beam_search", "dvts", "rebase", "tree_of_thoughts"),
    "diffusion": ("hex", "hex_weighted"),
    "roles": ("iad", "pipeline", "refine", "revisions", "self_refine"),
}
LOOKS: Mapping[str, tuple[Any, str]] = {
    "samples": (":", "sDP"),
    "particles": ("-", "ovX*hP"),
    "trees": ("--", "^<>dp"),
    "diffusion": ("-.", "hd"),
    "roles": ((0, (3, 1, 1, 1)), "sovX*hP"),
    "other": ((0, (5, 1, 1, 1, 1, 1)), "1234+"),
}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000", "#56B4E9")
LABEL_HEIGHT = 0.052  # of the height of the axes with labels, for one line of text


def can_plot() -> bool:
    return find_spec("matplotlib") is not None


def styles(strategies: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and dash of each; a method has the same ones whatever is drawn beside it."""
    found: dict[str, dict[str, Any]] = {}
    strangers = [name for name in strategies if not any(name in members for members in KINDS.values())]
    for kind, members in {**KINDS, "other": strangers}.items():
        dash, markers = LOOKS[kind]
        for i, name in enumerate(members):
            colour, marker = COLOURS[i % len(COLOURS)], markers[i % len(markers)]
            found[name] = {"color": colour, "marker": marker, "linestyle": dash}
    return {name: found[name] for name in strategies}


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """The heights, moved as little as it takes to lie ``gap`` apart and within [0, 1]; their order stays.

    Raises ValueError where that many do not fit.
    """
    if gap * (len(heights) - 1) > 1:
        raise ValueError(f"{len(heights)} labels of {gap} do not fit")
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    # Blocks of labels that touch: each lies around the mean of where its members would be.
    blocks: list[list[int]] = []
    for i in order:
        blocks.append([i])
        while len(blocks) > 1 and _start(blocks[-1], heights, gap) < _end(blocks[-2], heights, gap) + gap:
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    return _placed(blocks, heights, gap)


def _start(block: Sequence[int], heights: Sequence[float], gap: float) -> float:
    length = gap * (len(block) - 1)
    middle = sum(heights[i] for i in block) / len(block)
    return min(max(middle - length / 2, 0.0), 1.0 - length)


def _end(block: Sequence[int], heights: Sequence[float], gap: float) -> float:
    return _start(block, heights, gap) + gap * (len(block) - 1)


def _placed(blocks: Sequence[Sequence[int]], heights: Sequence[float], gap: float) -> list[float]:
    at: Mapping[int, float] = {
        i: _start(block, heights, gap) + gap * k for block in blocks for k, i in enumerate(block)
    }
    return [at[i] for i in range(len(heights))]


def _set_up(size: tuple[float, float]) -> Figure:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Text stays text, and the same curves give the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "murmuration", "font.size": 9})
    mpl.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
    figure = Figure(figsize=size, layout="constrained")
    figure.patch.set_facecolor("white")  # a page may be dark
    return figure


def _draw(axes: Axes, points: Sequence[Measured], cost: str, *, interval: bool, **style: Any) -> None:
    # A method that never asks the verifier has no place on a logarithmic axis of its calls.
    shown = [p for p in points if getattr(p, cost) > 0]
    x, y = [getattr(p, cost) for p in shown], [p.accuracy.value for p in shown]
    axes.plot(x, y, **{"linewidth": 1.3, "markersize": 5, **style})
    if interval:
        low, high = [p.accuracy.low for p in shown], [p.accuracy.high for p in shown]
        axes.vlines(x, low, high, color=style["color"], linewidth=0.7, alpha=0.35)


def _label(panels: Sequence[Axes], costs: Sequence[str]) -> None:
    for axes, cost in zip(panels, costs, strict=True):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.3g}" if cost == "seconds" else "{x:,.0f}")
        axes.set_xlabel(COSTS[cost])
        axes.grid(alpha=0.3, linewidth=0.5)


def _name_lines(axes: Axes, curves: Curves, cost: str, looks: Mapping[str, Mapping[str, Any]]) -> None:
    """Each method's name at the right, beside the end of its line, and a thin line from there to it."""
    ends = {name: points[-1] for name, points in curves.items() if points}
    low, high = axes.get_ylim()
    heights = [(p.accuracy.value - low) / (high - low) for p in ends.values()]
    right = axes.get_yaxis_transform()  # x in parts of the width, y in accuracy
    for (name, point), height in zip(ends.items(), spread(heights, LABEL_HEIGHT), strict=True):
        style, at = looks[name], low + height * (high - low)
        leader = {"arrowstyle": "-", "color": style["color"], "linewidth": 0.6, "alpha": 0.5}
        end = (getattr(point, cost), point.accuracy.value)
        axes.annotate(
            name, end, (1.06, at), textcoords=right, color=style["color"], va="center", arrowprops=leader
        )
        marker = {"color": style["color"], "marker": style["marker"], "markersize": 5, "clip_on": False}
        axes.plot([1.04], [at], transform=right, linestyle="none", **marker)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def plot_all(curves: Curves, title: str, paths: Sequence[Path]) -> None:
    """Every strategy against the three costs, in one picture, saved under each of ``paths``.

    Tokens above, with the methods' names; reward calls and seconds below, with the same looks.
    """
    figure, looks = _set_up((8.4, 8.2)), styles(list(curves))
    grid = figure.add_gridspec(2, 2, height_ratios=(5, 3))
    first = figure.add_subplot(grid[0, :])
    others = [figure.add_subplot(grid[1, i], sharey=first) for i in range(2)]
    for axes, cost in zip([first, *others], COSTS, strict=True):
        for strategy, points in curves.items():
            _draw(axes, points, cost, interval=axes is first, **looks[strategy])
    _label([first, *others], list(COSTS))
    for axes in (first, others[0]):
        axes.set_ylabel("accuracy")
    others[1].tick_params(labelleft=False)
    _name_lines(first, curves, "generated_tokens", looks)
    figure.suptitle(title)
    figure.draw_without_rendering()  # the layout goes on to change a little each time
    figure.set_layout_engine("none")
    for path in paths:
        _save(figure, path)


def plot_one(curves: Curves, strategy: str, title: str, path: Path) -> None:
    """One strategy before the others in grey, against the first two costs that they have: tokens first."""
    costs = [c for c in COSTS if any(getattr(p, c) > 0 for points in curves.values() for p in points)][:2]
    figure = _set_up((7, 2.8))
    panels = list(figure.subplots(1, len(costs), sharey=True))
    for axes, cost in zip(panels, costs, strict=True):
        for name in curves:
            if name != strategy:
                _draw(axes, curves[name], cost, interval=False, color="0.8", marker=".")
        _draw(axes, curves[strategy], cost, interval=True, color=COLOURS[0], marker="o")
    _label(panels, costs)
    panels[0].set_ylabel("accuracy")
    figure.suptitle(f"{strategy}: {title}", fontsize=9)
    _save(figure, path)


def plot_ratios(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Accuracy against sequential tokens, a line a size, a column for each pair of rates, a row a choice.

    ``rows`` are those of tests/bench/bench_ratios.py; the left end of a line is all parallel.
    """
    kinds = list({(r["rates"]["ratio"], r["rates"]["b"]): None for r in rows})
    choices, sizes = list({r["choice"]: None for r in rows}), sorted({r["size"] for r in rows})
    figure = _set_up((9.2, 4.6))
    panels = figure.subplots(len(choices), len(kinds), sharex=True, sharey=True, squeeze=False)
    for (i, choice), (j, (ratio, b)) in product(enumerate(choices), enumerate(kinds)):
        axes: Axes = panels[i][j]
        for colour, size in zip(COLOURS, sizes, strict=False):
            rates = {"ratio": ratio, "b": b}
            own = [r for r in rows if (r["rates"], r["choice"], r["size"]) == (rates, choice, size)]
            x, y = [r["sequential"] for r in own], [r["accuracy"]["value"] for r in own]
            axes.plot(x, y, marker="o", markersize=3.5, linewidth=1.3, color=colour, label=f"N = {size}")
            low, high = ([r["accuracy"][end] for r in own] for end in ("low", "high"))
            axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(alpha=0.3, linewidth=0.5)
        if i == 0:
            axes.set_title(f"f = {ratio:g} fresh, b = {b:g}", fontsize=9)
        if j == 0:
            axes.set_ylabel(f"accuracy, {choice}")
        if i + 1 == len(choices):
            axes.set_xlabel("sequential tokens")
    panels[0][0].legend(frameon=False, fontsize=8)
    _save(figure, path)
