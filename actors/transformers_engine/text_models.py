"""The text model of a checkpoint that holds several models, such as one for images.

transformers then keeps the configuration of the text in ``config.text_config``, and has another class for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from actors.messages import brief

Info = Mapping[str, Any]


class Unsuitable(Exception):
    """Why a model cannot be a policy, in one line."""


class TextOfSeveral(torch.nn.Module):
    """A model of texts and images that gets only texts; its configuration is that of its text model."""

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
        """The number of parameters that a text passes through: those for images are left out."""
        text = {id(p): p.numel() for p in text_part(self.whole).parameters()}
        head = self.whole.get_output_embeddings()
        text |= {id(p): p.numel() for p in head.parameters()} if head is not None else {}
        return sum(text.values())

    def set_attn_implementation(self, name: str) -> None:
        self.whole.set_attn_implementation(name)

    def forward(self, logits_to_keep: int = 0, **inputs: Any) -> Any:
        return self.whole(logits_to_keep=logits_to_keep, **inputs)


def causal_lm(name: str, **how: Any) -> tuple[Any, Info]:
    """Load a model that continues texts. Return it and from_pretrained's information about its checkpoint.

    Raises Unsuitable where transformers has no causal model for this architecture.
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
        raise Unsuitable(f"is a {type(model).__name__}, which is not causal: its tokens see later ones")
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
        raise Unsuitable(f"is a {what}, which transformers cannot load as a model of text") from error
    if getattr(model.config, "is_encoder_decoder", False):
        raise Unsuitable(f"is a {type(model).__name__}, an encoder and a decoder: it does not continue texts")
    return model, info


def _of_a_config(how: Mapping[str, Any]) -> dict[str, Any]:
    return {key: how[key] for key in ("revision", "trust_remote_code") if key in how}


def text_part(model: Any) -> Any:
    """Return the layers that a text passes through."""
    if not holds_several(model):
        return model
    return model.get_decoder()


def holds_several(model: Any) -> bool:
    return model.config.get_text_config() is not model.config


def is_causal(model: Any) -> bool:
    """Return whether no token sees a later one, according to the ``is_causal`` of its layers."""
    return all(bool(flag) for m in model.modules() if (flag := getattr(m, "is_causal", None)) is not None)


def as_text(model: Any) -> Any:
    """Return the model with the configuration of its text model, where it has several."""
    return TextOfSeveral(model) if holds_several(model) else model


def why(error: Exception) -> str:
    """Return what is wrong with a model, for the message that names it."""
    return str(error) if isinstance(error, Unsuitable) else f"cannot be loaded: {brief(error)}"
