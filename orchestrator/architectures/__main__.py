"""``python -m orchestrator.architectures DIR to=FILE task=... engine=...``: search for a pipeline."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from omegaconf import OmegaConf
from rich.table import Table

from orchestrator.architectures.grid import Architecture
from orchestrator.architectures.halving import Outcome, halve
from orchestrator.architectures.measuring import Runs, StoppedError, first_problem
from orchestrator.architectures.request import Request, read_request
from orchestrator.errors import ConfigError
from orchestrator.intervals import wilson_interval
from orchestrator.observe.events import warnings_shown
from orchestrator.observe.progress import stdout_console
from orchestrator.runs.execution import Status
from orchestrator.runs.main import process_as_it_was, with_models
from orchestrator.runs.models import Models
from orchestrator.storage.atomic import write_atomically
from orchestrator.terminal import complain

USAGE = """usage: python -m orchestrator.architectures DIR to=FILE [AXIS=VALUE,VALUE ...] [KEY=VALUE ...]

Searches for a pipeline (strategy=pipeline): every combination of the axes on a few problems, the better half
on twice as many, until one is left. Its runs and their cassette are in DIR; started again, it resumes.
  to=          the file to write: strategy=NAME takes it from DIR/strategy/NAME.yaml with --config-dir DIR
  policies=    who writes drafts: names of policies, several joined by + (engine)
  samples=     drafts of each (1,4,8)
  fusions=     layers of fusions (0,1)
  fusers=      fusions a layer (1,4)
  ranked=      whether a critique and a ranking come before a fusion (false,true)
  last=        what makes one answer: vote, reward, random, mbr, checklist, fuse (vote,fuse)
  top_k=       drafts that a ranking keeps (5)
  judge=       the policy that criticises, ranks and picks by a checklist (engine)
  first=       problems of the first round (8)
  problems=    problems at most (64)
  tokens=      generated tokens to spend at most; repeated replies are free (no limit)
  cost=        the same in money, at the prices of the policies: engine.price.generated=15
Other keys are those of run.py: task=gsm8k engine=transformers engine.model=NAME verifier=none"""


def ranking_table(
    outcome: Outcome, architectures: Sequence[Architecture], unit: str = "tokens", most: int = 20
) -> Table:
    """Return the best architectures: what each got right, and its cost, on the problems that it has seen."""
    table = Table()
    for name in ("", "pipeline", "problems", "accuracy (95 %)", f"{unit} a problem"):
        table.add_column(name, no_wrap=name != "pipeline")
    for place, number in enumerate(outcome.ranking[:most], 1):
        table.add_row(str(place), architectures[number].name, *_figures(outcome, number))
    return table


def _figures(outcome: Outcome, number: int) -> list[str]:
    arm = outcome.arms[number]
    if not arm.right:
        return ["0", "", ""]
    low, high = wilson_interval(round(sum(arm.right)), len(arm.right))
    return [
        f"{len(arm.right):,}",
        f"{arm.accuracy:.3f} ({low:.3f} to {high:.3f})",
        f"{arm.cost:,.0f}" if arm.cost >= 10 else f"{arm.cost:.3g}",
    ]


def strategy_file(architecture: Architecture, outcome: Outcome, unit: str = "tokens") -> str:
    """Return the text of a file for ``strategy=``: the shipped pipeline with other layers."""
    num, accuracy, cost = _figures(outcome, outcome.best.number)
    said = f"# {architecture.name}: chosen of {len(outcome.arms)} by python -m orchestrator.architectures.\n"
    figures = f"# On the {num} problems that chose it: accuracy {accuracy}, {unit} a problem {cost}.\n"
    content = {"defaults": ["pipeline", "_self_"], "layers": architecture.layers}
    return said + figures + OmegaConf.to_yaml(OmegaConf.create(content))


def run(request: Request, models: Models) -> Status:
    """Search on these models."""
    begin = first_problem(request.overrides)
    how = (request.folder, request.architectures, request.overrides, models, begin)
    return search(request, Runs(*how, priced=request.priced))


def search(request: Request, runs: Runs) -> Status:
    """Measure the architectures by halving, write the file of the best one and print the table.

    Returns the status of a run that does not reach its end.
    """
    try:
        outcome = halve(
            len(request.architectures),
            runs.measure,
            first=request.first,
            num_problems=request.num_problems,
            cost=request.most,
        )
    except StoppedError as stop:
        return stop.status
    best, unit = request.architectures[outcome.best.number], "cost" if request.priced else "tokens"
    request.to.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(request.to, strategy_file(best, outcome, unit))
    console = stdout_console()
    spent = f"a cost of {outcome.spent:,.4g}" if request.priced else f"{outcome.spent:,.0f} generated tokens"
    console.print(ranking_table(outcome, request.architectures, unit))
    console.print(f"{outcome.stopped}: {spent}", soft_wrap=True)
    console.print(f"strategy: {request.to}", soft_wrap=True)
    return Status.FINISHED


def main(arguments: list[str]) -> int:
    """Search and return the exit status: 2, with one line, for bad arguments."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    try:
        request = read_request(arguments)
    except ConfigError as mistake:
        complain(str(mistake))
        return 2
    try:
        with process_as_it_was():
            return with_models(lambda models: run(request, models))
    except OSError as failure:
        complain(f"DIR: {failure}")
        return 2


if __name__ == "__main__":
    with warnings_shown():
        sys.exit(main(sys.argv[1:]))
