"""What a benchmark of strategies reports: measured points, tables of them, and the tables in a document."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from orchestrator.intervals import paired_interval
from tests.bench.sweeps import Outcomes, Point, by_problem, interval


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One strategy at one budget: means over problems and seeds; costs are of one problem.

    ``seconds`` is the wall time of a run over its problems, as many in flight as the run allows;
    ``difference`` is the accuracy minus the reference's at the same budget, paired by problem and seed.
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


Curves = Mapping[str, Sequence[Measured]]
"""By strategy, each by rising budget."""


def measure(
    outcomes: Outcomes, strategy: str, budget: int, seeds: Sequence[int], reference: str | None
) -> Measured:
    """The figures of one strategy at one budget; ``reference`` None compares with nothing."""
    runs = [outcomes[Point(budget, strategy, seed)].summary for seed in seeds]
    rows = by_problem(outcomes, strategy, budget, seeds)
    num_problems = len(rows)
    versus = None
    if reference is not None:
        versus = Estimate(*paired_interval(rows, by_problem(outcomes, reference, budget, seeds)))
    return Measured(
        strategy=strategy,
        budget=budget,
        accuracy=Estimate(*interval(rows)),
        pass_at_budget=mean(run["pass_at_budget"] for run in runs),
        generated_tokens=mean(run["usage"]["generated_tokens"] for run in runs) / num_problems,
        reward_calls=mean(run["usage"]["reward_calls"] for run in runs) / num_problems,
        seconds=mean(run["wall_seconds"] for run in runs) / num_problems,
        num_errors=sum(run["num_errors"] for run in runs),
        difference=versus,
    )


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def short(value: float, *, signed: bool = False) -> str:
    """Three decimals, without the zero before the point."""
    return f"{value:{'+' if signed else ''}.3f}".replace("0.", ".", 1)


def curve_table(points: Sequence[Measured]) -> str:
    """One strategy: a line for each budget."""
    rows = [
        [
            str(p.budget),
            f"{short(p.accuracy.value)} ({short(p.accuracy.low)} to {short(p.accuracy.high)})",
            short(p.pass_at_budget),
            f"{p.generated_tokens:,.0f}",
            f"{p.reward_calls:,.1f}",
            f"{p.seconds:.2f}",
        ]
        for p in points
    ]
    columns = ["N", "accuracy (95 %)", "pass@N", "generated tokens", "reward calls", "seconds"]
    return markdown(columns, rows)


def accuracy_table(curves: Curves, budgets: Sequence[int]) -> str:
    """Every strategy against every budget."""
    rows = []
    for strategy, points in curves.items():
        found = {p.budget: p for p in points}
        cells = [short(found[b].accuracy.value) if b in found else "" for b in budgets]
        rows.append([f"`{strategy}`", *cells])
    return markdown(["accuracy", *(f"N = {b}" for b in budgets)], rows)


def difference_table(curves: Curves, budgets: Sequence[int], reference: str) -> str:
    """Every strategy minus the reference at the same budget."""
    rows = []
    for strategy, points in curves.items():
        found = {p.budget: p.difference for p in points}
        cells = [_difference(found.get(b)) for b in budgets]
        if any(cells):
            rows.append([f"`{strategy}`", *cells])
    return markdown([f"minus `{reference}`", *(f"N = {b}" for b in budgets)], rows)


def _difference(e: Estimate | None) -> str:
    if e is None:
        return ""
    value, low, high = (short(x, signed=True) for x in (e.value, e.low, e.high))
    return f"{value} ({low} to {high})"


def cheapest(points: Sequence[Measured], accuracy: float) -> Measured | None:
    """The point of fewest generated tokens that is at least so accurate; None where no budget is enough."""
    enough = [p for p in points if p.accuracy.value >= accuracy]
    return min(enough, key=lambda p: p.generated_tokens, default=None)


def reach_table(curves: Curves, method: str, reference: str) -> str:
    """What ``method`` needs to be as accurate as ``reference`` is at each budget: measured points alone."""
    rows = []
    for goal in curves[reference]:
        found = cheapest(curves[method], goal.accuracy.value)
        cells = ["not reached", "", "", "", ""] if found is None else _ratios(goal, found)
        rows.append([f"N = {goal.budget}: {short(goal.accuracy.value)}", *cells])
    times = ["samples", "tokens", "reward calls"]
    return markdown(
        [f"`{reference}`", f"`{method}`", "accuracy", *(f"{t}, times fewer" for t in times)], rows
    )


def _ratios(goal: Measured, found: Measured) -> list[str]:
    pairs = [
        (goal.budget, found.budget),
        (goal.generated_tokens, found.generated_tokens),
        (goal.reward_calls, found.reward_calls),
    ]
    ratios = [f"{a / b:.2f}" if b else "" for a, b in pairs]
    return [f"N = {found.budget}", short(found.accuracy.value), *ratios]


def filled(document: str, name: str, text: str) -> str:
    """The document with ``text`` between its comments ``<!-- name -->`` and ``<!-- /name -->``.

    Raises ValueError where it does not have them, once each and in this order.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if len(pattern.findall(document)) != 1:
        raise ValueError(f"the document needs {begin} and {end}, once each")
    return pattern.sub(lambda _: f"{begin}\n{text}\n{end}", document)
