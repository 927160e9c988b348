"""What an unknown key was meant as: a key of this configuration, or the choice of a group that has it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from orchestrator.config.files import TARGET
from orchestrator.terminal import program

_MOST_SHOWN = 3
# How other tools name the samples of a problem, and the number of problems: vLLM, search-and-learn,
# lm-evaluation-harness, NeMo-Skills, inspect_ai, TRL, transformers.
_IN_OTHER_TOOLS = {
    "n": "budget",
    "repeats": "budget",
    "num_samples": "budget",
    "samples": "budget",
    "N": "budget",
    "k": "budget",
    "best_of": "budget",
    "num_generations": "budget",
    "num_return_sequences": "budget",
    "num_random_seeds": "budget",
    "epochs": "budget",
    "limit": "task.limit",
    "max_samples": "task.limit",
    "max_examples": "task.limit",
    "num_problems": "task.limit",
}


def hint(key: str, keys: Sequence[str], conf: Path) -> str:
    """Return ``; did you mean 'x'?``, or where to look.

    ``keys`` are those of the configuration; ``conf`` is the folder of the groups. The name in other tools
    comes first, then a name beside it of which it is a word, the same name elsewhere, a misspelling, a
    prefix, other choices of the group, a similar key.
    """
    parent, _, last = key.rpartition(".")
    beside = {k.rpartition(".")[2]: k for k in keys if k.rpartition(".")[0] == parent and k != key}
    for found in (
        [_IN_OTHER_TOOLS[key]] if _IN_OTHER_TOOLS.get(key) in keys else [],
        [k for name, k in beside.items() if last in name.split("_")],
        _elsewhere(key, keys),
        _alike(last, beside, 0.8),
        [k for name, k in beside.items() if name.startswith(last)],
    ):
        if found:
            return _did_you_mean(found)
    if parent in _groups(conf) and (choices := _choices_with(last, conf / parent)):
        return f"; {parent}={' or '.join(choices)} has it"
    if found := _alike(last, beside, 0.65) or _alike(key, {k: k for k in keys if k != key}, 0.75):
        return _did_you_mean(found)
    if parent and beside:
        return f"; {parent} has {', '.join(name for name in beside if name != TARGET)}"
    return f"; {program()} --cfg job shows them all"


def other_choice(key: str, conf: Path) -> str:
    """Return ``; engine=vllm has it`` for a knob that another choice of its group has, or nothing."""
    parent, _, last = key.rpartition(".")
    choices = _choices_with(last, conf / parent) if parent in _groups(conf) else []
    return f"; {parent}={' or '.join(choices)} has it" if choices else ""


def _did_you_mean(found: Sequence[str]) -> str:
    return f"; did you mean {' or '.join(map(repr, found[:_MOST_SHOWN]))}?"


def _alike(name: str, keys: dict[str, str], cutoff: float) -> list[str]:
    return [keys[close] for close in difflib.get_close_matches(name, list(keys), n=1, cutoff=cutoff)]


def _elsewhere(key: str, keys: Sequence[str]) -> list[str]:
    """Return the keys of the same name: of the same group, or else of any."""
    group, last = key.partition(".")[0], key.rpartition(".")[2]
    same = [k for k in keys if k.rpartition(".")[2] == last and k != key]
    return [k for k in same if k.startswith(f"{group}.")] or same


@cache
def _groups(conf: Path) -> frozenset[str]:
    return frozenset(folder.name for folder in conf.iterdir() if folder.is_dir())


@cache
def _choices_with(name: str, group: Path) -> list[str]:
    """Return the files of a group that set a knob; those that build on no other file come first."""
    files: dict[str, DictConfig] = {
        file.stem: DictConfig(OmegaConf.load(file)) for file in sorted(group.glob("*.yaml"))
    }
    found = [stem for stem, node in files.items() if name in node.keys()]  # noqa: SIM118 - ``in`` leaves ??? out
    return sorted(found, key=lambda stem: any(d in files for d in files[stem].get("defaults", ())))[
        :_MOST_SHOWN
    ]
