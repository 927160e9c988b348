"""What a run directory of another user may request: nothing that the present command does not name itself.

Everything is checked before anything is built, imported or composed. Choices of the groups of the search
path, numbers, switches and plain words are allowed, and so is every value in a file of the groups. The rest
requires the directory to be the user's own (``signing``), or ``trust=true``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString, RangeSweep
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from orchestrator.config.build import EXPERIMENT, GROUPS
from orchestrator.config.files import CONF, TARGET
from orchestrator.errors import ConfigError
from orchestrator.renamed import target_now

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_CHOICE = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")
# Keys that are dangerous by their name: where something is sent to or read from, and with which key.
_PLACES = {
    "base_url", "api_key_env", "address", "lora", "model", "tokenizer", "path", "revision", "entity",
    "project", "group", "host", "url", "cassette",
}  # fmt: skip
# Switches that run code of the checkpoint. (Nodes with a library's keys: vLLM's arguments load plug-ins.)
_SWITCHES = {"trust_remote_code"}
_MOST_BRACKETS = 100
_MOST_SAID = 8  # wishes in one line
_MAX_POINTS = 10_000  # of one range: all are listed
_OPEN = {"args", "extra_body", "chat_options"}
# How wishes are named that are not the value of a key.
_CHOSEN, _HYDRA = "choice:", "hydra:"


class _Unlisted(str):
    """A part of a command line whose values cannot be listed here."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Shipped:
    """What the files of a search path's groups name: classes, and values of knobs (as JSON, by name)."""

    targets: frozenset[str]
    values: frozenset[tuple[str, str]]

    def has(self, name: str, value: Any) -> bool:
        return (name, _json(value)) in self.values


@dataclass(frozen=True, slots=True)
class Wish:
    """One value that a folder requests, by its dotted key."""

    key: str
    value: Any

    @property
    def name(self) -> str:
        return self.key.rpartition(".")[2]


def shipped(folders: Iterable[Path] = ()) -> Shipped:
    """Return what conf/ names, and the folders that this command line names itself."""
    found = [_named_in(folder) for folder in (CONF, *folders)]
    return Shipped(
        frozenset[str]().union(*(each.targets for each in found)),
        frozenset[tuple[str, str]]().union(*(each.values for each in found)),
    )


@cache
def _named_in(folder: Path) -> Shipped:
    wishes = [w for path in sorted(folder.rglob("*.yaml")) for w in _leaves("", _read_yaml(path))]
    targets = frozenset(target_now(str(w.value)) for w in wishes if w.name == TARGET)
    return Shipped(targets, frozenset((w.name, _json(w.value)) for w in wishes))


def _read_yaml(path: Path) -> Any:
    try:
        return OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OSError, ValueError, OmegaConfBaseException):  # Hydra reports it where it is chosen
        return {}


def wishes_of_config(config: Mapping[str, Any], known: Shipped) -> list[Wish]:
    """Return what the groups of a config.json request beyond what the search path names."""
    return [wish for wish in _leaves("", config) if not _is_fine(wish, known)]


def wishes_of_overrides(overrides: Sequence[str], known: Shipped) -> list[Wish]:
    """Return the same for a command line. Raises Hydra's error for a bad override."""
    for override in overrides:
        if sum(map(override.count, "[{(")) > _MOST_BRACKETS:  # Hydra's parser recurses, and is slow
            raise ConfigError("resume", f"{override[:40]}...", "has too many brackets for an override")
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return [wish for override in parsed for wish in _of_override(override) if not _is_fine(wish, known)]


def refuse(key: str, folder: Path, wishes: Sequence[Wish]) -> None:
    """Raise ConfigError that names what a folder requests, unless that is nothing."""
    if wishes:
        requested = "; ".join(_in_words(wishes))
        allowed = (
            f"was not written by you on this machine, or has changed since, and would {requested}: "
            "if you trust it, give trust=true (docs/security.md)"
        )
        raise ConfigError(key, folder, allowed)


def _of_override(override: Override) -> Iterator[Wish]:
    key = str(override.key_or_group)
    if "hydra" in key or "hydra" in (override.package or ""):
        yield Wish(f"{_HYDRA}{key}", _Unlisted(override.input_line))
    elif override.is_delete():
        return
    else:
        is_choice = key in (*GROUPS, EXPERIMENT) or "/" in key or override.package is not None
        place = f"{_CHOSEN}{key}" if is_choice else key
        yield from (wish for value in _values(override) for wish in _leaves(place, value))


def _values(override: Override) -> list[Any]:
    """Return every value that an override gives its key; as it is written if they cannot be listed."""
    if not override.is_sweep_override():
        return [_plain(override.value())]
    swept = override.value()
    if isinstance(swept, RangeSweep):  # only numbers
        return [] if _length(swept) <= _MAX_POINTS else [_Unlisted(override.input_line)]
    try:
        return [_plain(value) for value in override.sweep_iterator()]
    except HydraException:  # an interval, or a pattern that finds files
        return [_Unlisted(override.input_line)]


def _length(swept: RangeSweep) -> float:
    start, stop, step = (float(x) if x is not None else 0.0 for x in (swept.start, swept.stop, swept.step))
    return abs(stop - start) / abs(step) if step else math.inf


def _plain(value: Any) -> Any:
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, Mapping):
        return {str(_plain(name)): _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _leaves(key: str, value: Any) -> Iterator[Wish]:
    """Yield every value that is not a container, by its dotted key; an empty container yields nothing."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(f"{key}.{name}" if key else str(name), item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(key, item)
    else:
        yield Wish(key, value)


def _is_fine(wish: Wish, known: Shipped) -> bool:
    parts = wish.key.split(".")
    value = wish.value
    if isinstance(value, _Unlisted) or (isinstance(value, str) and "${" in value):
        return False  # an interpolation may read the environment, or decode what was not checked
    if wish.key.startswith(_CHOSEN):  # Hydra refuses the name of a missing file
        return value is None or (isinstance(value, str) and bool(_CHOICE.fullmatch(value)))
    if any(part.startswith("_") and part != TARGET for part in parts):
        return False
    if wish.name == TARGET:
        return target_now(str(value)) in known.targets
    if known.has(wish.name, value):
        return True
    if _OPEN.intersection(parts) or (wish.name in _SWITCHES and value is not False):
        return False
    if parts[0] == "tracker" or wish.name in _PLACES:
        return value is None
    return not isinstance(value, str) or bool(_WORD.fullmatch(value))


def _json(value: Any) -> str:
    return json.dumps(value, default=str, sort_keys=True)


def _in_words(wishes: Sequence[Wish]) -> list[str]:
    """Return what the wishes would do, the worst first, and how many more there are."""
    urls = [str(w.value) for w in wishes if w.name == "base_url"]
    url = urls[0] if urls else "the server at its engine.base_url"
    said = list(dict.fromkeys(text for _, text in sorted(_wish_in_words(wish, url) for wish in wishes)))
    rest = len(said) - _MOST_SAID
    return said if rest <= 0 else [*said[:_MOST_SAID], f"{rest} more"]


def _wish_in_words(wish: Wish, url: str) -> tuple[int, str]:
    """Return what a wish would do after how bad that is: 0 is the worst."""
    key, value = wish.key.removeprefix(_CHOSEN), wish.value
    if key.startswith(_HYDRA):
        return 3, f"configure Hydra itself ({value})"
    if wish.name == TARGET:
        return 0, f"build {value} ({key})"
    if wish.name == "trust_remote_code":
        return 0, f"run the Python code of its checkpoint ({key}={value})"
    if wish.name == "api_key_env":
        return 1, f"send the key in ${value} to {url} ({key})"
    if wish.name == "base_url":
        return 2, f"send every prompt to {value} ({key})"
    if key.startswith("tracker."):
        return 2, f"send figures elsewhere ({key}={value})"
    if key.startswith("-"):
        return 3, f"read configurations of a folder that this command does not name ({key} {value})"
    return 4, f"set {value if isinstance(value, _Unlisted) else f'{key}={value}'}"
