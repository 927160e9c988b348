"""The command line before Hydra reads it: flags, ``resume=DIR``, quoted folders, names of points."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString

from orchestrator.config.build import EXPERIMENT, GROUPS
from orchestrator.config.files import CONF
from orchestrator.config.flags import MULTIRUN, config_dirs, continued_flags, split_flags, takes
from orchestrator.config.spelling import quote, spelled
from orchestrator.config.trust import Wish, refuse, shipped, wishes_of_overrides
from orchestrator.errors import ConfigError
from orchestrator.storage.folders import in_home
from orchestrator.storage.json_reading import NOT_OURS, BadJson, parse_object
from orchestrator.storage.run_directory import FREE_KEYS
from orchestrator.storage.run_files import COMMAND
from orchestrator.storage.signing import is_own, sign, signed_bytes

_SWITCHES = {"true", "false"}
_MAX_COMMAND = 50_000
# ``folder_names`` sets it again.
_EXCLUDED = "hydra.job.config.override_dirname.exclude_keys"
_OPEN = re.compile(
    r"((engine|verifier|verifier\.engine)\.(args|chat_options|extra_body)|engine\.price|policies"
    r"|cluster\.(policy_replicas|policy_gpus|max_policy_replicas))\.[^=]+="
)
_POLICY = re.compile(r"engine@policies\.[^=]+=")  # Hydra adds it to its list of choices
# Flags of Hydra that request something other than a run.
_OTHER_COMMANDS = ("-h", "--help", "--hydra-help", "--version", "-c", "--cfg", "-i", "--info", "-sc")
# With one of these, Hydra composes and runs the points.
_OTHER_SWEEPS = ("hydra/sweeper", "hydra/launcher")


def is_sweep(arguments: Sequence[str]) -> bool:
    """Return whether these request a sweep that runs here: with no other sweeper and no other launcher."""
    flags, overrides = split_flags(arguments)
    asked = {flag.partition("=")[0] for flag in flags}
    chosen = {_key(o) for o in overrides}
    others = asked.intersection(_OTHER_COMMANDS) or chosen.intersection(_OTHER_SWEEPS)
    return _is_multirun(arguments) and not others


def continued_command(arguments: Sequence[str]) -> list[str]:
    """Replace ``resume=DIR`` by DIR's command line, ``run_dir=DIR`` and ``resume=true``.

    DIR is the folder of a run, of a sweep's point or of a sweep. What the command line sets beside ``resume``
    wins over what DIR's run had set. The folder of a sweep's point contains ``=`` and ``,``, which Hydra
    would parse: ``run_dir`` is quoted. Typed arguments are spelled as Hydra needs them; those that DIR's run
    has kept are already. Raises ConfigError if DIR holds no run, and without ``trust=true`` if DIR was
    written by another user and requests more than such a folder may; and what ``spelled`` raises.
    """
    trusts, arguments = take_trust(arguments)
    chosen = [a for a in arguments if a.startswith("resume=")]
    if not chosen or chosen[-1].partition("=")[2].lower() in _SWITCHES:
        return [quoted(a) for a in _spelled_overrides(arguments, is_sweep=_is_multirun(arguments))]
    run_dir = Path(in_home(chosen[-1].partition("=")[2].strip("'\"")))
    saved = _read_command(run_dir)
    is_sweep = saved.is_sweep or _is_multirun(arguments)
    added = [a for a in arguments if not a.startswith(("resume=", "run_dir="))]
    given_flags, given = split_flags(_spelled_overrides(added, is_sweep=is_sweep))
    saved_flags, overrides = split_flags(saved.arguments)
    flags = continued_flags(saved_flags, given_flags)
    new_keys = {*map(_key, given), "resume", "run_dir", "trust", _EXCLUDED}
    kept = [o for o in overrides if _key(o) not in new_keys]
    if trusts:
        _make_own(run_dir, saved.files)
    elif not is_own(run_dir, saved.files):
        wishes = [Wish(*flag.split("=", 1)) for flag in flags]
        known = shipped(config_dirs(given_flags))
        refuse("resume", run_dir, [*wishes, *wishes_of_overrides(kept, known)])
    multirun = ["-m"] if is_sweep else []
    return [*multirun, *flags, *given_flags, *kept, *given, quoted(f"run_dir={run_dir}"), "resume=true"]


def _is_multirun(arguments: Sequence[str]) -> bool:
    return bool(set(arguments).intersection(MULTIRUN))


def _spelled_overrides(arguments: Sequence[str], *, is_sweep: bool) -> list[str]:
    """Return the arguments in their order, overrides spelled for Hydra and flags as they are."""
    return [
        argument
        if argument.startswith("-") or takes(before, argument)
        else spelled(argument, is_sweep=is_sweep)
        for before, argument in zip(["", *arguments], arguments, strict=False)
    ]


def take_trust(arguments: Sequence[str]) -> tuple[bool, list[str]]:
    """Return whether the command line says ``trust=true``, and the rest of it. Raises ConfigError."""
    rest = [a for a in arguments if not a.startswith("trust=")]
    values = [a.partition("=")[2].strip("'\"").lower() for a in arguments if a.startswith("trust=")]
    for value in values:
        if value not in _SWITCHES:
            raise ConfigError("trust", value, "must be true or false")
    return bool(values) and values[-1] == "true", rest


@dataclass(frozen=True)
class _Command:
    """What a folder's command.json holds, and the bytes of the files that its signature covers."""

    arguments: list[str]
    is_sweep: bool
    files: Mapping[str, bytes]


def _read_command(run_dir: Path) -> _Command:
    """Read a folder's command.json. Raises ConfigError if there is none, or none written by Murmuration."""
    try:
        files = signed_bytes(run_dir)
    except OSError as failure:
        raise ConfigError("resume", run_dir, f"cannot be read: {failure.strerror}") from None
    if COMMAND not in files:
        allowed = f"must be true, false or the directory of a run ({COMMAND} is not there)"
        raise ConfigError("resume", run_dir, allowed)
    try:
        saved = parse_object(files[COMMAND])
        return _Command(_checked(saved.get("overrides")), bool(saved.get("sweep")), files)
    except BadJson as failure:
        raise ConfigError(
            "resume", run_dir, f"its {COMMAND} was not written by Murmuration: {failure.detail}"
        ) from None


def _checked(overrides: object) -> list[str]:
    """Return a command line of bounded length: Hydra's parser is slow. Raises BadJson."""
    if not isinstance(overrides, list) or not all(isinstance(o, str) for o in overrides):
        raise BadJson(NOT_OURS, "it has no list of overrides")
    if sum(map(len, overrides)) > _MAX_COMMAND:
        raise BadJson(NOT_OURS, f"it has more than {_MAX_COMMAND:,} characters of overrides")
    return overrides


def _make_own(run_dir: Path, files: Mapping[str, bytes]) -> None:
    """Sign what the user trusts, so that ``trust=true`` is not needed next time."""
    if not is_own(run_dir, files):
        with suppress(OSError):
            sign(run_dir, files)


def with_open_keys(arguments: Sequence[str]) -> list[str]:
    """Add the ``++`` that overrides below a node with other keys than a file's (``engine.args``) need.

    And the ``+`` of ``engine@policies.NAME``.
    """
    marked = [f"+{a}" if _POLICY.match(a) else a for a in arguments]
    return [f"++{a}" if _OPEN.match(a) else a for a in marked]


def searched(arguments: Sequence[str]) -> list[str]:
    """Return the overrides that say where Hydra finds configurations: a resumed run needs them."""
    return [a for a in arguments if _key(a) == "hydra.searchpath"]


def check_choices(arguments: Sequence[str]) -> None:
    """Raise ConfigError for a group without a value, or with one that is no name: Hydra would crash."""
    _, overrides = split_flags(arguments)
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = str(override.key_or_group)
        if key in (*GROUPS, EXPERIMENT, "hydra") or "/" in key:
            _check_choice(key, override)


def _check_choice(key: str, override: Override) -> None:
    if override.is_delete() or override.is_sweep_override():
        return
    _check_place(key, override)
    value = override.value()
    name = value.text if isinstance(value, QuotedString) else value
    if name in (None, "") or isinstance(name, bool | int | float):
        place = "" if key.startswith("hydra") else f" of conf/{key}"
        otherwise = "; leave it out for none" if key == EXPERIMENT else ""
        written = str(override.input_line).partition("=")[2]
        raise ConfigError(key, written, f"must be the name of a file{place}{otherwise}")


def _check_place(key: str, override: Override) -> None:
    """Raise ConfigError for a policy from a file that chooses a task and a verifier as well."""
    package, name = override.package or "", str(override.value())
    file = CONF / key / f"{name}.yaml"
    if package.startswith("policies.") and file.is_file() and "@package _global_" in file.read_text():
        allowed = f"chooses a task too: take {key}@{package}=transformers and set {package}.model"
        raise ConfigError(f"{key}@{package}", name, allowed)


def quoted(argument: str) -> str:
    """Return ``run_dir='...'``, unless it is quoted or interpolated already."""
    key, _, value = argument.partition("=")
    if key != "run_dir" or not value or value[0] in "'\"" or "${" in value:
        return argument
    return f"run_dir={quote(value)}"


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def folder_names(arguments: Sequence[str]) -> list[str]:
    """For a sweep, add to the arguments which keys its points' folder names leave out.

    A sweep resumes in the same folders with other replicas or another tracker; a sweep over such a key has a
    folder for each of its values.
    """
    if not _is_multirun(arguments):
        return list(arguments)
    overrides = [a for a in arguments if "=" in a and not a.startswith("-")]
    parsed = OverridesParser.create().parse_overrides(overrides)
    excluded = [
        o.key_or_group
        for o in parsed
        if o.key_or_group.split(".")[0] in FREE_KEYS and not o.is_sweep_override()
    ]
    return [*arguments, f"{_EXCLUDED}=[{','.join(excluded)}]"]
