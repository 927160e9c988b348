"""The command line of a run and of a sweep: composes and runs them, and explains every error in one line."""

from __future__ import annotations

import logging
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from orchestrator.config.arguments import without_comment
from orchestrator.config.command_line import (
    check_choices,
    continued_command,
    folder_names,
    is_sweep,
    searched,
    with_open_keys,
)
from orchestrator.config.compose import folders_claimed, known_keys, with_config
from orchestrator.config.explain import explain
from orchestrator.config.flags import check_flags, kept_flags
from orchestrator.config.plan import plan_of
from orchestrator.errors import MurmurationError
from orchestrator.observe.events import StderrHandler
from orchestrator.observe.progress import run_console
from orchestrator.runs.execution import BY_SIGNAL, Status, heed_signals, ignore_signals
from orchestrator.runs.models import Models
from orchestrator.runs.point import run_point
from orchestrator.runs.sweep import plan_sweep, run_sweep
from orchestrator.storage.hydra_record import hydra_record
from orchestrator.storage.run_files import SUMMARY, sound_summary
from orchestrator.storage.secret_keys import check_no_secrets
from orchestrator.storage.standing import stopped
from orchestrator.streams import flush_streams, raise_file_limit
from orchestrator.terminal import complain


def main(arguments: Sequence[str] | None = None) -> int:
    """Compose, run, and return the exit status: the worst one of a sweep.

    Without ``arguments`` it uses those of this process, which must then end: signals are ignored from then
    on. With ``arguments`` another program may call it from its main thread, any number of times: signal
    handlers, and what else it sets for the process, are restored.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if arguments is None:
        return with_models(partial(run_arguments, given))
    with process_as_it_was():
        return with_models(partial(run_arguments, given))


def with_models(use: Callable[[Models], Status]) -> Status:
    """Return ``use(models)``; explain what it raises, heed signals, and end the replicas afterwards.

    Signals are ignored from then on (``process_as_it_was`` restores their handlers).
    """
    run_console()  # closed standard streams are opened before anything else
    logging.lastResort = StderrHandler()  # until a run adds its own handlers
    models = Models()
    try:
        heed_signals()
        raise_file_limit()
        return use(models)
    except (MurmurationError, HydraException) as mistake:
        complain(explain(mistake, (), ()))
        return Status.BAD_CONFIGURATION
    except KeyboardInterrupt:
        complain("interrupted")
        return Status.INTERRUPTED
    except SystemExit as stop:
        if stop.code != Status.TERMINATED:
            raise
        complain("terminated")
        return Status.TERMINATED
    finally:
        ignore_signals()
        models.close()
        ignore_signals()  # Ray's shutdown has set SIGTERM back to its default, which kills
        flush_streams()


def run_arguments(given: Sequence[str], models: Models) -> Status:
    """Run what a command line requests. Raises MurmurationError and Hydra's errors for bad arguments."""
    arguments = without_comment(given)
    check_no_secrets(arguments)
    check_flags(arguments)
    arguments = folder_names(continued_command(with_open_keys(arguments)))
    with folders_claimed():
        return sweep_command(arguments, models) if is_sweep(arguments) else run_command(arguments, models)


class _Ended(NamedTuple):
    """How a run has ended, and where its files are."""

    status: Status
    run_dir: Path

    @property
    def accuracy(self) -> float | None:
        """What another sweeper, such as an optimiser, gets of the run."""
        return (sound_summary(self.run_dir / SUMMARY) or {}).get("accuracy")


def run_command(arguments: Sequence[str], models: Models) -> Status:
    """Compose and run the run of a command line, and explain every error."""

    def run(config: DictConfig) -> _Ended:
        plan = plan_of(config)
        plan = replace(plan, overrides=[*kept_flags(arguments), *searched(arguments), *plan.overrides])
        try:
            return _Ended(run_point(plan, models, hydra_record(config)), plan.run_dir)
        except OSError as failure:
            complain(stopped(failure, plan.run_dir))
            return _Ended(Status.SOME_ERRORS, plan.run_dir)

    try:
        check_choices(arguments)
        ended = with_config(arguments, run, figure=lambda each: each.accuracy)
        return max((each.status for each in ended), default=Status.FINISHED)
    except (MurmurationError, HydraException, OmegaConfBaseException) as mistake:  # before the first problem
        complain(explain(mistake, known_keys(arguments), arguments))
    except BrokenPipeError:  # what Hydra prints (--help, --cfg) has lost its reader
        return Status.FINISHED
    except OSError as failure:
        complain(f"run_dir: {failure}")
    return Status.BAD_CONFIGURATION


def sweep_command(arguments: Sequence[str], models: Models) -> Status:
    """Plan and run the sweep of a command line, and explain every error."""
    try:
        sweep = plan_sweep(arguments, lambda config: plan_of(config).model_key)
        return run_sweep(sweep, lambda point: run_command(point, models), run_console(), models.interrupted)
    except (MurmurationError, HydraException, OmegaConfBaseException) as mistake:  # of the sweep as a whole
        complain(explain(mistake, known_keys(arguments), arguments))
    except OSError as failure:
        complain(f"run_dir: {failure}")
    return Status.BAD_CONFIGURATION


@contextmanager
def process_as_it_was() -> Iterator[None]:
    """Restore, after the block, what a run sets for its process."""
    handlers = {number: signal.getsignal(number) for number in BY_SIGNAL}
    last_resort, hook = logging.lastResort, sys.unraisablehook
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        yield
    finally:
        logging.lastResort, sys.unraisablehook = last_resort, hook
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: set in C
