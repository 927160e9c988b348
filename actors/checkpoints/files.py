"""Whether the files of a checkpoint are complete and safe to load. Light: no heavy library is loaded.

Weights are read only from safetensors: an index or a configuration that names anything else is refused
before a loader reads it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from actors.messages import brief, some
from orchestrator.errors import ConfigError

INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
INDEX_SUFFIX = ".safetensors.index.json"
_POINTERS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")
_READERS = ("gguf", "accelerate")  # of GGUF files, through transformers
_LONGEST_HEADER = 100_000_000  # safetensors' own limit

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "merges.txt", "vocab.txt",
    "spiece.model", "tekken.json",
)  # fmt: skip
_SMALL_FILES = (
    *TOKENIZER_FILES, "special_tokens_map.json", "added_tokens.json", "generation_config.json",
    "chat_template.jinja", "chat_template.json",
)  # fmt: skip
# These may have tens of megabytes: only the loader finds errors inside them.
_LARGE_JSON = ("tokenizer.json", "vocab.json", "tekken.json")


class Unsound(Exception):
    """What is wrong with a checkpoint: the message after its key and name."""


def check_folder(key: str, model: str, folder: Path) -> None:
    """Raise ConfigError for ``key`` unless ``folder`` holds a complete model that may be loaded."""
    _checked(key, model, _check_folder, folder)


def check_gguf(key: str, model: str, file: Path) -> None:
    """Raise ConfigError for ``key`` unless ``file`` is a GGUF file, and what reads it is installed."""
    _checked(key, model, _check_gguf, file)


def _check_gguf(file: Path) -> None:
    if not _sound_head(file).startswith(b"GGUF"):
        raise Unsound(f"is not a GGUF file (it begins with {_head(file)[:16]!r})")
    missing = [name for name in _READERS if find_spec(name) is None]
    if missing:
        install = "pip install 'murmuration[gguf]'"
        raise Unsound(f"is a GGUF file, which needs the packages {' and '.join(_READERS)}: {install}")


def check_tokenizer_folder(key: str, name: str, folder: Path) -> None:
    """Raise ConfigError for ``key`` unless ``folder`` holds a tokenizer that may be loaded."""
    _checked(key, name, _check_tokenizer, folder)


def check_adapter_files(key: str, adapter: str, folder: Path) -> None:
    """Raise ConfigError for ``key`` unless ``folder`` holds a complete adapter in PEFT's format."""
    _checked(key, adapter, _check_adapter, folder)


def header_of(file: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name and the shape of each tensor of a file that was checked."""
    with file.open("rb") as stream:
        header = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
    for name, entry in header.items():
        if name != "__metadata__":
            yield name, tuple(entry["shape"])


def check_index(key: str, model: str, index: Path) -> list[str]:
    """Return the files that an index names. Raises ConfigError unless all are safetensors in its folder."""
    found: list[str] = _checked(key, model, _named_by, index)
    return found


def read_json(path: Path, key: str, model: str) -> dict[str, Any]:
    """Return a JSON object of a checkpoint. Raises ConfigError where the file is not one."""
    content: dict[str, Any] = _checked(key, model, _read_json, path)
    return content


def _checked(key: str, model: str, check: Any, path: Path) -> Any:
    try:
        return check(path)
    except Unsound as wrong:
        raise ConfigError(key, model, str(wrong)) from None
    except OSError as error:
        raise ConfigError(key, model, f"cannot be read: {error.strerror or error}") from error


def _check_folder(folder: Path) -> None:
    _check_is_folder(folder, "model")
    names = {path.name for path in folder.iterdir()}
    if "config.json" not in names:
        raise Unsound(_without_config(folder, names))
    config = _read_json(folder / "config.json")
    for name in _SMALL_FILES:
        if name in names:
            _check_small(folder / name)
    _check_weights(folder, config)
    if "adapter_config.json" in names and "adapter_model.bin" in names:  # peft would add it by itself
        raise Unsound("holds adapter_model.bin, a pickle: remove it together with adapter_config.json")
    if {"adapter_config.json", "adapter_model.safetensors"} <= names:  # applied only where peft is installed
        raise Unsound(
            "holds an adapter beside its model: move it to a folder, and name that with the key lora"
        )


def _check_adapter(folder: Path) -> None:
    _check_is_folder(folder, "adapter")
    if not _is_there(folder / "adapter_config.json"):
        raise Unsound("no such adapter: the folder holds no adapter_config.json")
    _read_json(folder / "adapter_config.json")
    if _is_there(folder / "adapter_model.safetensors"):
        _check_tensors(folder / "adapter_model.safetensors")
    elif (folder / "adapter_model.bin").exists():
        raise Unsound("holds adapter_model.bin, a pickle, which is not loaded: save it as safetensors")
    else:
        raise Unsound("the folder holds no adapter_model.safetensors (other formats are not loaded)")


def _check_tokenizer(folder: Path) -> None:
    _check_is_folder(folder, "tokenizer")
    found = [name for name in _SMALL_FILES if (folder / name).exists() or (folder / name).is_symlink()]
    if not set(found) & set(TOKENIZER_FILES) and not (folder / "config.json").exists():
        raise Unsound("the folder holds no tokenizer (tokenizer.json, tokenizer.model or vocab.json)")
    for name in found:
        _check_small(folder / name)


def _check_is_folder(path: Path, what: str) -> None:
    if path.is_dir():
        return
    if not path.exists():
        raise Unsound(f"no such {what}: there is no such folder on this machine")
    if path.suffix == ".gguf" or _head(path).startswith(b"GGUF"):
        raise Unsound(_gguf("is a GGUF file"))
    raise Unsound("must be the folder that holds the model's files, or a repository on the hub, not a file")


def _gguf(what: str) -> str:
    return (
        f"{what}: neither transformers nor vLLM loads that here. Name the file with engine=transformers, or a"
        " folder of safetensors, or serve the file with llama.cpp's llama-server and use engine=openai"
        " engine.prompts=text"
    )


def _without_config(folder: Path, names: set[str]) -> str:
    if "adapter_config.json" in names:
        return f"{_adapter(folder)}: name that model here and the adapter with the key lora, or merge them"
    if not any(name.endswith(".safetensors") for name in names) and any(n.endswith(".gguf") for n in names):
        return _gguf("holds only GGUF files")
    return "no such model: the folder holds no config.json"


def _adapter(folder: Path) -> str:
    base = _read_json(folder / "adapter_config.json").get("base_model_name_or_path")
    return f"the folder holds only an adapter (LoRA or similar), made for {base or 'a model of another name'}"


def _check_weights(folder: Path, config: dict[str, Any]) -> None:
    """Check the files that loaders would read: what config.json names, one file, or what an index names."""
    if (named := _named_weights(config)) is not None:
        files = _named_by(folder / named) if named.endswith(INDEX_SUFFIX) else [named]
    else:
        indexed = _named_by(folder / INDEX) if _is_there(folder / INDEX) else []
        files = [_SINGLE] if _is_there(folder / _SINGLE) else indexed
        files = files or sorted(path.name for path in folder.glob("*.safetensors"))
    if not files:
        alone = f"{_adapter(folder)}: merge it" if (folder / "adapter_config.json").exists() else ""
        raise Unsound(alone or "the folder holds no .safetensors file (other formats are not loaded)")
    missing = [name for name in files if not _is_there(folder / name)]
    if missing:
        raise Unsound(f"{INDEX} names files that do not exist: {some(missing)}")
    for name in files:
        _check_tensors(folder / name)


def named_weights(config: Path, key: str, model: str) -> str | None:
    """Return the file of weights, or the index, that a config.json names; None where it names neither.

    Raises ConfigError where it names anything but safetensors in its folder.
    """
    found: str | None = _checked(key, model, lambda path: _named_weights(_read_json(path)), config)
    return found


def _named_weights(config: dict[str, Any]) -> str | None:
    named: str | None = config.get("transformers_weights")
    if named is not None:
        _check_names("config.json", [named], (".safetensors", INDEX_SUFFIX))
    return named


def _named_by(index: Path) -> list[str]:
    named = _read_json(index).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise Unsound(f"its {index.name} holds no weight_map")
    _check_names(index.name, named.values(), (".safetensors",))
    return sorted(set(named.values()))


def _check_names(by: str, names: Iterable[object], allowed: tuple[str, ...]) -> None:
    for name in names:
        if not isinstance(name, str) or not name.endswith(allowed):
            raise Unsound(f"its {by} names {name!r} as weights, which are read only from .safetensors files")
        if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
            raise Unsound(f"its {by} names {name!r}, which is outside its folder")


def _check_tensors(path: Path) -> None:
    """Raise Unsound unless a file of tensors is complete: its header says where each tensor is."""
    head, size = _sound_head(path), path.stat().st_size
    length = struct.unpack("<Q", head[:8])[0] if len(head) >= 8 else size
    if length > _LONGEST_HEADER or head[8:9] != b"{":
        raise Unsound(f"its {path.name} is not a safetensors file (it begins with {head[:16]!r})")
    try:
        with path.open("rb") as stream:
            header = json.loads(stream.read(8 + length)[8:])
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        end = max((int(entry["data_offsets"][1]) for entry in tensors), default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        cut = size < 8 + length
        raise Unsound(_cut(path, 8 + length, size) if cut else f"the header of {path.name} is bad") from None
    if size < 8 + length + end:
        raise Unsound(_cut(path, 8 + length + end, size))


def _cut(path: Path, whole: int, size: int) -> str:
    return f"its {path.name} is truncated: {size:,} bytes of at least {whole:,}; download it again"


def _check_small(path: Path) -> None:
    if path.suffix == ".json" and path.name not in _LARGE_JSON:
        _read_json(path)
    else:
        head = _sound_head(path)
        if path.suffix == ".json" and not head.lstrip().startswith(b"{"):
            raise Unsound(f"its {path.name} is not JSON (it begins with {head[:16]!r})")


def _read_json(path: Path) -> dict[str, Any]:
    _sound_head(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise Unsound(f"its {path.name} cannot be read: {brief(error)}") from error
    if not isinstance(content, dict):
        raise Unsound(f"its {path.name} is not a JSON object")
    return content


def _is_there(path: Path) -> bool:
    """Whether there is a file or a link, even one whose target does not exist: the message names it."""
    return path.exists() or path.is_symlink()


def _sound_head(path: Path) -> bytes:
    """The first bytes of a file. Raises Unsound if it is empty, or a pointer to one that was not fetched."""
    if path.is_symlink() and not path.exists():
        raise Unsound(f"its {path.name} is a link to {path.readlink()}, which does not exist")
    if not path.is_file():
        raise Unsound(f"its {path.name} is not a file")
    head = _head(path)
    if head.startswith(_POINTERS):
        raise Unsound(
            f"its {path.name} is a git-lfs pointer, not the file itself: run git lfs pull in the folder"
        )
    if not head:
        raise Unsound(f"its {path.name} is empty; download it again")
    return head


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(128)
