"""Loading masked-diffusion language models through transformers' own classes, without remote code.

LLaDA is a Llama and Dream a Qwen2 with bidirectional attention: the same tensors have other names, and an
additive mask of zeros replaces the causal one. Weights are read only from safetensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from actors.checkpoints import check_model_path, resolve_model
from actors.checkpoints.exclusive import LOADING
from actors.checkpoints.files import INDEX, check_folder, check_index, read_json
from actors.diffusion_engine.config import DiffusionEngineConfig
from actors.diffusion_engine.layouts import Layout, layout_of, mask_id_of
from actors.messages import brief, some
from orchestrator.errors import ConfigError

_KEY = "engine.model"
_FILES = ("*.json", "*.safetensors", "*.jinja", "merges.txt")
# Chat models end a turn with one of these, and fill the rest of the canvas with the end of text.
_ENDINGS = ("<|endoftext|>", "<|eot_id|>", "<|im_end|>", "<|eos|>")


@dataclass(frozen=True, slots=True)
class DiffusionModel:
    """A bidirectional model in evaluation mode, with the properties that denoising needs.

    ``mask_id`` is the token of an undecided position; ``eos_ids`` end a text.
    """

    model: Any
    tokenizer: Any
    layout: Layout
    mask_id: int
    eos_ids: frozenset[int]
    max_context: int
    num_parameters: int


def load_diffusion(
    config: DiffusionEngineConfig,
    *,
    device: str = "cpu",
    attention: str = "sdpa",
    checks: Sequence[Callable[[Any], object]] = (),
) -> DiffusionModel:
    """Load a checkpoint in LLaDA's, Dream's or the native layout, from a folder or the hub.

    ``device`` is a torch device; ``attention`` is a transformers attention implementation that takes an
    additive mask. ``checks`` are called with the tokenizer before weights are read. Raises ConfigError
    when there is no such model, when its architecture is not supported, or when its tensors do not match.
    """
    named = (_KEY, config.model)
    check_model_path(*named)  # a replica may see other folders
    folder = _folder(*named, config.revision)
    stored = read_json(folder / "config.json", *named)
    layout = layout_of(stored, *named)
    tokenizer = _tokenizer(folder, *named)
    for check in checks:
        check(tokenizer)
    network = _network(layout, stored, folder, named, config.dtype, device, attention)
    longest = int(network.config.max_position_embeddings)
    if config.max_context is not None and not 1 < config.max_context <= longest:
        allowed = f"must be 2..{longest} for this model, or null"
        raise ConfigError("engine.max_context", config.max_context, allowed)
    return DiffusionModel(
        model=network,
        tokenizer=tokenizer,
        layout=layout,
        mask_id=mask_id_of(stored, *named),
        eos_ids=_eos_ids(folder, stored, tokenizer),
        max_context=config.max_context or longest,
        num_parameters=sum(p.numel() for p in network.parameters()),
    )


def _folder(key: str, model: str, revision: str | None) -> Path:
    """The folder of the files: a local one, or the hub's cache after the download of the required files."""
    folder = Path(resolve_model(model))
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=list(_FILES)))
    except (OSError, ValueError) as error:
        raise ConfigError(key, model, f"cannot be loaded: {brief(error)}") from error
    check_folder(key, model, folder)
    return folder


def _tokenizer(folder: Path, key: str, model: str) -> Any:
    """The tokenizer, loaded from its files: Dream's class is a byte-level BPE, like that of Qwen2."""
    import transformers

    try:
        if (folder / "tokenizer.json").exists():
            return transformers.PreTrainedTokenizerFast.from_pretrained(folder)
        if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
            return transformers.Qwen2Tokenizer.from_pretrained(folder)
    except Exception as error:  # the tokenizers library raises plain ones
        raise ConfigError(key, model, f"its tokenizer cannot be loaded: {brief(error)}") from error
    raise ConfigError(key, model, "holds no tokenizer: neither tokenizer.json nor vocab.json and merges.txt")


def _network(
    layout: Layout,
    config: dict[str, Any],
    folder: Path,
    named: tuple[str, str],
    dtype: str,
    device: str,
    attention: str,
) -> Any:
    """The native model, filled tensor by tensor so that memory holds it only once."""
    import transformers

    from actors.batching.attention import register

    register()
    network_class = getattr(transformers, layout.native)
    native = network_class.config_class(**layout.convert(config, *named))
    native._attn_implementation = attention
    with LOADING, torch.device("meta"):
        network = network_class(native)
    _fill(network, layout, _shards(folder, *named), named, dtype, device)
    # Its tables are not weights: they are created again on the device of the weights.
    network.model.rotary_emb = type(network.model.rotary_emb)(config=native).to(device)
    return network.eval().requires_grad_(False)


def _shards(folder: Path, key: str, model: str) -> list[Path]:
    """The safetensors files that make up the model."""
    if not (folder / INDEX).exists():
        return sorted(folder.glob("*.safetensors"))
    return [folder / name for name in check_index(key, model, folder / INDEX)]


def _fill(
    network: Any, layout: Layout, shards: list[Path], named: tuple[str, str], dtype: str, device: str
) -> None:
    """Replace every parameter by the tensor of its name. Raises ConfigError unless they match one to one."""
    from safetensors import safe_open

    wanted = {name: tuple(p.shape) for name, p in network.named_parameters(remove_duplicate=False)}
    as_dtype, found, unexpected, misshapen = _torch_dtype(dtype), set[str](), [], []
    for shard in shards:
        try:
            with safe_open(shard, framework="pt", device=device) as file:
                for stored in file.keys():  # noqa: SIM118 - not a mapping
                    name, tensor = layout.rename(stored), file.get_tensor(stored)
                    if name not in wanted:
                        unexpected.append(stored)
                    elif tuple(tensor.shape) != wanted[name]:
                        misshapen.append(f"{stored} is {tuple(tensor.shape)}, not {wanted[name]}")
                    else:
                        _put(network, name, tensor.to(as_dtype or tensor.dtype))
                        found.add(name)
        except (OSError, SafetensorError) as error:
            raise ConfigError(*named, f"{shard.name} cannot be read: {brief(error)}") from error
    if network.config.tie_word_embeddings:
        network.lm_head.weight = network.model.embed_tokens.weight
        found.add("lm_head.weight")
    _refuse_mismatch(layout, [n for n in wanted if n not in found], unexpected, misshapen, named)


def _put(network: Any, name: str, tensor: torch.Tensor) -> None:
    owner, _, last = name.rpartition(".")
    setattr(network.get_submodule(owner), last, nn.Parameter(tensor, requires_grad=False))


def _refuse_mismatch(
    layout: Layout, missing: list[str], unexpected: list[str], misshapen: list[str], named: tuple[str, str]
) -> None:
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    wrong = "; ".join(f"{len(names)} {kind}: {some(names)}" for kind, names in kinds.items() if names)
    if wrong:
        raise ConfigError(*named, f"its tensors are not those of {layout.name} (as {layout.native}): {wrong}")


def _torch_dtype(dtype: str) -> torch.dtype | None:
    """The dtype, or None to keep the dtype of each tensor."""
    if dtype == "auto":
        return None
    found = getattr(torch, dtype, None)
    if not isinstance(found, torch.dtype):
        raise ConfigError("engine.dtype", dtype, "no such torch dtype")
    return found


def _eos_ids(folder: Path, config: dict[str, Any], tokenizer: Any) -> frozenset[int]:
    """Every token that ends a text, from the configurations, the tokenizer and the usual names."""
    from actors.text.endings import ends_of_text

    path = folder / "generation_config.json"
    generation = read_json(path, "engine.model", str(folder)) if path.exists() else {}
    named = tokenizer.get_added_vocab()
    configured = [
        config.get("eos_token_id"),
        generation.get("eos_token_id"),
        *(named.get(n) for n in _ENDINGS),
    ]
    return ends_of_text(tokenizer, configured=configured)
