"""A prompt that a tokenizer cannot write is one Failure, which names what it cannot write."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from actors.text.alphabet import UNWRITABLE, Alphabet, special_strings
from actors.text.tokens import refuse_request
from orchestrator.protocols import OVERFLOW, GenerateRequest
from orchestrator.types import Sampling

UNKNOWN = 0


@dataclass
class Letters:
    """A tokenizer of one token a character, and 0 for every other one."""

    known: str
    unk_token_id: int | None = UNKNOWN

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [self.known.find(c) + 1 for c in text]}

    def ids(self, text: str) -> tuple[int, ...]:
        return tuple(self(text)["input_ids"])


class Inner(Letters):
    """As the shipped ones: only the model inside knows that there is a token for the unknown."""

    unk_token_id = None
    backend_tokenizer = SimpleNamespace(model=SimpleNamespace(unk_token="<pad>"))

    def convert_tokens_to_ids(self, token: str) -> int:
        return {"<pad>": UNKNOWN}[token]


@pytest.mark.parametrize("tokenizer", [Letters("0123=+\n"), Inner("0123=+\n", None)], ids=["own", "inner"])
def test_a_tokenizer_without_letters_refuses_words(tokenizer: Any) -> None:
    alphabet, prompt = Alphabet(tokenizer), "1+1\nFind each error."
    refusal = alphabet.refusal(prompt, tokenizer.ids(prompt))
    assert refusal is not None
    assert refusal.type == UNWRITABLE
    assert refusal.message.endswith("of the prompt: 'F', 'i', 'n', 'd', ' ', 'e', 'a', 'c' and 4 more")
    assert "\n" not in refusal.message
    assert alphabet.refusal("1+1=2\n", tokenizer.ids("1+1=2\n")) is None


def test_a_tokenizer_of_a_language_may_lack_rare_characters() -> None:
    tokenizer = Letters(string.ascii_letters + string.digits + " ")
    assert Alphabet(tokenizer).refusal("naïve ☃", tokenizer.ids("naïve ☃")) is None


def test_a_prompt_may_hold_the_unknown_token_without_an_unknown_character() -> None:
    assert Alphabet(Letters("01")).refusal("01", (UNKNOWN, 1, 2)) is None


def test_a_tokenizer_that_knows_everything_refuses_nothing() -> None:
    assert Alphabet(Letters("ab", unk_token_id=None)).refusal("xyz", (0, 0, 0)) is None


def test_special_strings_are_those_that_the_tokenizer_says_are_special() -> None:
    def token(content: str, special: bool) -> SimpleNamespace:
        return SimpleNamespace(content=content, special=special)

    added = {0: token("<|im_end|>", True), 1: token("<think>", False), 2: token("", True)}
    assert special_strings(SimpleNamespace(added_tokens_decoder=added)) == ("<|im_end|>",)
    assert special_strings(SimpleNamespace()) == ()


@pytest.mark.parametrize(("room", "fits"), [(None, True), (1, True), (4, True), (5, False)])
def test_a_request_may_need_room(room: int | None, fits: bool) -> None:
    prefix: Sequence[int] = range(6)
    needed = {} if room is None else {"room": room}
    request = GenerateRequest("", "", "", (), Sampling(max_tokens=9), 0, "\n", None, **needed)
    refusal = refuse_request(request, tuple(prefix), 10, 100)
    assert (refusal is None) == fits
    assert refusal is None or refusal.type == OVERFLOW
