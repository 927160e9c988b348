"""The blocks of docs/calibration.md and docs/saturation.md, and two of docs/adaptive.md, from docs/data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.allocation.saturation_study import BETA, INFLATED
from tests.bench.adaptive_tables import interval
from tests.bench.allocator_pages import floors, gains
from tests.bench.curves import markdown, short
from tests.bench.stored import DATA

Figures = Mapping[str, Any]


def of(figures: Figures) -> str:
    """Return what a reader needs to repeat the figures."""
    size = f"{figures['problems']} development problems x {figures['samples']} samples"
    return f"{size}, seed {figures['seed']}, commit {figures['commit']}"


def quality(figures: Figures) -> str:
    """Return ECE, Brier score and AUC of the last reward, and where chain's rewards do not rise."""
    rows = [
        [task, name, short(q["ece"]), f"{q['brier']:.4f}".lstrip("0"), short(q["auc"])]
        for task, own in figures["tasks"].items()
        for name, q in own["quality"].items()
    ]
    low, high = figures["tasks"]["chain"]["right"]
    table = markdown(["task", "rewards", "ECE", "Brier", "AUC"], rows)
    shares = (
        f"Of chain's samples a share of {short(low['right'])} is right where the reward is {_range(low)}, "
        f"and {short(high['right'])} where it is {_range(high)}."
    )
    how = f"last reward, held out by problem, a mean over {figures['splits']} random splits"
    return f"{of(figures)}; {how}:\n\n{table}\n\n{shares}"


def _range(found: Figures) -> str:
    return " to ".join(f"{found[key]:g}".lstrip("0") for key in ("from", "to"))


def weighing(figures: Figures) -> str:
    """Return what a map does to the methods that weigh, beside rewards as they come."""
    tasks = figures["tasks"]
    columns = ["", *(c for task in tasks for c in (f"{task}: raw", "mapped", "difference (95 %)"))]
    rows = [[rule, *(c for task in tasks for c in _weighed(tasks[task]["weighing"][rule]))]
            for rule in next(iter(tasks.values()))["weighing"]]  # fmt: skip
    return markdown(columns, rows)


def _weighed(found: Figures) -> list[str]:
    """The samples are shown where a rule may draw fewer than all."""
    raw, own = found["raw"], found["mapped"]
    stops = raw["samples"] != own["samples"]
    at = (f" at {x['samples']:.1f} samples" if stops else "" for x in (raw, own))
    cells = [f"{short(x['accuracy'])}{where}" for x, where in zip((raw, own), at, strict=True)]
    return [*cells, interval(found["difference"], signed=True)]


def tilt(figures: Figures) -> str:
    """Return the accuracy of the tilted vote from a majority to the best sample."""
    tasks = figures["tasks"]
    names = list(next(iter(tasks.values()))["tilt"])
    rows = [[task, *(short(own["tilt"][name]) for name in names)] for task, own in tasks.items()]
    return markdown([f"vote, N = {figures['list']}", *names], rows)


def bounds(figures: Figures) -> str:
    """Return what N samples allow at best and at worst."""
    tasks, num = figures["tasks"], figures["samples"]
    rows = [[name, *(interval(own["bounds"][name]) for own in tasks.values())]
            for name in next(iter(tasks.values()))["bounds"]]  # fmt: skip
    return f"{of(figures)}:\n\n{markdown([f'at N = {num}', *tasks], rows)}"


def first_pilot(figures: Figures) -> str:
    """Return what each family forecasts from the first pilot, beside what was measured."""
    tasks, num = figures["tasks"], figures["samples"]
    rows = [
        [
            task,
            short(own["bounds"]["best-of-N under the oracle"][0]),
            *(interval(own["first pilot"][family]) for family in (INFLATED, BETA)),
        ]
        for task, own in tasks.items()
    ]
    return markdown([f"at N = {num}", "measured", f"{INFLATED}, first pilot (95 %)", BETA], rows)


def surface(figures: Figures) -> str:
    """Return k* by temperature, of the trained verifiers and of the policy's certainty, and the fall at 0."""
    tasks, num = figures["tasks"], figures["samples"]
    judged = [(task, judge, by_t) for task, each in tasks.items() for judge, by_t in each["surface"].items()]
    temperatures = [t for t in judged[0][2] if t != "T=inf"]
    rows = [
        [task, judge, *(str(by_t[t]["k*"]) for t in temperatures), *_fall(by_t["T=0"], num)]
        for task, judge, by_t in judged
    ]
    at_zero = ("T=0: at k*", f"at {num}", "fall after k* (95 %)")
    return markdown(["task", "judge", *(f"k*, {t}" for t in temperatures), *at_zero], rows)


def _fall(own: Figures, num: int) -> list[str]:
    return [short(own["at k*"]), short(own[f"at {num}"]), interval(own["fall"], signed=True)]


def plans(figures: Figures) -> str:
    """Return the gains of each plan, cross-validated, with the probes for nothing, and in sample."""
    columns = ["budget", "single setting", "plan, cross-validated: gain (95 %)", "of one split",
               "samples: plan, single",
               "probes not charged", "in sample (bound)", "oracle allocation (bound)"]  # fmt: skip
    how = f"cross-validated gains are means over {figures['splits']} random splits into two folds"
    return f"{of(figures)}; {how}:\n\n{markdown(columns, [_plan(row) for row in figures['plans']])}"


def _plan(row: Figures) -> list[str]:
    name, _, size = row["single"].partition(" N=")
    how = {"across": row["across"], "by=oracle": row["by"] == "oracle"}
    budget = ", ".join([f"{row['budget']:g}", *(f"`{key}`" for key, is_so in how.items() if is_so)])
    held, free = row["cross-validated"], row["probes not charged"]
    own, *others = (interval(x, signed=True) for x in (held["gain"], free["gain"], row["in sample"]))
    ends = " to ".join(short(x, signed=True) for x in held["splits"])
    single = f"`{name}` N = {size}, {short(row['single accuracy'])}"
    spent = ", ".join(f"{x:.1f}" for x in held["samples"])
    return [budget, single, own, ends, spent, *others, short(row["oracle"])]


Rendered = Mapping[str, Mapping[str, Callable[[Figures], str]]]
PAGES: Mapping[str, Rendered] = {
    "docs/calibration.md": {
        "calibration": {
            "calibration quality": quality,
            "calibration weighing": weighing,
            "calibration tilt": tilt,
        }
    },
    "docs/adaptive.md": {"allocators": {"allocators gains": gains, "allocators floors": floors}},
    "docs/saturation.md": {
        "saturation": {"first pilot": first_pilot, "bounds": bounds, "surface": surface},
        "plans": {"plans": plans},
    },
}
"""By page, by file of docs/data, the blocks."""


def pilot_blocks(folder: Path = DATA) -> dict[str, dict[str, str]]:
    """Return the blocks of each page that has a file."""
    found = {page: _blocks(files, folder) for page, files in PAGES.items()}
    return {page: blocks for page, blocks in found.items() if blocks}


def _blocks(files: Rendered, folder: Path) -> dict[str, str]:
    found = {name: folder / f"{name}.json" for name in files}
    read = {name: json.loads(path.read_text()) for name, path in found.items() if path.exists()}
    return {block: make(read[name]) for name in read for block, make in files[name].items()}
