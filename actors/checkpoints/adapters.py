"""LoRA adapters in PEFT's format: whether they can be loaded, and fit a model. Light, as ``files``.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", https://arxiv.org/abs/2106.09685: a layer's
weights W become W + scale * B A, with A ``[rank, inputs]`` and B ``[outputs, rank]``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from actors.checkpoints.files import Unsound, check_adapter_files, header_of, read_json
from actors.checkpoints.models import is_a_path, resolve_model
from actors.messages import brief, some
from orchestrator.errors import ConfigError

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
PREFIX = "base_model.model."
"""What peft writes before each name."""
HEADS = ("score", "classifier", "v_head")
"""Modules that an adapter of a reward model may replace as a whole: its head."""

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of each tensor, by its name."""

# Fields of adapter_config.json that change what an adapter means, and that neither engine computes here.
_UNSUPPORTED = (
    "lora_bias", "alora_invocation_tokens", "layer_replication", "use_bdlora", "use_qalora",
    "trainable_token_indices",
)  # fmt: skip
# The others (pissa, olora, loftq, ...) change the model's own weights as well.
_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
_MATRIX = re.compile(r"(.*)\.lora_(?:embedding_)?([AB])(?:\.weight)?")
_LAYER = re.compile(r".*?\b((?:layers|h|blocks)\.\d+\..*)")


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter whose files are complete; ``key`` and ``value`` are what the user has set."""

    key: str
    value: str
    folder: Path

    @property
    def rank(self) -> int:
        """The highest rank of its layers."""
        stored = self.config
        return max([int(stored["r"]), *map(int, (stored.get("rank_pattern") or {}).values())])

    @property
    def config(self) -> dict[str, Any]:
        return read_json(self.folder / CONFIG_FILE, self.key, self.value)

    @property
    def shapes(self) -> Shapes:
        """The shapes of its tensors, by their names without ``PREFIX``."""
        return {name.removeprefix(PREFIX): shape for name, shape in header_of(self.folder / WEIGHTS_FILE)}

    def refused(self, allowed: str) -> ConfigError:
        return ConfigError(self.key, self.value, allowed)

    def check_features(self, *, dora: bool, heads: tuple[str, ...]) -> None:
        """Raise ConfigError for what an engine does not compute.

        ``dora``: it computes DoRA. ``heads`` are the modules that may come whole with the adapter.
        """
        stored = self.config
        if stored.get("use_dora") and not dora:
            raise self.refused("is a DoRA, which vLLM does not compute: merge it, or use transformers")
        others = [name for name in stored.get("modules_to_save") or [] if name not in heads]
        if others:
            whole = f"brings whole modules (modules_to_save: {some(others)}), which are not loaded here"
            raise self.refused(f"{whole}: merge it into its model, and save the result")

    def check_fits(self, model: str, shapes: Shapes) -> None:
        """Raise ConfigError where ``shapes``, of the tensors of ``model``, lack a layer that it changes."""
        wrong = misfit(self.shapes, shapes)
        if wrong is not None:
            base = self.config.get("base_model_name_or_path") or "another model"
            raise self.refused(f"does not fit {model}: {wrong} (it was made for {base})")


def check_adapter(
    group: str, model: str, lora: str | None, *, merged: bool, heads: tuple[str, ...] = ()
) -> None:
    """Raise ConfigError for ``group.lora`` unless it is null or may be an adapter of ``model``.

    ``merged``: peft adds it to the weights; otherwise vLLM computes it beside them. ``heads`` are the modules
    that may come whole with it. A name of the hub is not looked up.
    """
    if lora is None:
        return
    key = f"{group}.lora"
    if not lora:
        raise ConfigError(key, lora, "must name an adapter: a folder, or a repository on the hub")
    if model.endswith(".gguf"):
        how = "convert the model first (python -m actors.transformers_engine.gguf FILE.gguf FOLDER)"
        raise ConfigError(key, lora, f"needs a model of safetensors, not a GGUF file: {how}")
    if merged and find_spec("peft") is None:
        raise ConfigError(key, lora, "needs the package peft: pip install 'murmuration[lora]'")
    if is_a_path(lora):
        adapter = _checked(key, lora, Path(resolve_model(lora)))
        adapter.check_features(dora=merged, heads=heads)
        if os.path.isdir(base := resolve_model(model)):
            adapter.check_fits(model, shapes_of(Path(base)))


def find_adapter(group: str, lora: str | None) -> Adapter | None:
    """Return the adapter with its files, which may be downloaded; None for null. Raises ConfigError."""
    if lora is None:
        return None
    key, folder = f"{group}.lora", Path(resolve_model(lora))
    if not is_a_path(lora):
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(lora, allow_patterns=[CONFIG_FILE, "adapter_model.*"]))
        except (OSError, ValueError) as error:
            raise ConfigError(key, lora, f"cannot be loaded: {brief(error)}") from error
    return _checked(key, lora, folder)


def _checked(key: str, lora: str, folder: Path) -> Adapter:
    """The adapter of a folder. Raises ConfigError unless its files are there, and are those of a LoRA."""
    check_adapter_files(key, lora, folder)
    adapter = Adapter(key, lora, folder)
    stored = adapter.config
    try:
        _check_kind(stored)
        int(stored["r"])
    except Unsound as wrong:
        raise adapter.refused(str(wrong)) from None
    except (KeyError, TypeError, ValueError):
        raise adapter.refused(f"its {CONFIG_FILE} states no rank r") from None
    return adapter


def _check_kind(stored: Mapping[str, Any]) -> None:
    if (kind := stored.get("peft_type")) != "LORA":
        raise Unsound(f"is an adapter of kind {kind}: only LORA is supported")
    if (bias := stored.get("bias", "none")) != "none":
        raise Unsound(f"was trained with bias={bias}, which is not supported: merge it into its model")
    init = stored.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower() not in _INITS:
        raise Unsound(
            f"was made with init_lora_weights={init}, which changes the model's weights: convert it"
        )
    for name in _UNSUPPORTED:
        if stored.get(name):
            raise Unsound(f"sets {name}, which is not supported: merge it into its model")


def misfit(adapter: Shapes, model: Shapes) -> str | None:
    """Return what an adapter changes that a model lacks or has in another shape; None where it fits.

    Names are compared from their layer on: what is before it depends on the class that the weights were saved
    from. Experts are left out: libraries fuse them.

    >>> misfit({"model.layers.0.q.lora_A.weight": (4, 8), "model.layers.0.q.lora_B.weight": (16, 4)},
    ...        {"layers.0.q.weight": (16, 6)})
    'layers.0.q takes 6 numbers and gives 16, the adapter 8 and 16'
    """
    known: dict[str, set[tuple[int, ...]]] = {}
    for name, shape in model.items():
        known.setdefault(_tail(name), set()).add(shape)
    modules = {tail.rpartition(".")[0] for tail in known}
    for module, (outputs, inputs) in _changed(adapter):
        if ".experts" in module:
            continue
        tail = _tail(module)
        if tail not in modules:
            return f"it has no {tail}"
        shapes = {shape for shape in known.get(f"{tail}.weight", ()) if len(shape) == 2}
        # GPT-2 keeps the transpose. Quantised weights have other shapes, and no such tensor.
        if shapes and not shapes & {(outputs, inputs), (inputs, outputs)}:
            gives, takes = min(shapes)
            return f"{tail} takes {takes} numbers and gives {gives}, the adapter {inputs} and {outputs}"
    return None


def _changed(adapter: Shapes) -> Iterator[tuple[str, tuple[int, int]]]:
    """Each module that an adapter changes, with the outputs and inputs of its matrices."""
    ranks: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in adapter.items():
        if (found := _MATRIX.fullmatch(name)) is not None and len(shape) == 2:
            ranks.setdefault(found[1], {})[found[2]] = shape
    for module, matrices in sorted(ranks.items()):
        if matrices.keys() == {"A", "B"}:
            yield module, (matrices["B"][0], matrices["A"][1])


def _tail(name: str) -> str:
    found = _LAYER.fullmatch(name)
    return found[1] if found is not None else name.removeprefix("model.")


def shapes_of(folder: Path) -> Shapes:
    """Return the shapes of all tensors of a model's folder; packed ones of quantised models are left out."""
    shapes = dict(entry for file in sorted(folder.glob("*.safetensors")) for entry in header_of(file))
    quantised = "quantization_config" in read_json(folder / "config.json", "model", str(folder))
    return dict.fromkeys(shapes, ()) if quantised else shapes
