"""The texts that a tokenizer's chat template puts around questions and steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.errors import ConfigError

_KEY = "verifier.options.chat"
_USER, _ASSISTANT, _AGAIN = "QUESTIONQUESTION", "ANSWERANSWER", "FURTHERFURTHER"


@dataclass(frozen=True, slots=True)
class ChatTexts:
    """``opening`` user ``asking`` assistant ``closing``; ``turning`` stands before a further user's turn."""

    opening: str
    asking: str
    closing: str
    turning: str


def chat_texts(tokenizer: Any, system: str | None) -> ChatTexts:
    """What stands around the turns of a conversation. Raises ConfigError where there is no such template."""
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": _USER})
    asked = _render(tokenizer, messages, ask=True)
    messages.append({"role": "assistant", "content": _ASSISTANT})
    answered = _render(tokenizer, messages, ask=False)
    messages.append({"role": "user", "content": _AGAIN})
    opening, asking = _around(asked, _USER)
    return ChatTexts(
        opening=opening,
        asking=asking,
        closing=_around(answered, _ASSISTANT)[1],
        turning=_between(_render_or_empty(tokenizer, messages), _ASSISTANT, _AGAIN),
    )


def _render(tokenizer: Any, messages: list[dict[str, str]], *, ask: bool) -> str:
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask)
    except Exception as error:  # a template is the model's own program
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(_KEY, True, f"the model's chat template fails: {first_line}") from error
    return str(text)


def _render_or_empty(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    """A conversation of several turns, which not every template allows and few formats need."""
    try:
        return _render(tokenizer, messages, ask=True)
    except ConfigError:
        return ""


def _around(text: str, marker: str) -> tuple[str, str]:
    before, found, after = text.partition(marker)
    if not found:
        raise ConfigError(_KEY, True, "the model's chat template leaves out what it is given")
    return before, after


def _between(text: str, first: str, second: str) -> str:
    return text.partition(first)[2].partition(second)[0]
