"""A question on a prefix as token ids: what follows the policy's own, and the token of each option."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

from actors.text.prompting import Prompter
from actors.text.tokenising import plain_ids
from actors.text.tokens import InnerTokenizer, TokenIds
from orchestrator.errors import ConfigError, EngineError
from orchestrator.protocols import Failure, OptionsRequest


@dataclass(frozen=True, slots=True)
class Asked:
    """The tokens of a question after a prefix, and of its options, one each."""

    suffix: TokenIds
    options: TokenIds


class Questions:
    """Renders questions for one tokenizer.

    With a chat template a question is a turn of the user after the unfinished answer, followed by the opened
    turn of the assistant. In plain text it stands on a line of its own, and an option follows a space where
    the text does not end with white space and the tokenizer has such tokens. An empty question adds nothing.
    """

    def __init__(self, tokenizer: Any, prompter: Prompter, eos_ids: Collection[int]) -> None:
        self._tokenizer = tokenizer
        self._prompter = prompter
        self._eos_ids = frozenset(eos_ids)
        self.asked = lru_cache(maxsize=64)(self._asked)

    def check(self, key: str, text: str, options: Sequence[str]) -> None:
        """Raise ConfigError of ``key`` where the tokenizer lacks the text, or one token for each option."""
        try:
            self.asked(text, tuple(options))
        except ConfigError as error:
            field = f"{key}.{error.key}" if error.key in ("text", "options") else error.key
            raise ConfigError(field, error.value, error.allowed) from None

    def passage(self, request: OptionsRequest) -> tuple[TokenIds, TokenIds] | Failure:
        """Return the tokens up to the answer, and those of the options.

        An end of text that the policy has written is left out: in a chat the question's own turn has one.
        """
        try:
            asked = self.asked(request.asked, request.options)
            prompt = self._prompter.token_ids(request.question, request.instruction, request.history)
        except (ConfigError, EngineError) as error:
            return Failure("EngineError", str(error))
        written = request.token_ids
        while written and written[-1] in self._eos_ids:
            written = written[:-1]
        return prompt + written + asked.suffix, asked.options

    def _asked(self, text: str, options: tuple[str, ...]) -> Asked:
        if not self._writes(text, plain_ids(self._tokenizer, text)):
            raise ConfigError("text", repr(text), "must be a text that the policy's tokenizer can write")
        suffix = self._prompter.following(text)
        may_space = bool(suffix) and not suffix[-1].isspace()
        found = [self._option_ids(suffix, lead, options) for lead in ((" ", "") if may_space else ("",))]
        tokens = next((ids for ids in found if len(set(ids)) == len(options) and None not in ids), None)
        if tokens is None:
            self._refuse(options, found[-1])
        return Asked(
            plain_ids(self._tokenizer, suffix) if suffix else (), tuple(t for t in tokens if t is not None)
        )

    def _option_ids(self, suffix: str, lead: str, options: Sequence[str]) -> list[int | None]:
        """Return the token of each option after the suffix; None where it is not one token."""
        inner = InnerTokenizer(self._tokenizer, suffix) if suffix else InnerTokenizer(self._tokenizer)
        ids = [inner.ids(lead + option) for option in options]
        return [
            t[0] if len(t) == 1 and self._writes(o, t) else None for o, t in zip(options, ids, strict=True)
        ]

    def _refuse(self, options: Sequence[str], tokens: Sequence[int | None]) -> NoReturn:
        allowed = "must be one token of the policy's tokenizer, and not that of another option"
        odd = (
            o for i, (o, t) in enumerate(zip(options, tokens, strict=True)) if t is None or t in tokens[:i]
        )
        raise ConfigError("options", repr(next(odd)), allowed)

    def _writes(self, text: str, token_ids: TokenIds) -> bool:
        """Return whether the tokens are this text again, but for white space and upper case."""
        read = self._tokenizer.decode(
            list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return _bare(read) == _bare(text)


def _bare(text: str) -> str:
    return "".join(text.split()).casefold()
