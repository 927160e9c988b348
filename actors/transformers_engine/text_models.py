"""The text model of a checkpoint that holds several, as those of models that take images do.

transformers keeps what is known of the text in ``config.text_config`` then, and has another class for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from actors.messages import brief

Info = Mapping[str, Any]


class Unsuitable(Exception):
    """What a model is that it cannot be a policy, in one line."""


class TextOfSeveral(torch.nn.Module):
    """A model of texts and images that is given texts alone; its configuration is that of its text."""

    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.whole = whole
        self.config = whole.config.get_text_config()
        self.generation_config = getattr(whole, "generation_config", None)

    @property
    def dtype(self) -> torch.dtype:
        return self.whole.dtype  # type: ignore[no-any-return]

    @property
    def device(self) -> torch.device:
        return self.whole.device  # type: ignore[no-any-return]

    @property
    def num_parameters(self) -> int:
        """Those that a text passes through: the eyes of the model are left out."""
        text = {id(p): p.numel() for p in text_part(self.whole).parameters()}
        head = self.whole.get_output_embeddings()
        text |= {id(p): p.numel() for p in head.parameters()} if head is not None else {}
        return sum(text.values())

    def set_attn_implementation(self, name: str) -> None:
        self.whole.set_attn_implementation(name)

    def forward(self, logits_to_keep: int = 0, **inputs: Any) -> Any:
        return self.whole(logits_to_keep=logits_to_keep, **inputs)


def causal_lm(name: str, **how: Any) -> tuple[Any, Info]:
    """A model that continues texts, and what from_pretrained tells of its checkpoint.

    Raises Unsuitable where transformers has none for this architecture, or none whose tokens see only what
    stands before them.
    """
    import transformers

    auto: Any = transformers.AutoModelForCausalLM
    try:
        model, info = auto.from_pretrained(name, output_loading_info=True, **how)
    except ValueError as error:
        if "Unrecognized configuration class" not in str(error):
            raise
        model, info = _by_its_text(name, **how)
    if not is_causal(text_part(model)):
        raise Unsuitable(f"is a {type(model).__name__}, which continues no text: its tokens see later ones")
    return model, info


def _by_its_text(name: str, **how: Any) -> tuple[Any, Info]:
    import transformers

    auto: Any = transformers.AutoModelForImageTextToText
    try:
        model, info = auto.from_pretrained(name, output_loading_info=True, **how)
    except ValueError as error:
        if "Unrecognized configuration class" not in str(error):
            raise
        config = transformers.AutoConfig.from_pretrained(name, **_of_a_config(how))
        what = (getattr(config, "architectures", None) or [type(config).__name__])[0]
        raise Unsuitable(f"is a {what}, which transformers loads as no model that continues texts") from error
    if getattr(model.config, "is_encoder_decoder", False):
        raise Unsuitable(f"is a {type(model).__name__}, an encoder and a decoder, which continues no text")
    return model, info


def _of_a_config(how: Mapping[str, Any]) -> dict[str, Any]:
    return {key: how[key] for key in ("revision", "trust_remote_code") if key in how}


def text_part(model: Any) -> Any:
    """The layers that a text passes through."""
    if not holds_several(model):
        return model
    return model.get_decoder()


def holds_several(model: Any) -> bool:
    return model.config.get_text_config() is not model.config


def is_causal(model: Any) -> bool:
    """Whether no token sees a later one, by what its layers say of themselves."""
    return all(bool(flag) for m in model.modules() if (flag := getattr(m, "is_causal", None)) is not None)


def as_text(model: Any) -> Any:
    """The same model with the configuration of its text, where it has one of its own."""
    return TextOfSeveral(model) if holds_several(model) else model


def why(error: Exception) -> str:
    """What is wrong with a model, for the line that names it."""
    return str(error) if isinstance(error, Unsuitable) else f"cannot be loaded: {brief(error)}"
