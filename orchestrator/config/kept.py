"""What a run has read of fitted files: it resumes with that, whatever has become of the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from orchestrator.config.files import TARGET, shipped_targets, targets_of
from orchestrator.errors import ConfigError
from orchestrator.renamed import target_now
from orchestrator.storage.json_reading import read_own
from orchestrator.storage.run_files import COMMAND, CONFIG, read_config

Kept = Mapping[str, Mapping[str, Any]]
"""By group: the class of its node, and the key whose value is the content of a file."""
NOTHING_KEPT: Kept = MappingProxyType({})
# The keys that name the file, by the key that has its content.
_NAMED_BY = {
    ("strategy", "plan"): ("plan", "strategy.plan"),
    ("verifier", "calibration"): ("verifier.calibration",),
    ("allocator", "give_up"): ("allocator.give_up",),
}


def kept_of(run_dir: Path, overrides: Sequence[str]) -> Kept:
    """Return what the run to resume in ``run_dir`` has of the files that ``overrides`` name.

    A file that its own command line (command.json) did not name is not kept: it must be read, and compared.
    Raises ConfigError for a file of the directory that was not written by Murmuration.
    """
    now = _by_key(overrides)
    named = {place: keys for place, keys in _NAMED_BY.items() if now.keys() & set(keys)}
    if not named or not all((run_dir / name).exists() for name in (COMMAND, CONFIG)):
        return NOTHING_KEPT
    begun = _by_key(read_own(run_dir / COMMAND, "run_dir").get("overrides"))
    same = [place for place, keys in named.items() if all(now.get(key) == begun.get(key) for key in keys)]
    config = read_config(run_dir, "run_dir") if same else {}
    kept = {}
    for group, name in same:
        if {TARGET, name} <= (node := config.get(group, {})).keys():
            _check_classes(node[name], run_dir)
            kept[group] = {TARGET: node[TARGET], name: node[name]}
    return kept


def with_kept(plain: Mapping[str, Any], kept: Kept) -> dict[str, Any]:
    """Return a configuration with what is kept in place of the files' paths, in groups of the same class."""
    found = {g: n for g, n in kept.items() if plain.get(g, {}).get(TARGET) == n[TARGET]}
    return {**plain, **{group: {**plain[group], **node} for group, node in found.items()}}


def _by_key(overrides: object) -> dict[str, str]:
    """Return each override by its key; the last one counts."""
    texts = [str(o) for o in overrides] if isinstance(overrides, list) else []
    return {text.partition("=")[0].lstrip("+~"): text for text in texts}


def _check_classes(content: Any, run_dir: Path) -> None:
    """Raise ConfigError where a plan names a class of a stranger, as ``read_plan`` does."""
    foreign = [t for t in map(target_now, targets_of(content)) if t not in shipped_targets()]
    if foreign:
        raise ConfigError("run_dir", run_dir, f"would build {foreign[0]}, which no file of conf/ names")
