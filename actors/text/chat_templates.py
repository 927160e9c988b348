"""How a chat template takes a conversation, determined once when a model is loaded.

A template is a program that comes with the model. Some know no system role and raise, some drop the system
message silently, some accept contents only as lists of parts, some omit the assistant's header or end the
prompt with an end of text. What can be repaired is repaired, and reported in ``ChatTemplate.notes``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import product
from typing import Any

from actors.messages import brief
from actors.text.tokenising import PromptTokenizer
from actors.text.tokens import TokenIds
from orchestrator.errors import ConfigError
from orchestrator.types import Turn

Message = dict[str, Any]

# Words to look for in a template's output, with characters that a template which edits contents would change.
_SYSTEM = 'SYSTEMSYSTEM 1 < 2 & "three"\n\n  four'
_USER = "USERUSER 5 > 4 & 'three'\n\n  two"
_ASSISTANT = "ANSWERANSWER"

MERGED = "merged into the user's turn"

DATE_NAME = "strftime_now"
"""The function with which a template gets today's date."""
# Llama 3's templates use this date where they have no such function.
_DATE = "2024-07-26"


class TemplateError(Exception):
    """A template raised, or its output lacks what it was given."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a system message and a question are passed to a template.

    Without ``has_role`` the system message opens the user's turn. ``as_parts`` makes contents lists of parts,
    as some templates of models with images require. ``always`` keeps an empty system message.
    """

    has_role: bool = True
    as_parts: bool = False
    always: bool = False

    def messages(self, system: str, user: str, earlier: Sequence[Turn] = ()) -> list[Message]:
        turns = [*((turn.role, turn.text) for turn in earlier), ("user", user)]
        if system and not self.has_role:
            at = next(i for i, (role, _) in enumerate(turns) if role == "user")
            system, turns[at] = "", ("user", f"{system}\n\n{turns[at][1]}")
        first = [self._message("system", system)] if system or self.always else []
        return [*first, *(self._message(*turn) for turn in turns)]

    def answered(self, system: str, user: str, answer: str) -> list[Message]:
        return [*self.messages(system, user), self._message("assistant", answer)]

    def _message(self, role: str, content: str) -> Message:
        return {"role": role, "content": [{"type": "text", "text": content}] if self.as_parts else content}


_WITH_SYSTEM = [Shape(has_role, as_parts) for has_role, as_parts in product((True, False), (False, True))]
_ALONE = [Shape(), Shape(as_parts=True), Shape(always=True)]


def dated(tokenizer: Any, options: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Return ``options`` with a fixed date, and that date; None where no template uses the date.

    With today's date the prompts of a run that is resumed tomorrow would change.
    """
    template = options.get("chat_template"), getattr(tokenizer, "chat_template", None)
    if DATE_NAME not in str(template):
        return dict(options), None
    day = str(options.get(DATE_NAME, _DATE))
    return {**options, DATE_NAME: _writer_of(day)}, day


def check_date(value: object) -> None:
    """Raise ConfigError where the date for a template is not a date."""
    try:
        date.fromisoformat(str(value))
    except ValueError:
        allowed = f"must be a date such as {_DATE}"
        raise ConfigError(f"engine.chat_options.{DATE_NAME}", value, allowed) from None


def _writer_of(day: str) -> Callable[[str], str]:
    """A function that writes the date in the format that a template requests."""
    return date.fromisoformat(day).strftime


def render(tokenizer: Any, messages: list[Message], options: Mapping[str, Any], *, ask: bool) -> str:
    """Return a template's text for messages. Raises TemplateError with a message of one line."""
    options, _ = dated(tokenizer, options)
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask, **options)
    except Exception as error:  # a template is a program that comes with the model
        raise TemplateError(f"the model's chat template fails: {brief(error)}") from error
    return str(text)


def shape_of(tokenizer: Any, options: Mapping[str, Any], *, system: bool) -> Shape:
    """Return the first way to pass a question, with or without a system message, that loses nothing.

    Raises the TemplateError of the simplest way where all fail.
    """
    first: TemplateError | None = None
    for shape in _WITH_SYSTEM if system else _ALONE:
        try:
            _check(tokenizer, shape, options, _SYSTEM if system else "")
            return shape
        except TemplateError as error:
            first = first or error
    assert first is not None
    raise first


def _check(tokenizer: Any, shape: Shape, options: Mapping[str, Any], system: str) -> None:
    text = render(tokenizer, shape.messages(system, _USER), options, ask=True)
    for content in filter(None, (system, _USER)):
        if content in text or json.dumps(content, ensure_ascii=False)[1:-1] in text:
            continue
        does = "changes" if content.split()[0] in text else "leaves out"
        raise TemplateError(f"the model's chat template {does} what it is given")
    if shape.as_parts and "'type'" in text:
        raise TemplateError("the model's chat template prints lists of parts as they are")


class ChatTemplate:
    """A tokenizer's template for a system message, where there is one, and a question."""

    def __init__(self, tokenizer: Any, options: Mapping[str, Any], *, alone: bool, system: bool) -> None:
        """Determine how it takes a question ``alone``, and one with a ``system`` message.

        Raises ConfigError with the key to change where it takes neither.
        """
        self._tokenizer = tokenizer
        self._options = options
        self._dated, self._date = dated(tokenizer, options)
        self._opening = PromptTokenizer(tokenizer)
        self._with_system = self._shape(with_system=True) if system else None
        self._alone = self._shape(with_system=False, needed=not system) if alone else None
        self._lacks, self._surplus = self._ending()

    @property
    def notes(self) -> dict[str, str]:
        """Where the prompt differs from what the template alone would give."""
        notes = {}
        if self._with_system is not None and not self._with_system.has_role:
            notes["system"] = MERGED
        if self._lacks:
            notes["assistant"] = f"header added: {self._lacks!r}"
        if self._date is not None and DATE_NAME not in self._options:
            notes["date"] = f"fixed at {self._date}"
        if self._surplus:
            notes["end"] = f"left out: {self._surplus!r}"
        return notes

    def ids(self, system: str, user: str, earlier: Sequence[Turn] = ()) -> TokenIds:
        """Return the prompt's tokens. Raises ConfigError where the template requires a system message.

        Also where it takes none: a conversation may have one, although the engine's own prompts do not.
        """
        shape = (self._with_system or self._for_system) if system else self._alone
        if shape is None and system:
            raise ConfigError("engine.chat", "true", "this model's chat template takes no system message")
        if shape is None:
            raise ConfigError("engine.system", system, "this model's chat template needs one: set a text")
        messages = shape.messages(system, user, earlier)
        if self._lacks or self._surplus:
            return self._opening.ids(self._mended(messages), special=False)
        ids = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False, **self._dated
        )
        return self._opening.once_begun(tuple(ids))

    def following(self, user: str) -> str:
        """Return the text between an unfinished answer and the answer to what the user asks next.

        Raises ConfigError where the template takes one turn alone, or changes what the user asks.
        """
        shape, system = (self._alone, "") if self._alone else (self._with_system, _SYSTEM)
        assert shape is not None
        messages = [*shape.answered(system, _USER, _ASSISTANT), shape.messages("", user)[-1]]
        try:
            text = self._mended(messages) if self._lacks or self._surplus else self._rendered(messages)
        except TemplateError as error:
            raise ConfigError("engine.chat", "true", f"{error}: it takes no second question") from error
        _, found, after = text.rpartition(_ASSISTANT)
        if not found or user.strip() not in after:
            allowed = "this model's chat template takes no second question after an answer"
            raise ConfigError("engine.chat", "true", allowed)
        return after

    def _rendered(self, messages: list[Message]) -> str:
        return render(self._tokenizer, messages, self._options, ask=True)

    @cached_property
    def _for_system(self) -> Shape | None:
        """How a system message is passed that only a conversation brings."""
        return self._shape(with_system=True, needed=False)

    def _mended(self, messages: list[Message]) -> str:
        text = render(self._tokenizer, messages, self._options, ask=True)
        if self._surplus:
            text = text.rstrip().removesuffix(self._surplus)
        return text + self._lacks

    def _shape(self, *, with_system: bool, needed: bool = True) -> Shape | None:
        try:
            return shape_of(self._tokenizer, self._options, system=with_system)
        except TemplateError as error:
            if not needed:
                return None
            raise self._refusal(error, with_system=with_system) from error

    def _refusal(self, error: TemplateError, *, with_system: bool) -> ConfigError:
        try:
            shape_of(self._tokenizer, self._options, system=not with_system)
        except TemplateError:
            remedy = "set engine.chat=false, and engine.template to what the model was trained with"
            return ConfigError("engine.chat", "true", f"{error}: {remedy}")
        if with_system:
            remedy = "set engine.system='' and engine.template='{instruction}\\n{question}'"
            return ConfigError("engine.system", None, f"{error} with a system message: {remedy}")
        return ConfigError("engine.system", "''", f"{error} without a system message: set a text")

    def _ending(self) -> tuple[str, str]:
        """The assistant's header that the template omits although requested, and an end of text it adds."""
        shape, system = (self._alone, "") if self._alone else (self._with_system, _SYSTEM)
        assert shape is not None
        asked = self._behind_user(shape.messages(system, _USER), ask=True)
        try:
            unasked = self._behind_user(shape.messages(system, _USER), ask=False)
            answered = self._behind_user(shape.answered(system, _USER, _ASSISTANT), ask=False)
        except TemplateError:  # it takes one turn only
            return "", ""
        before_answer, found, _ = answered.partition(_ASSISTANT)
        if not found:
            return "", ""
        end = getattr(self._tokenizer, "eos_token", None) or ""
        return lacking_header(asked, unasked, before_answer), surplus_end(asked, before_answer, end)

    def _behind_user(self, messages: list[Message], *, ask: bool) -> str:
        text = render(self._tokenizer, messages, self._options, ask=ask)
        return text.rpartition(_USER)[2] if _USER in text else ""


def lacking_header(asked: str, unasked: str, before_answer: str) -> str:
    """Return the assistant's header before an answer, where a template omits it although requested.

    ``asked`` and ``unasked`` are what follows a question with and without the request for it;
    ``before_answer`` is what follows where an answer comes next.
    """
    ends = asked if before_answer.startswith(asked) else asked.rstrip()
    if asked != unasked or not before_answer.startswith(ends):
        return ""
    header = before_answer[len(ends) :]
    return header.rstrip(" ") if header.strip() else ""


def surplus_end(asked: str, before_answer: str, end: str) -> str:
    """Return the ends of text that a template puts after everything that precedes an answer."""
    expected = before_answer.rstrip()
    if not end or not asked.startswith(expected):
        return ""
    excess = asked[len(expected) :].strip()
    return excess if excess and not excess.replace(end, "").strip() else ""
