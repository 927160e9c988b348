"""The figures of a setting's samples: saturation curves, the surface of k and T, the reliability diagram."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from orchestrator.allocation.reliability import Bin
from orchestrator.allocation.saturation_study import Study
from orchestrator.allocation.surface import Surface
from orchestrator.report.figures import Curves, Drawing, draw, style_of


def draw_saturation(study: Study, prefix: str) -> Drawing:
    """Draw what was measured at each N, with its interval, and each family's forecast from the pilot."""

    def paint(axes: Axes, _curves: Curves, _identifier: str) -> None:
        held = [(n, t) for n, t in zip(study.ns, study.truth, strict=True) if t is not None]
        ns = [n for n, _ in held]
        axes.plot(ns, [t.value for _, t in held], label="measured", linewidth=1.4, **style_of(4))
        low, high = [t.low for _, t in held], [t.high for _, t in held]
        axes.fill_between(ns, low, high, alpha=0.12, linewidth=0, color="#000000")
        for i, (name, forecast) in enumerate(study.forecasts.items()):
            values = [point.value for point in forecast.at]
            axes.plot(study.ns, values, label=name, linewidth=1.2, markersize=4, **style_of(i))
        axes.axvline(study.pilot, color="#888888", linewidth=0.8, linestyle=":")
        axes.set_xscale("log")
        axes.set_xticks(study.ns, [str(n) for n in study.ns])
        axes.minorticks_off()
        axes.set_xlabel("N (dotted: the pilot)")
        axes.set_ylabel("pass@N")

    return draw("saturation", "Saturation: forecasts from a pilot", {}, prefix, paint)


def draw_surface(surface: Surface, prefix: str) -> Drawing:
    """Draw accuracy over the number k of samples, a curve for each temperature of the selection."""

    def paint(axes: Axes, _curves: Curves, _identifier: str) -> None:
        for i, t in enumerate(surface.temperatures):
            label = f"T = {'∞' if math.isinf(t) else f'{t:g}'}"
            values = [float(row[i]) for row in surface.means]
            axes.plot(surface.ks, values, label=label, linewidth=1.2, markersize=4, **style_of(i))
        axes.set_xscale("log")
        axes.set_xticks(surface.ks, [str(k) for k in surface.ks])
        axes.minorticks_off()
        axes.set_xlabel("k samples, one drawn by softmax(log-odds / T)")
        axes.set_ylabel("accuracy")

    return draw("surface", "Accuracy by the number of samples and the temperature", {}, prefix, paint)


def draw_reliability(bins: Sequence[Bin], prefix: str) -> Drawing:
    """Draw the share of right samples over their mean reward: on the diagonal a reward is P(right)."""

    def paint(axes: Axes, _curves: Curves, _identifier: str) -> None:
        most = max(b.num for b in bins)
        axes.bar(
            [(b.low + b.high) / 2 for b in bins],
            [b.num / most for b in bins],
            width=0.09, color="#888888", alpha=0.18, label="samples (the highest bar is 1)",
        )  # fmt: skip
        axes.plot([b.mean for b in bins], [b.share for b in bins], label="last reward", **style_of(0))
        axes.plot(
            [0, 1], [0, 1], color="#888888", linewidth=1, linestyle=(0, (1, 3)), label="reward = P(right)"
        )
        axes.set_xlabel("reward")
        axes.set_ylabel("share of right samples")

    return draw("reliability", "Reliability of the last reward", {}, prefix, paint)
