"""What a benchmark of strategies keeps in docs/data: the figures of a table, and what they are computed from.

A file has a digit a problem for each point, so it is small, and every figure can be computed again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from orchestrator.storage.atomic import write_atomically
from tests.bench.scaling import Estimate, Floats, estimate, resamples
from tests.bench.sweeps import REPOSITORY, Outcome

DATA = REPOSITORY / "docs" / "data"
"""Figures of the documents. Blocks that a benchmark writes as text are kept there too, as NAME.txt."""
MAX_SEEDS = 9


@dataclass(frozen=True, slots=True)
class Measured:
    """One strategy at one budget: means over problems and seeds; costs are of one problem.

    ``seconds`` is the wall time of a run over its problems, as many in flight as the run allows; 0 where the
    answers were read off the samples of a larger run. ``difference`` is the accuracy minus the reference's
    at the same budget, paired by problem and seed. ``right`` is a digit a problem, in the order of the
    problems' names: with how many seeds it was right; empty for figures that were kept without.
    """

    strategy: str
    budget: int
    accuracy: Estimate
    pass_at_budget: float
    generated_tokens: float
    reward_calls: float
    seconds: float
    num_errors: int
    difference: Estimate | None
    right: str = ""


Curves = Mapping[str, Sequence[Measured]]
"""By method, each by rising budget."""


@dataclass(frozen=True, slots=True)
class Table:
    """Methods on the same problems and seeds; ``commit`` is that of the code which ran them.

    Differences are from ``reference``. ``temperatures`` names the methods that were not run at the common
    one. ``first`` is the number of the first problem.
    """

    commit: str
    task: str
    split: str
    problems: int
    seeds: tuple[int, ...]
    reference: str | None
    temperatures: Mapping[str, float]
    curves: Curves
    first: int = 0

    def rates(self, name: str) -> Floats:
        """The share of seeds with which each problem was right: ``[problems, budgets]``."""
        digits = [[int(digit) for digit in point.right] for point in self.curves[name]]
        return np.array(digits, dtype=float).T / len(self.seeds)

    @property
    def is_complete(self) -> bool:
        """Whether every point has what its figures were computed from."""
        return all(point.right for points in self.curves.values() for point in points)


def measure(strategy: str, budget: int, outcomes: Sequence[Outcome]) -> Measured:
    """Return the figures of one budget from its runs, one a seed; without interval and difference.

    Raises ValueError for more seeds than a digit holds, or for runs of different problems.
    """
    problems = {tuple(line["problem_id"] for line in outcome.lines) for outcome in outcomes}
    if len(outcomes) > MAX_SEEDS or len(problems) != 1:
        raise ValueError(f"needs 1..{MAX_SEEDS} runs of the same problems")
    num, usages = len(outcomes[0].lines), [o.summary["usage"] for o in outcomes]
    rows = zip(*(o.lines for o in outcomes), strict=True)
    counts = [sum(bool(line["correct"]) for line in row) for row in rows]
    share = sum(counts) / num / len(outcomes)
    return Measured(
        strategy=strategy,
        budget=budget,
        accuracy=Estimate(share, share, share),
        pass_at_budget=mean(o.summary["pass_at_budget"] for o in outcomes),
        generated_tokens=mean(u["generated_tokens"] for u in usages) / num,
        reward_calls=mean(u["reward_calls"] for u in usages) / num,
        seconds=mean(o.summary["wall_seconds"] for o in outcomes) / num,
        num_errors=sum(o.summary["num_errors"] for o in outcomes),
        difference=None,
        right="".join(map(str, counts)),
    )


def with_intervals(table: Table) -> Table:
    """Return the table with intervals over problems, and differences from its reference."""
    shares, reference = resamples(table.problems), table.reference
    means = {name: shares @ table.rates(name) for name, points in table.curves.items() if points}
    compared = table.curves.get(reference, ()) if reference else ()
    at = {p.budget: means[str(reference)][:, i] for i, p in enumerate(compared)}

    def judged(name: str, index: int, point: Measured) -> Measured:
        own, other = means[name][:, index], at.get(point.budget) if name != reference else None
        difference = None if other is None else estimate(own - other)
        return replace(point, accuracy=estimate(own), difference=difference)

    curves = {n: tuple(judged(n, i, p) for i, p in enumerate(points)) for n, points in table.curves.items()}
    return replace(table, curves=curves)


def write_table(name: str, table: Table, folder: Path = DATA) -> None:
    """Write docs/data/NAME.json: six decimals, a line a point."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{name}.json", spread_out(_rounded(asdict(table))) + "\n")


def spread_out(value: Any, levels: int = 3) -> str:
    """Return JSON with its outer levels on lines of their own and the inner ones on one line."""
    inner = list(value.values()) if isinstance(value, dict) else value
    nested = isinstance(inner, list) and any(isinstance(one, (dict, list)) for one in inner)
    if levels == 0 or not nested:
        return json.dumps(value, allow_nan=False)
    keys = [f"{json.dumps(key)}: " for key in value] if isinstance(value, dict) else [""] * len(inner)
    lines = ",\n".join(key + spread_out(one, levels - 1) for key, one in zip(keys, inner, strict=True))
    return f"{{\n{lines}\n}}" if isinstance(value, dict) else f"[\n{lines}\n]"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def read_table(name: str, folder: Path = DATA) -> Table | None:
    """Return what docs/data/NAME.json holds; None without the file."""
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text())
    curves = {name: tuple(map(_point, points)) for name, points in content["curves"].items()}
    return Table(**{**content, "seeds": tuple(content["seeds"]), "curves": curves})


def _point(stored: Mapping[str, Any]) -> Measured:
    difference = stored["difference"]
    estimates = {
        "accuracy": Estimate(**stored["accuracy"]),
        "difference": None if difference is None else Estimate(**difference),
    }
    return Measured(**{**stored, **estimates})


def write_text(name: str, text: str, folder: Path = DATA) -> None:
    """Keep a block that is no table of strategies: docs/data/NAME.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{name}.txt", text + "\n")
