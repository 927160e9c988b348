"""``resume=DIR``: the command line of an earlier run, with what the new one adds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from orchestrator.errors import ConfigError

_SAVED = Path(".hydra") / "overrides.yaml"
_FLAGS = {"true", "false"}


def continued_command(arguments: Sequence[str]) -> list[str]:
    """Arguments with ``resume=DIR`` replaced by DIR's own overrides, ``run_dir=DIR`` and ``resume=true``.

    What the command line sets beside ``resume`` wins over what DIR's run had set. Raises ConfigError where
    DIR holds no run.
    """
    chosen = [a for a in arguments if a.startswith("resume=")]
    if not chosen or chosen[-1].partition("=")[2].lower() in _FLAGS:
        return list(arguments)
    run_dir = Path(chosen[-1].partition("=")[2])
    saved_file = run_dir / _SAVED
    if not saved_file.exists():
        raise ConfigError(
            "resume", run_dir, f"must be true, false or the directory of a run ({_SAVED} is not there)"
        )
    given = [a for a in arguments if not a.startswith(("resume=", "run_dir="))]
    new_keys = {_key(a) for a in given}
    saved = [str(o) for o in OmegaConf.load(saved_file)]
    kept = [o for o in saved if _key(o) not in {*new_keys, "resume", "run_dir"}]
    return [*kept, *given, f"run_dir={run_dir}", "resume=true"]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")
