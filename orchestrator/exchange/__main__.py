"""``python -m orchestrator.exchange export RUN to=FILE format=NAME``; ``import FILE to=RUN format=NAME``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from orchestrator.config.arguments import read_arguments
from orchestrator.config.compose import known_keys
from orchestrator.config.explain import explain
from orchestrator.errors import ConfigError, MurmurationError
from orchestrator.exchange.formats import FORMATS, format_of
from orchestrator.exchange.importing import ALLOWED, compose_import, run_import
from orchestrator.exchange.records import read_questions
from orchestrator.exchange.rows import Options
from orchestrator.observe.events import warnings_shown
from orchestrator.observe.progress import stdout_console, summary_table
from orchestrator.storage.secret_keys import check_no_secrets
from orchestrator.terminal import complain, printable, take_any_text

USAGE = f"""usage: python -m orchestrator.exchange export RUN to=FILE format=NAME [KEY=VALUE ...]
       python -m orchestrator.exchange import FILE to=RUN format=NAME [KEY=VALUE ...]

Writes a run directory as a file of another tool, or makes a run directory of such a file (docs/exchange.md).
  format=     {", ".join(FORMATS)}
  delimiter=  what ends a step in the file's texts (two line breaks)
  labels=     of an export to trl_prm, trl_preference: rewards, or descendants in the tree of samples
  threshold=  of an export to trl_prm: what is above it is right
  pairs=      of an export to trl_preference: steps or answers
  id=  question=  reference=   of an import: the fields that hold them
  filter=     of an import: a filter of lm_eval, a scorer of inspect
  task=  task.KNOB=  strategy=  strategy.KNOB=  seed=   of an import: as for python run.py"""
_CHOICES = {"labels": ("rewards", "descendants"), "pairs": ("steps", "answers")}
_DEFAULTS = {
    **dict.fromkeys(("to", "format", "delimiter", "threshold"), ""),
    **{key: values[0] for key, values in _CHOICES.items()},
}
_FIELDS = ("id", "question", "reference", "filter")


def main(arguments: list[str]) -> int:
    """Export or import, and return the exit status: 2, with one line, for what cannot be read."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    try:
        check_no_secrets(arguments)
        match arguments:
            case ["export", *rest]:
                return _export(rest)
            case ["import", *rest]:
                return _import(rest)
        raise ConfigError("command", arguments[0], "must be export or import")
    except MurmurationError as mistake:
        complain(explain(mistake, (), ()))
    except (HydraException, OmegaConfBaseException) as mistake:
        overrides = [a for a in arguments if _is_override(a)]
        complain(explain(mistake, known_keys(["task=stored", *overrides]), arguments))
    except OSError as failure:
        complain(f"to: {failure}")
    return 2


def _export(arguments: Sequence[str]) -> int:
    folder, given = read_arguments(arguments, _DEFAULTS, "RUN")
    chosen, to, options = format_of(given["format"]), _target(given), _options(given)
    written = chosen.write(read_questions(folder), to, options)
    take_any_text()
    for path in written:
        print(printable(str(path)))
    return 0


def _import(arguments: Sequence[str]) -> int:
    overrides = [a for a in arguments if _is_override(a)]
    rest = [a for a in arguments if not _is_override(a)]
    defaults = {key: _DEFAULTS[key] for key in ("to", "format", "delimiter")} | dict.fromkeys(_FIELDS, "")
    file, given = read_arguments(rest, defaults, "FILE")
    chosen, to = format_of(given["format"]), _target(given)
    ready = compose_import(chosen.read(file, _options(given)), to, overrides)
    source = {"file": str(file.absolute()), "format": given["format"]}
    summary, compared = run_import(ready, to, source)
    console = stdout_console()
    console.print(summary_table(summary))
    for line in compared:
        console.print(line, soft_wrap=True, highlight=False)
    console.print(f"results: {to}", soft_wrap=True)
    return 1 if summary["num_errors"] else 0


def _is_override(argument: str) -> bool:
    """Return whether an argument is for Hydra, as for ``python run.py``."""
    key, equals, _ = argument.partition("=")
    return bool(equals) and key.partition(".")[0].partition("/")[0] in ALLOWED


def _target(given: Mapping[str, str]) -> Path:
    if not given["to"]:
        raise ConfigError("to", None, "must be given: what to write")
    return Path(given["to"])


def _options(given: Mapping[str, str]) -> Options:
    """Return the options. Raises ConfigError for a value that is not allowed."""
    for key, allowed in _CHOICES.items():
        if given.get(key, allowed[0]) not in allowed:
            raise ConfigError(key, given[key], f"must be one of {', '.join(allowed)}")
    texts = {key: given.get(key, "") for key in ("delimiter", *_FIELDS)}
    texts["delimiter"] = texts["delimiter"].replace("\\n", "\n")
    choices = {key: given[key] for key in _CHOICES if key in given}
    return Options(**texts, **choices, threshold=_threshold(given.get("threshold", "")))


def _threshold(text: str) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        value = -1.0
    if value is not None and not 0 <= value < 1:
        raise ConfigError("threshold", text, "must be a number from 0 up to 1")
    return value


if __name__ == "__main__":
    with warnings_shown():
        sys.exit(main(sys.argv[1:]))
