"""The blocks of docs/adaptive.md on budgets across problems, from what bench_allocators wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.bench.adaptive_tables import interval
from tests.bench.curves import markdown, short

Figures = Mapping[str, Any]
GAINS = ("need", "improvement", "vote")
SPOKEN_MEAN = 6


def gains(figures: Figures) -> str:
    """Return each gain against every problem having as much."""
    intro = (
        f"On {_of(figures)},\n`most` {figures['samples']}, the paired difference in accuracy from uniform, "
        "with its 95 % interval over problems:"
    )
    rows = [
        [str(row["mean"]), short(row["uniform"]["accuracy"]),
         *(interval(row[gain]["difference"], signed=True) for gain in GAINS),
         f"{row['uniform']['tokens']:,}", f"{row['need']['tokens']:,}"]
        for row in figures["gains"]
    ]  # fmt: skip
    columns = ["mean samples", "uniform", *(f"`{gain}`" for gain in GAINS), "tokens", "those of `need`"]
    return f"{intro}\n\n{markdown(columns, rows)}\n\n{_prior(figures)}"


def _of(figures: Figures) -> str:
    where = f"{figures['problems']} problems of `{figures['task']}` (`task.offset={figures['offset']}`)"
    return f"{where}, N = {figures['samples']}, seed {figures['seed']}, commit {figures['commit']}"


def _prior(figures: Figures) -> str:
    """Return what the weight of the first samples changes, and what rounds wait for."""
    weights = figures["prior_weight"]
    plain = [row["improvement"]["accuracy"] for row in figures["gains"]]
    change = max(abs(a - b) for own in weights.values() for a, b in zip(own, plain, strict=True))
    waits = next(row["improvement"] for row in figures["gains"] if row["mean"] == SPOKEN_MEAN)
    return (
        f"A `prior_weight` of {' or '.join(weights)} changes the accuracy of `improvement` by at most "
        f"{short(change)}. Its sequential tokens\nat a mean of {SPOKEN_MEAN} are "
        f"{waits['sequential']:.0f} a problem, against {figures['all']['sequential']:.0f} of "
        f"{figures['samples']} samples in one call: a parcel of one sample is drawn after the last."
    )


def floors(figures: Figures) -> str:
    """Return whom floors give up, and what that costs ``need`` on these very problems."""
    fitted = [
        [str(f["num_samples"]), f"{f['level']:.4f}".lstrip("0"), f"{f['share'] * figures['problems']:.0f}",
         str(f["num_solved"])]
        for f in figures["floors"]
    ]  # fmt: skip
    plain = {row["mean"]: row["need"]["accuracy"] for row in figures["gains"]}
    tried = [
        [
            ", ".join(map(str, row["after"])),
            str(row["mean"]),
            short(row["accuracy"]),
            short(plain[row["mean"]]),
        ]
        for row in figures["give up"]
    ]
    solved = f"of these with a right one among {figures['samples']}"
    columns = ["after samples", "least reward (all problems)", "given up", solved]
    never = f"a share of {short(figures['never solved'])} is never solved"
    parts = [
        f"On {_of(figures)},\n{never}. The floors of each half, on the other half:",
        markdown(columns, fitted),
        "What floors of all problems cost `need` on these very problems:",
        markdown(["floors after", "mean samples", "accuracy", "without floors"], tried),
    ]
    return "\n\n".join(parts)
