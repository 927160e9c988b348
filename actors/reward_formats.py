"""How reward models are fed and read: a registry by configuration, never by a model's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor

from actors.prefix import TokenIds
from orchestrator.errors import ConfigError, nearest


class Format(Protocol):
    """How a trajectory is laid out for a reward model, and how a reward is read from its logits."""

    @property
    def auto_class(self) -> str:
        """The class of transformers that loads the model."""
        ...

    def check(self, config: Any) -> None:
        """Raise ConfigError where a model with this configuration cannot be read so."""
        ...

    def layout(self, tokenizer: Any) -> Layout: ...

    def log_odds(self, logits: Tensor) -> Tensor:
        """The reward ``[n]`` as log-odds, from ``[n, outputs]`` at the positions that are read."""
        ...


class Layout(Protocol):
    """Turns texts into token ids: each piece for itself, so that a longer trajectory only appends."""

    def prompt(self, question: str) -> TokenIds: ...

    def step(self, text: str, *, tagged: bool) -> TokenIds:
        """A step; one that is ``tagged`` ends with the token at which its reward is read."""
        ...


@dataclass(frozen=True, slots=True)
class TokenClassification:
    """Steps that each end with ``step_tag``; a classifier's logits at the tag's last token.

    The log-odds are the positive label's logit against the others' (for two labels l1 - l0, unclipped).
    """

    template: str = "{question}\n"
    step_tag: str = "\n"
    positive_label: int = 1

    def __post_init__(self) -> None:
        if "{question}" not in self.template:
            raise ConfigError("verifier.template", repr(self.template), "must hold {question}")
        if not self.step_tag:
            raise ConfigError("verifier.step_tag", repr(self.step_tag), "must be a text, it ends each step")

    @property
    def auto_class(self) -> str:
        return "AutoModelForTokenClassification"

    def check(self, config: Any) -> None:
        if not 0 <= self.positive_label < config.num_labels or config.num_labels < 2:
            allowed = f"must be below the model's number of labels, {config.num_labels}, and that 2 or more"
            raise ConfigError("verifier.positive_label", self.positive_label, allowed)

    def layout(self, tokenizer: Any) -> Layout:
        return _TaggedSteps(tokenizer, self.template, self.step_tag)

    def log_odds(self, logits: Tensor) -> Tensor:
        exact = logits.double()
        others = [i for i in range(exact.shape[-1]) if i != self.positive_label]
        return exact[:, self.positive_label] - torch.logsumexp(exact[:, others], dim=-1)


class _TaggedSteps:
    """A rendered question, then steps; texts recur, so their ids are remembered."""

    def __init__(self, tokenizer: Any, template: str, step_tag: str) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._tag = self._ids(step_tag, special=False)
        self.prompt = lru_cache(maxsize=4096)(self._prompt)
        self.step = lru_cache(maxsize=65536)(self._step)

    def _prompt(self, question: str) -> TokenIds:
        return self._ids(self._template.replace("{question}", question), special=True)

    def _step(self, text: str, *, tagged: bool) -> TokenIds:
        """The tag takes the place of the delimiter, which a step that ended with end of text lacks."""
        if not tagged:
            return self._ids(text, special=False)
        return self._ids(text.rstrip(), special=False) + self._tag

    def _ids(self, text: str, *, special: bool) -> TokenIds:
        return tuple(self._tokenizer(text, add_special_tokens=special)["input_ids"]) if text else ()


FORMATS: dict[str, Callable[..., Format]] = {"token_classification": TokenClassification}
"""By the name in the configuration; a further way to read a reward is one more class."""


def build_format(name: str, options: Mapping[str, Any]) -> Format:
    """The format ``name`` with ``options`` as its fields. Raises ConfigError."""
    if name not in FORMATS:
        raise ConfigError(
            "verifier.format", name, f"must be one of {', '.join(FORMATS)}{nearest(name, FORMATS)}"
        )
    try:
        return FORMATS[name](**options)
    except TypeError as error:
        raise ConfigError(
            "verifier", ", ".join(options), f"not an option of the format {name}: {error}"
        ) from None
