"""The prompt of a policy: rendered once, as token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from actors.text.alphabet import Alphabet, special_strings
from actors.text.chat_templates import DATE_NAME, ChatTemplate, check_date
from actors.text.tokenising import PromptTokenizer
from actors.text.tokens import TokenIds
from orchestrator.errors import ConfigError, EngineError
from orchestrator.prompts.fields import template_fields
from orchestrator.protocols import Failure, GenerateRequest
from orchestrator.types import Turn

_FIELDS = {"question", "instruction"}
# Arguments of apply_chat_template that are not variables of the template.
_OURS = frozenset({
    "conversation", "tokenize", "add_generation_prompt", "continue_final_message", "return_dict",
    "return_tensors", "padding", "truncation", "max_length", "return_assistant_tokens_mask",
    "tokenizer_kwargs",
})  # fmt: skip


class Prompted(Protocol):
    """The configuration of an engine that renders prompts."""

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
    them holds is used only there; an empty system message is dropped.
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
        """Return the style of an engine's configuration. Raises ConfigError."""
        return cls(config.template, config.chat, config.system, config.chat_options)

    def text(self, question: str, instruction: str) -> str:
        """Return the whole prompt of a model without chat."""
        if self.template is not None:
            return self.template.format(question=question, instruction=instruction)
        return f"{instruction}\n{question}\n" if instruction else f"{question}\n"

    def turns(
        self, question: str, instruction: str, history: Sequence[Turn] = ()
    ) -> tuple[str, tuple[Turn, ...], str]:
        """Return the system message of a chat (empty: none), its earlier turns, and the user's message.

        A system message of the ``history`` comes before the style's own.
        """
        values = {"question": question, "instruction": instruction}
        user = question if self.template is None else self.template.format(**values)
        given = [turn.text for turn in history if turn.role == "system"]
        system = "\n\n".join(filter(None, (*given, self._system.format(**values))))
        return system, tuple(turn for turn in history if turn.role != "system"), user

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
    """Return the template. Raises ConfigError when it is malformed or has unknown fields."""
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
    """Renders prompts for one tokenizer, and caches them: a problem requests the same prompt many times.

    Earlier turns of a conversation come before the question, as the chat template renders them.
    """

    def __init__(self, tokenizer: Any, style: PromptStyle, vocab_size: int | None = None) -> None:
        """Raise ConfigError where the tokenizer's chat template cannot render the style.

        Also where it makes tokens beyond the model's ``vocab_size``, as a template of another model does.
        """
        self._style = style
        self._tokenizer = PromptTokenizer(tokenizer)
        self._chat = _chat_template(tokenizer, style) if style.chat else None
        self.token_ids = lru_cache(maxsize=4096)(self._token_ids)
        self.special = special_strings(tokenizer)
        self._alphabet = Alphabet(tokenizer)
        self._refused = lru_cache(maxsize=4096)(self._refusal)
        if vocab_size is not None and self._chat is not None:
            self._check_vocabulary(tokenizer, vocab_size)

    @property
    def notes(self) -> dict[str, str]:
        """Where prompts differ from what the tokenizer and its template alone would give."""
        if self._chat is not None:
            return self._chat.notes
        return {"end": self._tokenizer.note} if self._tokenizer.ends else {}

    @property
    def takes_history(self) -> bool:
        """Whether a prompt can hold earlier turns: a chat template has a place for them."""
        return self._chat is not None

    def refusal(self, request: GenerateRequest) -> Failure | None:
        """Return the Failure of a request whose prompt the tokenizer cannot write, or None."""
        return self._refused(request.question, request.instruction, request.history)

    def _refusal(self, question: str, instruction: str, history: tuple[Turn, ...]) -> Failure | None:
        text = "".join((*(turn.text for turn in history), instruction, question))
        return self._alphabet.refusal(text, self.token_ids(question, instruction, history))

    def following(self, asked: str) -> str:
        """Return what asks something after an unfinished answer; empty where there is nothing to ask.

        In a chat that is the end of the answer's turn, the user's next turn and the assistant's opened one.
        Raises ConfigError where the chat template has no place for them.
        """
        if not asked:
            return ""
        return f"\n{asked}" if self._chat is None else self._chat.following(asked)

    def _token_ids(self, question: str, instruction: str, history: tuple[Turn, ...] = ()) -> TokenIds:
        if self._chat is None and history:
            raise EngineError("this policy has no chat template: it takes a question without earlier turns")
        if self._chat is None:
            return self._tokenizer.ids(self._style.text(question, instruction))
        system, earlier, user = self._style.turns(question, instruction, history)
        return self._chat.ids(system, user, earlier)

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
    """Raise ConfigError unless one of several templates is the default or is named, by an existing name."""
    named, templates = style.chat_options.get("chat_template"), getattr(tokenizer, "chat_template", None)
    if not isinstance(templates, Mapping):
        return
    is_a_name = named is not None and "{" not in named
    if (is_a_name and named not in templates) or (named is None and "default" not in templates):
        allowed = f"must be one of this model's templates: {', '.join(sorted(templates))}"
        raise ConfigError("engine.chat_options.chat_template", named, allowed)
