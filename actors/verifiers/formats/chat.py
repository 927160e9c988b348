"""The texts that a tokenizer's chat template puts around questions and steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from actors.text.chat_templates import (
    MERGED,
    Message,
    Shape,
    TemplateError,
    lacking_header,
    render,
    shape_of,
)
from orchestrator.errors import ConfigError

_KEY = "verifier.options.chat"
_USER, _ASSISTANT, _AGAIN = "QUESTIONQUESTION", "ANSWERANSWER", "FURTHERFURTHER"


@dataclass(frozen=True, slots=True)
class ChatTexts:
    """``opening`` user ``asking`` assistant ``closing``; ``turning`` precedes another turn of the user.

    ``notes`` says where the texts differ from what the template alone would give.
    """

    opening: str
    asking: str
    closing: str
    turning: str
    notes: Mapping[str, str] = field(default_factory=dict)


def chat_texts(tokenizer: Any, system: str | None) -> ChatTexts:
    """Return the texts around the turns of a conversation. Raises ConfigError without such a template."""
    shape = _shape(tokenizer, bool(system))
    asked = shape.messages(system or "", _USER)
    answered = shape.answered(system or "", _USER, _ASSISTANT)
    opening, asking = _around(_render(tokenizer, asked, ask=True), _USER)
    unasked = _around(_render(tokenizer, asked, ask=False), _USER)[1]
    closing = _around(_render(tokenizer, answered, ask=False), _ASSISTANT)[1]
    before_answer = _between(_render(tokenizer, answered, ask=False), _USER, _ASSISTANT)
    further = [*answered, *shape.messages("", _AGAIN)]
    return ChatTexts(
        opening=opening,
        asking=asking + lacking_header(asking, unasked, before_answer),
        closing=closing,
        turning=_between(_render_or_empty(tokenizer, further), _ASSISTANT, _AGAIN),
        notes={} if shape.has_role else {"system": MERGED},
    )


def _shape(tokenizer: Any, has_system: bool) -> Shape:
    try:
        return shape_of(tokenizer, {}, system=has_system)
    except TemplateError as error:
        key = "verifier.options.system" if has_system and _takes_a_question(tokenizer) else _KEY
        raise ConfigError(key, "null" if key != _KEY else True, str(error)) from error


def _takes_a_question(tokenizer: Any) -> bool:
    try:
        shape_of(tokenizer, {}, system=False)
    except TemplateError:
        return False
    return True


def _render(tokenizer: Any, messages: list[Message], *, ask: bool) -> str:
    try:
        return render(tokenizer, messages, {}, ask=ask)
    except TemplateError as error:
        raise ConfigError(_KEY, True, str(error)) from error


def _render_or_empty(tokenizer: Any, messages: list[Message]) -> str:
    """The text of a conversation of several turns, which not every template allows and few formats need."""
    try:
        return render(tokenizer, messages, {}, ask=True)
    except TemplateError:
        return ""


def _around(text: str, marker: str) -> tuple[str, str]:
    before, found, after = text.partition(marker)
    if not found:
        raise ConfigError(_KEY, True, "the model's chat template leaves out what it is given")
    return before, after


def _between(text: str, first: str, second: str) -> str:
    return text.partition(first)[2].partition(second)[0]
