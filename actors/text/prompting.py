"""How a policy is told the question: rendered once, as token ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from actors.text.chat_templates import DATE_NAME, ChatTemplate, check_date
from actors.text.tokenising import PromptTokenizer
from actors.text.tokens import TokenIds
from orchestrator.errors import ConfigError
from orchestrator.tasks.templates import template_fields

_FIELDS = {"question", "instruction"}
# Arguments of apply_chat_template that are no variables of the template.
_OURS = frozenset({
    "conversation", "tokenize", "add_generation_prompt", "continue_final_message", "return_dict",
    "return_tensors", "padding", "truncation", "max_length", "return_assistant_tokens_mask",
    "tokenizer_kwargs",
})  # fmt: skip


class Prompted(Protocol):
    """The configuration of an engine that renders prompts by itself."""

    @property
    def template(self) -> str | None: ...

    @property
    def chat(self) -> bool: ...

    @property
    def system(self) -> str | None: ...

    @property
    def chat_options(self) -> Mapping[str, Any]: ...


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
        if DATE_NAME in self.chat_options:
            check_date(self.chat_options[DATE_NAME])
        for name in _OURS & self.chat_options.keys():
            raise ConfigError(
                f"engine.chat_options.{name}", self.chat_options[name], "is set by the engine itself"
            )

    @classmethod
    def of(cls, config: Prompted) -> PromptStyle:
        """What an engine's configuration says. Raises ConfigError."""
        return cls(config.template, config.chat, config.system, config.chat_options)

    def text(self, question: str, instruction: str) -> str:
        """The whole prompt of a model that is not told as a chat."""
        if self.template is not None:
            return self.template.format(question=question, instruction=instruction)
        return f"{instruction}\n{question}\n" if instruction else f"{question}\n"

    def turns(self, question: str, instruction: str) -> tuple[str, str]:
        """What the system says in a chat, empty where it says nothing, and what the user does."""
        values = {"question": question, "instruction": instruction}
        user = question if self.template is None else self.template.format(**values)
        return self._system.format(**values), user

    @property
    def _system(self) -> str:
        if self.system is not None:
            return self.system
        return "" if "{instruction}" in (self.template or "") else "{instruction}"

    @property
    def may_have_system(self) -> bool:
        return bool(self._system)

    @property
    def may_lack_system(self) -> bool:
        return not self._system.replace("{instruction}", "").replace("{question}", "")


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


class Prompter:
    """Renders prompts for one tokenizer, and remembers them: a problem asks for its own again and again."""

    def __init__(self, tokenizer: Any, style: PromptStyle, vocab_size: int | None = None) -> None:
        """Raises ConfigError where the tokenizer's chat template cannot do what the style asks for.

        So too where it makes tokens beyond the model's ``vocab_size``, as one from another model does.
        """
        self._style = style
        self._tokenizer = PromptTokenizer(tokenizer)
        self._chat = _chat_template(tokenizer, style) if style.chat else None
        self.token_ids = lru_cache(maxsize=4096)(self._token_ids)
        if vocab_size is not None and self._chat is not None:
            self._check_vocabulary(tokenizer, vocab_size)

    @property
    def notes(self) -> dict[str, str]:
        """What is done otherwise than the tokenizer and its template would have it."""
        if self._chat is not None:
            return self._chat.notes
        return {"end": self._tokenizer.note} if self._tokenizer.ends else {}

    def _token_ids(self, question: str, instruction: str) -> TokenIds:
        if self._chat is None:
            return self._tokenizer.ids(self._style.text(question, instruction))
        return self._chat.ids(*self._style.turns(question, instruction))

    def _check_vocabulary(self, tokenizer: Any, vocab_size: int) -> None:
        highest = max(self._token_ids("1", "1"), default=0)
        if highest >= vocab_size:
            token = tokenizer.decode([highest])
            allowed = f"the chat template makes the token {token!r} ({highest}), the model has {vocab_size}"
            raise ConfigError("engine.chat", "true", allowed)


def _chat_template(tokenizer: Any, style: PromptStyle) -> ChatTemplate:
    if not getattr(tokenizer, "chat_template", None) and "chat_template" not in style.chat_options:
        allowed = "this model's tokenizer has no chat template: set engine.template instead"
        raise ConfigError("engine.chat", "true", allowed)
    _check_named(tokenizer, style)
    return ChatTemplate(
        tokenizer, style.chat_options, alone=style.may_lack_system, system=style.may_have_system
    )


def _check_named(tokenizer: Any, style: PromptStyle) -> None:
    """Of several templates one must be named, by a name that there is, where none is the default."""
    named, templates = style.chat_options.get("chat_template"), getattr(tokenizer, "chat_template", None)
    if not isinstance(templates, Mapping):
        return
    is_a_name = named is not None and "{" not in named
    if (is_a_name and named not in templates) or (named is None and "default" not in templates):
        allowed = f"must be one of this model's templates: {', '.join(sorted(templates))}"
        raise ConfigError("engine.chat_options.chat_template", named, allowed)
