"""docs/data/adaptive.json as the tables of docs/adaptive.md: every number of a table is in the file."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.bench.curves import filled, markdown, short

Data = Mapping[str, Any]
Row = Mapping[str, Any]


def interval(three: Sequence[float], *, signed: bool = False) -> str:
    """Return a number with its interval."""
    value, low, high = (short(x, signed=signed) for x in three)
    return f"{value} ({low} to {high})"


def intro(data: Data) -> str:
    """Say what was measured."""
    seeds = f"{data['seeds']} seeds" if data["seeds"] > 1 else "1 seed"
    size = f"{data['problems']} test problems x {seeds}, N = {data['samples']}"
    dev = f"{data['dev problems']} development problems ({data['dev samples']} samples each)"
    return textwrap.fill(
        f"{size}, recomputed from samples that were drawn once. Differences are paired by problem and seed, "
        f"with 95 % intervals over problems. A bold level was chosen on {dev}: the fewest tokens of those "
        f"whose interval there ends above {short(-data['slack'])}. Sequential tokens are those of samples "
        "drawn one after another, without `stop.ahead`.",
        width=118,
        break_on_hyphens=False,
    )


def rule_table(rows: Sequence[Row]) -> str:
    """Return a line for each rule and level: accuracy against tokens and against sequential tokens."""
    columns = [
        "rule", "level", "accuracy (95 %)", "samples", "tokens", "sequential tokens",
        "minus all N (95 %)", "better / worse",
    ]  # fmt: skip
    return markdown(columns, [_rule_cells(r) for r in rows])


def _rule_cells(r: Row) -> list[str]:
    is_all = r["family"] in ("all", "vote, all")
    level = f"**{r['level']}**" if r.get("chosen") and r["level"] else r["level"]
    return [
        r["family"], level, interval(r["accuracy"]), f"{r['samples']:.1f}", f"{r['tokens']:,.0f}",
        f"{r['sequential']:,.0f}", "" if is_all else interval(r["difference"], signed=True),
        "" if is_all else f"{r['better']} / {r['worse']}",
    ]  # fmt: skip


def rounds_table(tasks: Mapping[str, Data]) -> str:
    """Return ``allocator=rounds`` against every problem having as much."""
    columns = [
        "task", "a mean of 6 samples", "accuracy (95 %)", "tokens", "sequential tokens",
        "minus uniform, equal tokens", "minus uniform, equal samples", "better / worse",
    ]  # fmt: skip
    return markdown(columns, [_rounds_cells(task, r) for task, data in tasks.items() for r in data["rounds"]])


def _rounds_cells(task: str, r: Row) -> list[str]:
    level = f"**{r['level']}**" if r.get("chosen") else r["level"]
    has_reference = "at equal samples" in r
    gains = [
        interval(r[key], signed=True) if has_reference else "" for key in ("difference", "at equal samples")
    ]
    return [
        task, f"{r['family']}: {level}", interval(r["accuracy"]), f"{r['tokens']:,.0f}",
        f"{r['sequential']:,.0f}", *gains, f"{r['better']} / {r['worse']}" if has_reference else "",
    ]  # fmt: skip


def saturation_table(tasks: Mapping[str, Data]) -> str:
    """Return the errors of forecasts from pilots of 8."""
    columns = [
        "task",
        "family",
        "mean error at 64",
        "least to greatest",
        "pilots within .06",
        "N*, median (truth)",
    ]
    rows = [
        [
            task, r["family"], short(sum(r["errors"]) / len(r["errors"]), signed=True),
            f"{short(min(r['errors']), signed=True)} to {short(max(r['errors']), signed=True)}",
            f"{sum(abs(e) <= 0.06 for e in r['errors'])} of {len(r['errors'])}",
            f"{sorted(r['N*'])[len(r['N*']) // 2]} ({r['N* of the truth'] or 'still rising'})",
        ]
        for task, data in tasks.items() for r in data["saturation"]
    ]  # fmt: skip
    return markdown(columns, rows)


def calibration_table(tasks: Mapping[str, Data]) -> str:
    """Return ECE, Brier score and AUC on test problems."""
    columns = ["task", "map", "ECE", "change (95 %)", "Brier", "change (95 %)", "AUC"]
    rows = [
        [
            task, r["map"], short(r["ece"]), _change(r, "ece change"), f"{r['brier']:.4f}".lstrip("0"),
            _change(r, "brier change", 4), short(r["auc"]),
        ]
        for task, data in tasks.items() for r in data["calibration"]
    ]  # fmt: skip
    return markdown(columns, rows)


def _change(r: Row, key: str, digits: int = 3) -> str:
    if key not in r:
        return ""
    value, low, high = (f"{x:+.{digits}f}".replace("0.", ".", 1) for x in r[key])
    return f"{value} ({low} to {high})"


def plan_table(tasks: Mapping[str, Data]) -> str:
    """Return plans: in sample, cross-validated, and on test problems."""
    columns = [
        "task", "budget", "settings, easiest level first", "in sample (bound)",
        "cross-validated, one split (95 %)", "test: accuracy", "tokens", "minus uniform, equal tokens",
    ]  # fmt: skip
    rows = [_plan_cells(task, r) for task, data in tasks.items() for r in data.get("plans", ())]
    return markdown(columns, rows)


def _plan_cells(task: str, r: Row) -> list[str]:
    names = [name.replace("best_of_n N=", "") for name in r["plan"]]
    same = len({*names}) == 1
    plan = f"best of {names[0]} at all" if same else f"best of {', '.join(names)}"
    budget = f"{r['budget']}{', `across`' if r['across'] else ''}"
    shown = r.get("deployed")
    cells = ["needs a run", "", ""]
    if shown:
        cells = [
            interval(shown["accuracy"]),
            f"{shown['tokens']:,.0f}",
            interval(shown["difference"], signed=True),
        ]
    return [
        task, budget, plan, short(r["in sample"], signed=True),
        interval(r["cross-validated"], signed=True), *cells,
    ]  # fmt: skip


def strategy_block(data: Data) -> str:
    """Return what docs/strategies.md says of compute_optimal."""
    of = f"{data['problems']} problems (test) x {data['seeds']} seeds"
    return f"{of}; [adaptive.md](adaptive.md#measured) has the rest.\n\n{plan_table(data['tasks'])}"


REGIONS: Mapping[str, Callable[[Data], str]] = {
    "measured adaptive": intro,
    **{
        f"measured {task} rules": lambda data, task=task: rule_table(data["tasks"][task]["rules"])  # type: ignore[misc]
        for task in ("chain", "countdown")
    },
    "measured rounds": lambda data: rounds_table(data["tasks"]),
    "measured saturation": lambda data: saturation_table(data["tasks"]),
    "measured calibration": lambda data: calibration_table(data["tasks"]),
    "measured plans": lambda data: plan_table(data["tasks"]),
}
"""The marked regions of docs/adaptive.md."""
PAGES: Mapping[str, Mapping[str, Callable[[Data], str]]] = {
    "adaptive.md": REGIONS,
    "saturation.md": {"measured saturation": REGIONS["measured saturation"]},
    "strategies.md": {"measured compute_optimal": strategy_block},
}
"""By page of docs, what bench_adaptive fills there."""


def written(document: str, data: Data, regions: Mapping[str, Callable[[Data], str]] = REGIONS) -> str:
    """Return the document with every region as the data has it."""
    for name, table in regions.items():
        document = filled(document, name, table(data))
    return document
