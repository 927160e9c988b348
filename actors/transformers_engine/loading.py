"""Loading a model of the transformers library for an engine or a verifier."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
import transformers
from transformers.utils.logging import disable_progress_bar

from actors.batching.attention import GROUPED, INVARIANT, PADDED, SINGLE, register
from actors.batching.forward import Runner, probe
from actors.batching.kv import KVShape
from actors.checkpoints import check_model_path, resolve_model
from actors.checkpoints.adapters import find_adapter
from actors.checkpoints.exclusive import LOADING
from actors.checkpoints.gguf import gguf_file
from actors.checkpoints.models import GGUF, check_repository
from actors.text.endings import ends_of_text
from actors.transformers_engine.gguf import load_gguf, tokenizer_of
from actors.transformers_engine.pretrained import load_complete
from actors.transformers_engine.text_models import TextOfSeveral, why
from orchestrator.errors import ConfigError
from orchestrator.schema import group_of

logger = logging.getLogger(__name__)


class ModelConfig(Protocol):
    """The settings of a model that this file reads; those of an engine or a verifier have more."""

    @property
    def model(self) -> str: ...

    @property
    def dtype(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def max_context(self) -> int | None: ...

    @property
    def batch_invariant(self) -> bool | None: ...

    @property
    def revision(self) -> str | None: ...

    @property
    def lora(self) -> str | None: ...

    @property
    def trust_remote_code(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Purpose:
    """How a model is loaded for its use, in addition to its configuration.

    ``auto_class`` names a class of transformers. ``decodes``: most forwards will add one token per row.
    ``make`` creates the model where no class of transformers does: ``make(name, tokenizer, adapter,
    **keywords of from_pretrained)``. ``checks`` are called with the tokenizer before weights are read.
    """

    auto_class: str = "AutoModelForCausalLM"
    decodes: bool = False
    make: Callable[..., Any] | None = None
    checks: Sequence[Callable[[Any], object]] = ()


_CAUSAL = Purpose()


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in evaluation mode, ready to run, with its tokenizer and properties."""

    runner: Runner
    tokenizer: Any
    max_context: int
    num_parameters: int
    eos_ids: frozenset[int]
    batch_invariant: bool


def load(config: ModelConfig, purpose: Purpose = _CAUSAL, *, num_threads: int | None = None) -> Loaded:
    """Load a model and its tokenizer, only from safetensors, with ``num_threads`` torch threads where given.

    Raises ConfigError when there is no such model, or when it or the device is not supported.
    """
    check_model_path(f"{group_of(config)}.model", config.model, GGUF)  # a replica may see other folders
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    with LOADING:
        model, tokenizer = _from_pretrained(config, purpose)
    max_context = _max_context(config, model.config, tokenizer)
    if _wants_invariance(config, model.device.type):
        model.set_attn_implementation(_invariant_attention(purpose, model.config, max_context))
    elif model.device.type == "cpu":
        model.set_attn_implementation(GROUPED)
    runner = _runner(model)
    with torch.inference_mode():
        batch_invariant = probe(runner)
    return Loaded(
        runner=runner,
        tokenizer=tokenizer,
        max_context=max_context,
        num_parameters=_count(model),
        eos_ids=_eos_ids(config, model, tokenizer),
        batch_invariant=batch_invariant,
    )


def _count(model: Any) -> int:
    """The number of parameters that a text passes through."""
    if isinstance(model, TextOfSeveral):
        return model.num_parameters
    return sum(p.numel() for p in model.parameters())


def _from_pretrained(config: ModelConfig, purpose: Purpose) -> tuple[Any, Any]:
    register()
    disable_progress_bar()
    key = f"{group_of(config)}.model"
    where = {"revision": config.revision, "trust_remote_code": config.trust_remote_code}
    name = resolve_model(config.model)
    dtype = "auto" if config.dtype == "auto" else getattr(torch, config.dtype)
    try:
        if (file := gguf_file(config.model)) is not None:
            tokenizer = tokenizer_of(file)
            model = load_gguf((key, config.model), file, dtype=dtype)
            return model.to(_device(config)).eval().requires_grad_(False), tokenizer
        check_repository(key, name, config.revision)
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, **where)
        for check in purpose.checks:
            check(tokenizer)
        how = {"dtype": dtype, "attn_implementation": "sdpa", "use_safetensors": True, **where}
        make = purpose.make or partial(load_complete, (key, config.model), purpose.auto_class)
        model = make(name, tokenizer, find_adapter(group_of(config), config.lora), **how)
    except ConfigError:
        raise
    except Exception as error:  # with bad files the libraries may raise anything
        logger.debug("%s cannot be loaded", config.model, exc_info=error)
        raise ConfigError(key, config.model, why(error)) from error
    return model.to(_device(config)).eval().requires_grad_(False), tokenizer


def _device(config: ModelConfig) -> str:
    if config.device != "auto":
        return config.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _wants_invariance(config: ModelConfig, device: str) -> bool:
    """Whether to use the batch-invariant path, which exists only for float32 on a CPU."""
    possible = device == "cpu" and config.dtype == "float32"
    if config.batch_invariant and not possible:
        key = f"{group_of(config)}.batch_invariant"
        raise ConfigError(key, True, "needs device=cpu and dtype=float32")
    return possible if config.batch_invariant is None else config.batch_invariant


def _invariant_attention(purpose: Purpose, config: Any, max_context: int) -> str:
    """The attention to use. One query at a time decodes faster, unless heads share keys or texts are long."""
    shares_keys = getattr(config, "num_key_value_heads", None) not in (None, config.num_attention_heads)
    return SINGLE if purpose.decodes and not shares_keys and max_context <= 1024 else PADDED


def _max_context(config: ModelConfig, shape: Any, tokenizer: Any) -> int:
    """The longest row in tokens. Raises ConfigError where sliding attention sees fewer tokens."""
    group = group_of(config)
    key = f"{group}.max_context"
    known = [shape.max_position_embeddings, getattr(tokenizer, "model_max_length", None)]
    longest = min(int(n) for n in known if n is not None)
    if config.max_context is not None and not 1 < config.max_context <= longest:
        raise ConfigError(key, config.max_context, f"must be 2..{longest} for this model, or null")
    length = config.max_context or longest
    kinds = set(getattr(shape, "layer_types", None) or ["full_attention"])
    if not kinds <= {"full_attention", "sliding_attention"}:
        raise ConfigError(
            f"{group}.model", config.model, f"layers of kind {', '.join(sorted(kinds))}: use engine=vllm"
        )
    window = getattr(shape, "sliding_window", None)
    slides = "sliding_attention" in kinds or not getattr(shape, "layer_types", None)
    if slides and window is not None and getattr(shape, "use_sliding_window", True) and length > window:
        raise ConfigError(
            key, length, f"this model's attention slides over {window} tokens: set at most that"
        )
    return length


def _runner(model: Any) -> Runner:
    shape = KVShape.of(model.config.get_text_config(), model.dtype, model.device)
    return Runner(model, shape, invariant=model.config._attn_implementation in INVARIANT)


def _eos_ids(config: ModelConfig, model: Any, tokenizer: Any) -> frozenset[int]:
    """Every token that ends a text."""
    generation = getattr(model, "generation_config", None)
    known = [getattr(generation, "eos_token_id", None)]
    if gguf_file(config.model) is not None:
        return ends_of_text(tokenizer, configured=known)
    return ends_of_text(tokenizer, config.model, revision=config.revision, configured=known)
