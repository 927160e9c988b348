"""Finding and loading models of the transformers library. Importing this file loads no heavy library."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.checkpoint_files import (
    INDEX,
    INDEX_SUFFIX,
    check_folder,
    check_index,
    check_tokenizer_folder,
    named_weights,
)
from orchestrator.errors import ConfigError
from orchestrator.suggest import nearest
from orchestrator.templates import template_fields

if TYPE_CHECKING:
    from actors.forward import Runner

logger = logging.getLogger(__name__)

EMBEDDED = "embedded:"
_FIELDS = {"question", "instruction"}
WEIGHTS = Path(__file__).parent / "embedded" / "weights"


def resolve_model(model: str) -> str:
    """A folder or a hub name: ``embedded:NAME`` stands for the folder of a shipped model."""
    if model.startswith(EMBEDDED):
        return str(WEIGHTS / model.removeprefix(EMBEDDED))
    return os.path.expanduser(model) if model.startswith("~") else model


def check_model_path(key: str, model: str) -> None:
    """Raise ConfigError for ``key`` when ``model`` names a folder here that holds no model.

    A name of the hub is not looked up: the hub may be out of reach now, and the model in its cache.
    """
    folder = Path(resolve_model(model))
    if model.startswith(EMBEDDED):
        shipped = sorted(f"{EMBEDDED}{p.parent.name}" for p in WEIGHTS.glob("*/config.json"))
        if model not in shipped:
            raise ConfigError(key, model, f"no such shipped model{nearest(model, shipped)}")
    elif not model:
        raise ConfigError(key, model, "must name a model: a folder, or a repository on the hub")
    elif _is_a_path(model):
        check_folder(key, model, folder)


def check_tokenizer_path(key: str, name: str) -> None:
    """Raise ConfigError for ``key`` when ``name`` names a folder here that holds no tokenizer."""
    if _is_a_path(name) and not name.startswith(EMBEDDED):
        check_tokenizer_folder(key, name, Path(resolve_model(name)))


def absolute(name: str) -> str:
    """A folder here by its whole path: a replica may run elsewhere, and a Ray may have been started there."""
    if name.startswith(EMBEDDED) or not _is_a_path(name):
        return name
    return os.path.abspath(os.path.expanduser(name))


def make_absolute(config: object, *names: str) -> None:
    """Replace those fields of a frozen configuration that name folders here."""
    for name in names:
        if isinstance(value := getattr(config, name), str):
            object.__setattr__(config, name, absolute(value))


def _is_a_path(name: str) -> bool:
    """Whether a name can only be that of a folder here, or is that of one."""
    looks_so = name.startswith(("/", ".", "~")) or name.endswith(".gguf")
    return looks_so or (bool(name) and os.path.exists(resolve_model(name)))  # Path's raises for long names


def check_template(template: str, key: str = "engine.template", *, needs_question: bool = True) -> str:
    """The template itself. Raises ConfigError when it is malformed or has other fields than ours."""
    try:
        names = template_fields(template)
    except ValueError as error:
        raise ConfigError(key, repr(template), str(error)) from None
    if not names <= _FIELDS or (needs_question and "question" not in names):
        allowed = "must hold {question}, and may hold {instruction}"
        if not needs_question:
            allowed = "may hold {instruction} and {question}, and no other field"
        raise ConfigError(key, repr(template), allowed)
    return template


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a model is loaded; ``key`` is its place in the configuration, for error messages.

    ``dtype`` is a torch dtype's name or ``auto``; ``device`` is ``auto`` or a torch device. With
    ``batch_invariant`` None the invariant path is taken where it is possible: float32 on a CPU.
    ``decodes`` says that most forwards will add one token a row. ``make`` makes the model where no class of
    transformers does: ``make(name, tokenizer, **keywords of from_pretrained)``.
    """

    key: str
    model: str
    auto_class: str
    dtype: str = "float32"
    device: str = "auto"
    max_context: int | None = None
    num_threads: int | None = None
    batch_invariant: bool | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    decodes: bool = False
    make: Callable[..., Any] | None = None
    checks: Sequence[Callable[[Any], object]] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in evaluation mode, ready to run, with what is known of it."""

    runner: Runner
    tokenizer: Any
    max_context: int
    num_parameters: int
    eos_ids: frozenset[int]
    batch_invariant: bool


def load(options: LoadOptions) -> Loaded:
    """Load a model and its tokenizer, from safetensors only.

    Raises ConfigError when there is no such model, or when it or the device does not suit.
    """
    import torch

    from actors.forward import probe

    check_model_path(options.key, options.model)
    if options.num_threads is not None:
        torch.set_num_threads(options.num_threads)
    model, tokenizer = _from_pretrained(options)
    max_context = _max_context(options, model.config, tokenizer)
    if _wants_invariance(options, model.device.type):
        model.set_attn_implementation(_invariant_attention(options, model.config, max_context))
    runner = _runner(model)
    with torch.inference_mode():
        batch_invariant = probe(runner)
    return Loaded(
        runner=runner,
        tokenizer=tokenizer,
        max_context=max_context,
        num_parameters=_count(model),
        eos_ids=_eos_ids(options, model, tokenizer),
        batch_invariant=batch_invariant,
    )


def _count(model: Any) -> int:
    """How many numbers a text passes through."""
    from actors.text_models import TextOfSeveral

    if isinstance(model, TextOfSeveral):
        return model.num_parameters
    return sum(p.numel() for p in model.parameters())


def _from_pretrained(options: LoadOptions) -> tuple[Any, Any]:
    import torch
    import transformers
    from transformers.utils.logging import disable_progress_bar

    from actors.attention import register

    register()
    disable_progress_bar()
    device = _device(options)
    where = {"revision": options.revision, "trust_remote_code": options.trust_remote_code}
    name = resolve_model(options.model)
    dtype = "auto" if options.dtype == "auto" else getattr(torch, options.dtype, None)
    if dtype is None:
        raise ConfigError(f"{options.key.rpartition('.')[0]}.dtype", options.dtype, "no such torch dtype")
    try:
        check_repository(options.key, name, options.revision)
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, **where)
        for check in options.checks:
            check(tokenizer)
        how = {"dtype": dtype, "attn_implementation": "sdpa", "use_safetensors": True, **where}
        make = options.make or partial(load_complete, options)
        model = make(name, tokenizer, **how)
    except ConfigError:
        raise
    except Exception as error:  # whatever a stranger's files make the libraries raise
        logger.debug("%s cannot be loaded", options.model, exc_info=error)
        from actors.text_models import why

        raise ConfigError(options.key, options.model, why(error)) from error
    return model.to(device).eval().requires_grad_(False), tokenizer


def load_complete(options: LoadOptions, name: str, _tokenizer: Any, **how: Any) -> Any:
    """A model of the library's own classes. Raises ConfigError where its checkpoint lacks a weight.

    transformers would fill that with random numbers.
    """
    import transformers

    from actors.text_models import as_text, causal_lm

    if options.auto_class == "AutoModelForCausalLM":
        model, info = causal_lm(name, **how)
    else:
        auto_class = getattr(transformers, options.auto_class)
        model, info = auto_class.from_pretrained(name, output_loading_info=True, **how)
    check_complete(options.key, options.model, info)
    return as_text(model)


def check_complete(key: str, model: str, info: Mapping[str, Any]) -> None:
    """Raise ConfigError where ``info`` of from_pretrained names weights that the checkpoint lacks."""
    missing = sorted(map(str, info["missing_keys"]))
    if missing:
        allowed = f"the checkpoint lacks {len(missing)} weights, such as {missing[0]}"
        raise ConfigError(key, model, allowed)
    if info.get("mismatched_keys"):
        raise ConfigError(key, model, "the checkpoint's weights have other shapes than its config.json says")


def check_repository(key: str, name: str, revision: str | None) -> None:
    """Raise ConfigError where a repository of the hub names weights that are no safetensors.

    A folder here has been checked before. Fetches the two files that could name them, where there is a hub.
    """
    if os.path.exists(name):
        return
    from transformers.utils.hub import cached_file

    def find(file: str) -> Path | None:
        found = cached_file(name, file, revision=revision, _raise_exceptions_for_missing_entries=False)
        return None if found is None else Path(found)

    config = find("config.json")
    named = named_weights(config, key, name) if config is not None else None
    for index in {INDEX, *([named] if named and named.endswith(INDEX_SUFFIX) else [])}:
        if (path := find(index)) is not None:
            check_index(key, name, path)


def _device(options: LoadOptions) -> str:
    import torch

    if options.device != "auto":
        return options.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _wants_invariance(options: LoadOptions, device: str) -> bool:
    """Whether to take the batch-invariant path, which only float32 on a CPU has."""
    possible = device == "cpu" and options.dtype == "float32"
    if options.batch_invariant and not possible:
        key = f"{options.key.rpartition('.')[0]}.batch_invariant"
        raise ConfigError(key, True, "needs device=cpu and dtype=float32")
    return possible if options.batch_invariant is None else options.batch_invariant


def _invariant_attention(options: LoadOptions, config: Any, max_context: int) -> str:
    """One query at a time costs less while decoding, unless heads share keys or prompts are long."""
    from actors.attention import PADDED, SINGLE

    shares_keys = getattr(config, "num_key_value_heads", None) not in (None, config.num_attention_heads)
    return SINGLE if options.decodes and not shares_keys and max_context <= 1024 else PADDED


def _max_context(options: LoadOptions, config: Any, tokenizer: Any) -> int:
    """The longest row, in tokens. Raises ConfigError where attention slides over less than that."""
    key = f"{options.key.rpartition('.')[0]}.max_context"
    known = [config.max_position_embeddings, getattr(tokenizer, "model_max_length", None)]
    longest = min(int(n) for n in known if n is not None)
    if options.max_context is not None and not 1 < options.max_context <= longest:
        raise ConfigError(key, options.max_context, f"must be 2..{longest} for this model, or null")
    wanted = options.max_context or longest
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if not kinds <= {"full_attention", "sliding_attention"}:
        raise ConfigError(
            options.key, options.model, f"layers of kind {', '.join(sorted(kinds))}: use engine=vllm"
        )
    window = getattr(config, "sliding_window", None)
    slides = "sliding_attention" in kinds or not getattr(config, "layer_types", None)
    if slides and window is not None and getattr(config, "use_sliding_window", True) and wanted > window:
        raise ConfigError(
            key, wanted, f"this model's attention slides over {window} tokens: set at most that"
        )
    return wanted


def _runner(model: Any) -> Runner:
    from actors.attention import INVARIANT
    from actors.forward import Runner
    from actors.kv import KVShape

    shape = KVShape.of(model.config.get_text_config(), model.dtype, model.device)
    return Runner(model, shape, invariant=model.config._attn_implementation in INVARIANT)


def _eos_ids(options: LoadOptions, model: Any, tokenizer: Any) -> frozenset[int]:
    """Every token that ends a text."""
    from actors.endings import ends_of_text

    generation = getattr(model, "generation_config", None)
    known = [getattr(generation, "eos_token_id", None)]
    return ends_of_text(tokenizer, options.model, revision=options.revision, configured=known)
