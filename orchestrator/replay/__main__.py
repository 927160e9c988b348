"""What if: ``python -m orchestrator.replay RUN_DIR selection=weighted_majority budget=8``. No model runs."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from rich.table import Table

from orchestrator.config.arguments import read_arguments
from orchestrator.config.command_line import take_trust
from orchestrator.config.files import TARGET
from orchestrator.config.trust import refuse, shipped, wishes_of_config
from orchestrator.errors import ConfigError
from orchestrator.intervals import holm, sign_test
from orchestrator.observe.events import warnings_shown
from orchestrator.observe.progress import stdout_console
from orchestrator.replay.granted import GRANTED, allocator_node, replay
from orchestrator.replay.whatif import CHOICES, DRAWN, Recorded, WhatIf, check_format
from orchestrator.storage.atomic import json_bytes, write_atomically, write_json
from orchestrator.storage.results import read_results
from orchestrator.storage.run_files import CONFIG, RESULTS, SUMMARY, parse_config, read_summary
from orchestrator.storage.signing import is_own, sign, signed_bytes
from orchestrator.storage.totals import Totals
from orchestrator.terminal import complain

USAGE = """usage: python -m orchestrator.replay RUN_DIR [KEY=VALUE[,VALUE...] ...] [out=DIR]

Recomputes the answers of a run from its stored candidates; several values give every combination.
  selection=    argmax, majority, weighted_majority, sample
  aggregation=  of step rewards: last, min, prod, mean, model
  weight=  tie_break=   of a vote, as its strategy has them
  budget=       a smaller N, for independent samples (best_of_n, self_consistency, hex)
  strategy.stop.rule=  strategy.stop.at=  strategy.wave_size=  strategy.prune=    of the same strategies
  allocator=    uniform or rounds: budget= is the mean over problems; also allocator.gain=, .most=, ...
  out=          a folder for the recomputed runs, which python -m orchestrator.report reads
  trust=        true: build what RUN_DIR names although another user has written it (docs/security.md)"""
REPLAYED = "replayed_from"
KEYS = (*CHOICES, "budget", *DRAWN, *GRANTED)
COLUMNS = ("accuracy (95 %)", "pass@N", "tokens", "reward calls", "changed", "better / worse", "p, Holm")


def read_recorded(folder: Path, *, trusts: bool = False) -> Recorded:
    """Read a run directory.

    Raises ConfigError if it is not one or too old, and, unless it is the user's own or ``trusts``, if it
    requests classes that no file of the groups names.
    """
    missing = [name for name in (CONFIG, SUMMARY, RESULTS) if not os.path.lexists(folder / name)]
    if missing:
        raise ConfigError("RUN_DIR", folder, f"has no {missing[0]}: it must be the directory of one run")
    files = signed_bytes(folder)
    config = parse_config(files[CONFIG], folder, "RUN_DIR")
    is_trusted = trusts or is_own(folder, files)
    if not is_trusted:
        built = {group: config[group] for group in ("task", "strategy")}
        refuse("RUN_DIR", folder, wishes_of_config(built, shipped()))
    run = Recorded(config, read_summary(folder, "RUN_DIR"), read_results(folder), is_own=is_trusted)
    check_format(run)
    return run


def whatifs(options: Mapping[str, str]) -> list[WhatIf]:
    """Return every combination of the values. Raises ConfigError for one that cannot be read.

    The values of a ``strategy.`` key are read as run.py reads them; a ``{4: 8}`` holds its commas.
    """
    values = {key: _COMMA.split(options[key]) if options[key] else [None] for key in KEYS}
    for value in values["budget"]:
        if value is not None and not value.isdecimal():
            raise ConfigError("budget", value, "must be a whole number of 1 or more")
    rows = [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values())]
    found = [
        WhatIf(
            **{k: row[k] for k in CHOICES},
            budget=None if row["budget"] is None else int(row["budget"]),
            drawn=tuple((k, _value(k, v)) for k in DRAWN if (v := row[k]) is not None),
            granted=_granted(row),
        )
        for row in rows
    ]
    return [what for i, what in enumerate(found) if what not in found[:i]]


def _granted(row: Mapping[str, str | None]) -> tuple[tuple[str, Any], ...]:
    """Return the keys of an allocator; ``allocator=uniform`` has none below it."""
    keys = GRANTED[:1] if row["allocator"] == "uniform" else GRANTED
    return tuple((k, _value(k, v)) for k in keys if (v := row[k]) is not None)


_COMMA = re.compile(r",(?![^{]*})")


def _value(key: str, text: str) -> Any:
    """Return a value as Hydra would read it: ``.5`` is a number, ``{4: 8}`` a mapping."""
    try:
        value = OverridesParser.create().parse_override(f"{key}={text}").value()
    except HydraException:
        raise ConfigError(key, text, "cannot be read as on the command line of run.py") from None
    return {str(step): num for step, num in value.items()} if isinstance(value, dict) else value


def summarise(run: Recorded, what: WhatIf, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the summary of a recomputed run."""
    totals = Totals()
    for line in lines:
        totals.add(line)
    budget = run.budget if what.budget is None else what.budget
    return {**run.labels, "budget": budget, **totals.summary(), "wall_seconds": 0.0}


def save(run: Recorded, what: WhatIf, lines: Sequence[Mapping[str, Any]], source: Path, out: Path) -> None:
    """Write a run directory of the same format; its configuration has the changed knobs."""
    folder = out / (what.name.replace(" ", ",") or "as_recorded")
    if (folder / RESULTS).exists():
        raise ConfigError("out", out, f"holds results in {folder.name}; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    summary = {**summarise(run, what, lines), REPLAYED: str(source)}
    strategy = what.node({TARGET: run.target, **run.config["strategy"]}, run.knob)
    node = allocator_node(run, what)
    allocator = {} if node is None else {"allocator": node}
    config = {**run.config, "budget": summary["budget"], "strategy": strategy, **allocator}
    if run.is_own:
        sign(folder, {CONFIG: json_bytes(config)})
    write_json(folder / CONFIG, config)
    text = "".join(json.dumps(line, allow_nan=False, ensure_ascii=False) + "\n" for line in lines)
    write_atomically(folder / RESULTS, text)
    write_json(folder / SUMMARY, summary)


def figures(summary: Mapping[str, Any], before: Sequence[Any], after: Sequence[Any]) -> list[str]:
    """Return the cells of one line: ``after`` compared with ``before``, problem by problem."""
    low, high = summary["accuracy_ci95"]
    pairs = list(zip(before, after, strict=True))
    wins = sum(b["correct"] > a["correct"] for a, b in pairs)
    losses = sum(b["correct"] < a["correct"] for a, b in pairs)
    return [
        f"{summary['accuracy'] or 0:.3f} ({low:.3f} to {high:.3f})",
        f"{summary['pass_at_budget'] or 0:.3f}",
        f"{summary['usage']['generated_tokens']:,}",
        f"{summary['usage']['reward_calls']:,}",
        str(sum(a["answer"] != b["answer"] for a, b in pairs)),
        f"{wins} / {losses}",
    ]


def make_table(run: Recorded, replayed: Sequence[tuple[WhatIf, Sequence[Mapping[str, Any]]]]) -> Table:
    """Return a table of the run as recorded, then one line for every what-if."""
    given = [_given(what) for what, _ in replayed]
    keys = [k for k in KEYS if any(k in row for row in given)]
    table = Table()
    for name in ("", *keys, *COLUMNS):
        table.add_column(name, no_wrap=True)
    table.add_row("as recorded", *[""] * len(keys), *figures(run.summary, run.lines, run.lines), "")
    # Corrected for their number: the best of many what-ifs is partly luck.
    p_values = holm([p_value(run.lines, lines) for _, lines in replayed])
    for (what, lines), row, p in zip(replayed, given, p_values, strict=True):
        cells = [str(row.get(k, "")) for k in keys]
        shown = figures(summarise(run, what, lines), run.lines, lines)
        table.add_row("replayed", *cells, *shown, f"{p:.3g}")
    return table


def _given(what: WhatIf) -> dict[str, Any]:
    budget = {} if what.budget is None else {"budget": what.budget}
    return {**what.changes, **budget, **dict(what.drawn), **dict(what.granted)}


def p_value(before: Sequence[Any], after: Sequence[Any]) -> float:
    """Return the p-value of "as many problems are better as worse" (the exact sign test)."""
    pairs = list(zip(before, after, strict=True))
    wins, losses = (sum(sign * (a["correct"] - b["correct"]) > 0 for b, a in pairs) for sign in (1, -1))
    return sign_test(wins, losses)


def main(arguments: list[str]) -> int:
    """Print the table and return the exit status: 2, with one line, for what cannot be recomputed."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    try:
        trusts, arguments = take_trust(arguments)
        defaults = dict.fromkeys((*KEYS, "out"), "")
        folder, options = read_arguments(arguments, defaults, "RUN_DIR")
        run = read_recorded(folder, trusts=trusts)
        replayed = [(what, asyncio.run(replay(run, what))) for what in whatifs(options)]
        if options["out"]:
            for what, lines in replayed:
                save(run, what, lines, folder.resolve(), Path(options["out"]))
    except ConfigError as mistake:
        complain(str(mistake))
        return 2
    except OSError as failure:
        complain(f"RUN_DIR: {failure}")
        return 2
    stdout_console().print(make_table(run, replayed))
    if options["strategy.prune"] and run.summary.get("sampler") != "stream":
        print("prune: an estimate; this run's engine would continue texts with other random numbers")
    return 0


if __name__ == "__main__":
    with warnings_shown():
        sys.exit(main(sys.argv[1:]))
