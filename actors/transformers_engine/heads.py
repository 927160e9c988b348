"""Reward models on any decoder of transformers: its layers, and a head read from the checkpoint by its keys.

transformers has no class for most reward models (Qwen2ForProcessRewardModel is remote code, TRL's value head
a wrapper), and fills a head whose keys it does not find with random numbers. Here the layers come from
``AutoModel`` and the head directly from the safetensors files; a checkpoint that lacks either is refused.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from actors.batching.linear import Float32Linear
from actors.checkpoints.adapters import HEADS as HEAD_MODULES
from actors.checkpoints.adapters import PREFIX, WEIGHTS_FILE, Adapter
from actors.checkpoints.files import INDEX, check_index
from actors.transformers_engine.merging import merge
from actors.transformers_engine.pretrained import check_complete
from actors.transformers_engine.text_models import TextOfSeveral, as_text, causal_lm, is_causal, text_part
from actors.verifiers.formats import Verdict
from orchestrator.errors import ConfigError

_MODEL = "verifier.model"
Place = tuple[str, str]
"""A file of safetensors, and the key of a tensor in it."""

# Keys of the linear layers of a head, with a ReLU between two: Qwen2ForProcessRewardModel (an MLP), the
# token and sequence classifiers of transformers, and the value head of TRL and Skywork.
HEADS: tuple[tuple[str, ...], ...] = (("score.0", "score.2"), ("score",), ("v_head.summary",))


class HeadedModel(torch.nn.Module):
    """A decoder with a head, called like a model of transformers."""

    def __init__(self, decoder: Any, layers: Sequence[Float32Linear]) -> None:
        """Take ``layers`` in order, with a ReLU between two."""
        super().__init__()
        self.decoder = decoder
        self.layers = torch.nn.ModuleList(layers)
        self.config = decoder.config
        self.num_outputs = int(layers[-1].weight.shape[0])

    @property
    def dtype(self) -> torch.dtype:
        return self.decoder.dtype  # type: ignore[no-any-return]

    @property
    def device(self) -> torch.device:
        return self.decoder.device  # type: ignore[no-any-return]

    def set_attn_implementation(self, name: str) -> None:
        self.decoder.set_attn_implementation(name)

    def forward(self, **inputs: Any) -> SimpleNamespace:
        """Return ``logits`` ``[rows, queries, outputs]`` in float32."""
        hidden = self.decoder(**inputs).last_hidden_state
        first, *others = self.layers
        outputs = first(hidden)
        for layer in others:
            outputs = layer(torch.relu(outputs))
        return SimpleNamespace(logits=outputs)


def load_classifier(
    name: str, _tokenizer: Any, adapter: Adapter | None, *, trust_remote_code: bool, **options: Any
) -> HeadedModel:
    """Load a decoder with the head of its checkpoint. No remote code is run: none is needed.

    An adapter may bring a head that was trained with it.

    Raises ConfigError where the checkpoint lacks a head or a weight, OSError where there is no checkpoint.
    """
    import transformers

    model, info = _load(transformers.AutoModel, name, trust_remote_code=False, **options)
    decoder = text_part(model)
    _check_decoder(name, decoder)
    check_complete(_MODEL, name, info)
    merge(adapter, name, decoder, heads=HEAD_MODULES)
    layers = _read_head(name, options.get("revision"), adapter)
    takes, gives = layers[0].weight.shape[1], int(decoder.config.get_text_config().hidden_size)
    if takes != gives:
        raise ConfigError(_MODEL, name, f"its head takes {takes} numbers, its layers give {gives}")
    return HeadedModel(decoder, layers)


def load_lm(
    verdict_of: Callable[[Any], Verdict], name: str, tokenizer: Any, adapter: Adapter | None, **options: Any
) -> Any:
    """Load a language model that computes only the logits of the verdict's tokens, in ``outputs``' order."""
    with _quiet():
        model, info = causal_lm(name, **options)
    check_complete(_MODEL, name, info)
    merge(adapter, name, model)
    rows = torch.tensor(verdict_of(tokenizer).outputs)
    whole = model.get_output_embeddings()
    if int(rows.max()) >= len(whole.weight):
        allowed = f"its tokenizer knows tokens beyond the {len(whole.weight)} that the model has"
        raise ConfigError(_MODEL, name, f"{allowed}, among them those of the verdict: {rows.tolist()}")
    bias = getattr(whole, "bias", None)
    model.set_output_embeddings(Float32Linear(whole.weight[rows], None if bias is None else bias[rows]))
    return as_text(model)


def _load(auto_class: Any, name: str, **options: Any) -> tuple[Any, Mapping[str, Any]]:
    with _quiet():
        model, info = auto_class.from_pretrained(name, output_loading_info=True, **options)
    return model, info


def num_outputs(model: Any) -> int:
    """Return how many numbers a model of this file gives at each token."""
    if isinstance(model, HeadedModel):
        return model.num_outputs
    lm = model.whole if isinstance(model, TextOfSeveral) else model
    return len(lm.get_output_embeddings().weight)


def _read_head(name: str, revision: str | None, adapter: Adapter | None) -> list[Float32Linear]:
    own = {} if adapter is None else _heads_of(adapter)
    files = own or _tensor_files(name, revision)
    keys = next((head for head in HEADS if all(f"{key}.weight" in files for key in head)), None)
    if keys is None:
        known = " or ".join(f"{' and '.join(head)}" for head in HEADS)
        raise ConfigError(_MODEL, name, f"the checkpoint holds no reward head ({known})")
    return [
        Float32Linear(
            _read(files[f"{key}.weight"]), _read(files[f"{key}.bias"]) if f"{key}.bias" in files else None
        )
        for key in keys
    ]


def _heads_of(adapter: Adapter) -> Mapping[str, Place]:
    """The tensors of the head that came with an adapter."""
    named = (name for name in adapter.shapes if name.partition(".")[0] in HEAD_MODULES)
    return {name: (str(adapter.folder / WEIGHTS_FILE), f"{PREFIX}{name}") for name in named}


def _tensor_files(name: str, revision: str | None) -> Mapping[str, Place]:
    """The place of each tensor of a checkpoint, in a folder or in the hub's cache."""
    from transformers.utils.hub import cached_file

    def find(file: str) -> str | None:
        found = cached_file(name, file, revision=revision, _raise_exceptions_for_missing_entries=False)
        return None if found is None else str(found)

    single = find("model.safetensors")  # which transformers prefers too
    if single is not None:
        with safe_open(single, "pt") as file:
            return {key: (single, key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    index = find(INDEX)
    if index is None:
        raise ConfigError(_MODEL, name, "holds no model.safetensors (other formats are not loaded)")
    paths = {shard: find(shard) for shard in check_index(_MODEL, name, Path(index))}
    shards: Mapping[str, str] = json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"]
    return {key: (path, key) for key, shard in shards.items() if (path := paths[shard]) is not None}


def _read(place: Place) -> Tensor:
    with safe_open(place[0], "pt") as file:
        tensor: Tensor = file.get_tensor(place[1])
    return tensor


def _says_causal(model: Any) -> bool:
    return any(getattr(m, "is_causal", None) is not None for m in model.modules())


def _check_decoder(name: str, model: Any) -> None:
    """Raise ConfigError unless no token sees a later one: only then are kept keys and values right."""
    takes_cache = "past_key_values" in inspect.signature(model.forward).parameters
    if not (takes_cache and _says_causal(model) and is_causal(model)):
        raise ConfigError(_MODEL, name, f"must be a decoder, which {type(model).__name__} is not")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' warnings of unused keys: those of the head, which is read afterwards."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
