"""``python -m orchestrator.allocation fit SWEEP reference=RUN to=PLAN budget=B``."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from orchestrator.allocation.bounds import Interval
from orchestrator.config.arguments import read_arguments
from orchestrator.errors import ConfigError
from orchestrator.observe.progress import stdout_console
from orchestrator.planning.features import USAGE as FEATURES_USAGE
from orchestrator.planning.features import fit_votes
from orchestrator.planning.fitting import FittedPlan, fit_plan, gain_of
from orchestrator.planning.floors import USAGE as FLOORS_USAGE
from orchestrator.planning.floors import fit_file, floors_table
from orchestrator.planning.outcomes import BYS, By, read_swept
from orchestrator.planning.surface import KnobSurface, knob_surfaces
from orchestrator.suggest import nearest
from orchestrator.terminal import complain

USAGE = """usage: python -m orchestrator.allocation fit SWEEP reference=RUN_DIR to=PLAN budget=B [KEY=VALUE]
       python -m orchestrator.allocation floors RUN_DIR to=FILE
       python -m orchestrator.allocation features RUN_DIR to=FILE

Chooses for each level of difficulty the setting of a sweep that is best there within a budget, and writes a
plan for strategy=compute_optimal plan=PLAN.
  reference=  a run of independent samples of the same problems, with another seed than the sweep
  to=         the file
  budget=     samples' worth of generation a problem, as a mean
  by=         predicted (mean reward of the first probes; 4) or oracle (pass rate: a bound, no run can use it)
  probes=     samples that a run estimates difficulty from (4)
  levels=     of difficulty (5)
  folds=      of the problems, for the cross-validated figures (2)
  across=     true: the budget bounds the mean of the plan instead of that of each level (false)"""
DEFAULTS = {
    "reference": "", "to": "", "budget": "", "by": "predicted", "probes": "4", "levels": "5", "folds": "2",
    "across": "false",
}  # fmt: skip


def main(arguments: list[str]) -> int:
    """Write the plan, print its figures and return the exit status: 2, with one line, for bad arguments."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    try:
        if arguments[0] == "floors":
            return _print_floors(arguments[1:])
        if arguments[0] == "features":
            return _print_votes(arguments[1:])
        if arguments[0] != "fit":
            allowed = f"must be fit, floors or features{nearest(arguments[0], ['fit', 'floors', 'features'])}"
            raise ConfigError("command", arguments[0], allowed)
        fitted, surfaces, to = _fit(arguments[1:])
    except ConfigError as mistake:
        complain(str(mistake))
        return 2
    except OSError as failure:
        complain(f"SWEEP: {failure}")
        return 2
    console = stdout_console()
    console.print(levels_table(fitted))
    console.print(figures_table(fitted))
    for surface in surfaces:
        console.print(_in_words(surface, fitted.budget), soft_wrap=True)
    console.print(f"plan: {to}", soft_wrap=True)
    return 0


def _print_floors(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(FLOORS_USAGE)
        return 0 if arguments else 2
    floors, share, to = fit_file(arguments)
    stdout_console().print(floors_table(floors, share))
    stdout_console().print(f"floors: {to}", soft_wrap=True)
    return 0


def _print_votes(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(FEATURES_USAGE)
        return 0 if arguments else 2
    tables, to = fit_votes(arguments)
    for table in tables:
        stdout_console().print(table)
    stdout_console().print(f"plan: {to}", soft_wrap=True)
    return 0


def _fit(arguments: list[str]) -> tuple[FittedPlan, list[KnobSurface], Path]:
    sweep, options = read_arguments(arguments, DEFAULTS, "SWEEP")
    for key, allowed in (("reference", "the directory of a run"), ("to", "the file to write")):
        if not options[key]:
            raise ConfigError(key, None, f"must be {allowed}")
    if options["by"] not in BYS:
        allowed = f"must be one of {', '.join(BYS)}{nearest(options['by'], BYS)}"
        raise ConfigError("by", options["by"], allowed)
    by: By = "oracle" if options["by"] == "oracle" else "predicted"
    probes, levels = _number(options, "probes", 1), _number(options, "levels", 1)
    folds = _number(options, "folds", 2)
    budget = _number(options, "budget", 1)
    if options["across"] not in ("true", "false"):
        raise ConfigError("across", options["across"], "must be true or false")
    across = options["across"] == "true"
    swept = read_swept(sweep, Path(options["reference"]), by, probes)
    if folds > len(swept.problem_ids):
        raise ConfigError("folds", folds, f"must be at most {len(swept.problem_ids)}, the problems")
    fitted = fit_plan(swept, by, levels=levels, folds=folds, budget=budget, probes=probes, across=across)
    fitted.write(Path(options["to"]))
    return fitted, knob_surfaces(swept, fitted.table, budget), Path(options["to"])


def _number(options: dict[str, str], key: str, least: int) -> int:
    if not options[key].isdecimal() or int(options[key]) < least:
        raise ConfigError(key, options[key] or None, f"must be a whole number of {least} or more")
    return int(options[key])


def levels_table(fitted: FittedPlan) -> Table:
    """Return the setting of each level, with what it gets and costs there, in sample."""
    table = _table(f"the plan at {fitted.budget:g} samples a problem, by={fitted.by}", "level", "problems",
                   "difficulty from", "setting", "accuracy (in sample)", "samples")  # fmt: skip
    outcomes = fitted.swept.charged
    levels = fitted.table.levels(outcomes.ease)
    for level, setting in enumerate(fitted.table.chosen):
        own = levels == level
        if own.any():
            table.add_row(
                f"{level + 1}", str(int(own.sum())), f"{outcomes.ease[own].min():.3f}",
                fitted.swept.candidates[setting].name, f"{outcomes.accuracy[setting, own].mean():.3f}",
                f"{outcomes.cost[setting, own].mean():.2f}",
            )  # fmt: skip
    return table


def figures_table(fitted: FittedPlan) -> Table:
    """Return the figures: a bound in sample, what holds on other problems, and what an oracle would get."""
    table = _table("", "", "accuracy", "samples", "gain over the single setting (95 % over problems)")
    single = f"single setting: {fitted.swept.candidates[fitted.single].name}"
    held, own, free = fitted.held_out, fitted.own, fitted.uncharged
    table.add_row(single, f"{own.uniform.mean():.3f}", f"{own.uniform_cost.mean():.2f}", "")
    rows = {
        "plan, cross-validated": held,
        "plan, cross-validated, probes not charged": free,
        "plan, in sample (bound)": own,
    }
    for name, each in rows.items():
        cells = f"{each.planned.mean():.3f}", f"{each.planned_cost.mean():.2f}", _gain(gain_of(each))
        table.add_row(name, *cells, style="bold" if each is held else "")
    oracle = "best-of-N, oracle allocation (bound)"
    table.add_row(oracle, f"{fitted.oracle:.3f}", f"{fitted.budget:.2f}", "")
    return table


def _gain(interval: Interval) -> str:
    return f"{interval.value:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"


def _in_words(surface: KnobSurface, budget: float) -> str:
    fit = surface.response
    named = zip(surface.knobs, fit.a, fit.b, strict=True)
    slopes = ", ".join(f"{name}: {a:+.2f} {b:+.2f} i" for name, a, b in named)
    best = ", ".join(f"{name}={value:g}" for name, value in zip(surface.knobs, surface.best, strict=True))
    return (
        f"response surface of {surface.strategy}: slopes of log(knob) {slopes}; "
        f"best within {budget:g} samples: {best}, forecast {surface.forecast:.3f}"
    )


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title or None, title_justify="left")
    for name in columns:
        table.add_column(name, no_wrap=True)
    return table
