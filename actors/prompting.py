"""How a policy is told the question: rendered once, as token ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from actors.loading import check_template
from orchestrator.errors import ConfigError

TokenIds = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PromptStyle:
    """The keys of an engine that render ``{question}`` and ``{instruction}``. Raises ConfigError.

    ``template`` None puts the instruction and the question one after the other, each with a newline. With
    ``chat`` the tokenizer's chat template renders two messages: the system's, which is ``system`` (None: the
    instruction), and the user's, which is ``template`` (None: the question). An instruction that either of
    them holds is told there and nowhere else; a system message that comes out empty is left out.
    ``chat_options`` are further variables of the chat template, such as ``enable_thinking``.
    """

    template: str | None = None
    chat: bool = False
    system: str | None = None
    chat_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.template is not None:
            check_template(self.template)
        if self.system is not None:
            check_template(self.system, "engine.system", needs_question=False)
        for key in ("system", "chat_options"):
            if getattr(self, key) and not self.chat:
                raise ConfigError(f"engine.{key}", getattr(self, key), "needs engine.chat=true")

    def text(self, question: str, instruction: str) -> str:
        """The whole prompt of a model that is not told as a chat."""
        if self.template is not None:
            return self.template.format(question=question, instruction=instruction)
        return f"{instruction}\n{question}\n" if instruction else f"{question}\n"

    def messages(self, question: str, instruction: str) -> list[dict[str, str]]:
        """The messages of a chat: the system's, where there is one, and the user's."""
        values = {"question": question, "instruction": instruction}
        user = question if self.template is None else self.template.format(**values)
        system = self.system
        if system is None:
            system = "" if "{instruction}" in (self.template or "") else "{instruction}"
        told = [{"role": "system", "content": system.format(**values)}] if system.format(**values) else []
        return [*told, {"role": "user", "content": user}]


class Prompter:
    """Renders prompts for one tokenizer, and remembers them: a problem asks for its own again and again."""

    def __init__(self, tokenizer: Any, style: PromptStyle) -> None:
        """Raises ConfigError where the style needs a chat template and the tokenizer has none."""
        if style.chat and not getattr(tokenizer, "chat_template", None):
            raise ConfigError("engine.chat", "true", "this model's tokenizer has no chat template")
        self._tokenizer = tokenizer
        self._style = style
        self.token_ids = lru_cache(maxsize=4096)(self._token_ids)

    def _token_ids(self, question: str, instruction: str) -> TokenIds:
        if not self._style.chat:
            return tuple(self._tokenizer(self._style.text(question, instruction))["input_ids"])
        ids = self._tokenizer.apply_chat_template(
            self._style.messages(question, instruction),
            add_generation_prompt=True,
            return_dict=False,
            **self._style.chat_options,
        )
        return tuple(ids)
