"""``resume=DIR``: the command line of an earlier run, with what the new one adds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from orchestrator.errors import ConfigError

_SAVED = Path(".hydra") / "overrides.yaml"
_FLAGS = {"true", "false"}


def continued_command(arguments: Sequence[str]) -> list[str]:
    """Arguments with ``resume=DIR`` replaced by DIR's own overrides, ``run_dir=DIR`` and ``resume=true``.

    What the command line sets beside ``resume`` wins over what DIR's run had set. The folder of a sweep's
    point holds ``=`` and ``,``, which Hydra would read as more than a name: ``run_dir`` is quoted. Raises
    ConfigError where DIR holds no run.
    """
    chosen = [a for a in arguments if a.startswith("resume=")]
    if not chosen or chosen[-1].partition("=")[2].lower() in _FLAGS:
        return [_quoted(a) for a in arguments]
    run_dir = Path(chosen[-1].partition("=")[2].strip("'\""))
    saved_file = run_dir / _SAVED
    if not saved_file.exists():
        allowed = f"must be true, false or the directory of a run ({_SAVED} is not there)"
        raise ConfigError("resume", run_dir, allowed)
    given = [a for a in arguments if not a.startswith(("resume=", "run_dir="))]
    new_keys = {_key(a) for a in given}
    saved = [str(o) for o in OmegaConf.load(saved_file)]
    kept = [o for o in saved if _key(o) not in {*new_keys, "resume", "run_dir"}]
    return [*kept, *given, _quoted(f"run_dir={run_dir}"), "resume=true"]


def _quoted(argument: str) -> str:
    """``run_dir='...'``, unless it is quoted or interpolated already."""
    key, _, value = argument.partition("=")
    if key != "run_dir" or not value or value[0] in "'\"" or "${" in value:
        return argument
    # Hydra reads a backslash as one unless a quote follows it, after more backslashes or none.
    escaped = re.sub(r"(\\*)('|$)", lambda m: 2 * m[1] + ("\\'" if m[2] else ""), value)
    return f"run_dir='{escaped}'"


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")
