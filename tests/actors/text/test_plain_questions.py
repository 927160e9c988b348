"""Questions on a prefix in plain text, with a tokenizer whose tokens are characters and two words."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from actors.text.prompting import Prompter, PromptStyle
from actors.text.questions import Questions
from orchestrator.errors import ConfigError
from orchestrator.protocols import Failure, OptionsRequest
from orchestrator.types import Turn

_TOKEN = re.compile(r"\[yes\]| no|[\s\S]")
_ODD = {"[yes]": 1, " no": 2}
END = 3


class Characters:
    """A character is a token, its id the code point; two words are tokens as well; ``é`` is unknown."""

    bos_token_id = None

    def __call__(self, text: str, add_special_tokens: bool = True, **_: object) -> dict[str, list[int]]:
        return {"input_ids": [_ODD.get(t, 0 if t == "é" else ord(t[0])) for t in _TOKEN.findall(text)]}

    def decode(self, ids: Sequence[int], **_: object) -> str:
        names = {number: word for word, number in _ODD.items()} | {0: "?"}
        return "".join(names.get(i, chr(i)) for i in ids)


QUESTIONS = Questions(Characters(), Prompter(Characters(), PromptStyle(template="{question}\n")), {END})


def asked(text: str, *options: str, ids: tuple[int, ...] = (97,)) -> OptionsRequest:
    return OptionsRequest("p", "q", "", ids, (), asked=text, options=options)


@pytest.mark.parametrize(
    ("text", "options", "suffix", "tokens"),
    [
        pytest.param("", ("[yes]", "n"), "", (1, ord("n")), id="right after the steps"),
        pytest.param("ok?", ("y", "n"), "\nok?", (ord("y"), ord("n")), id="no token with a space"),
        pytest.param("ok?\n", ("y", "n"), "\nok?\n", (ord("y"), ord("n")), id="after white space"),
    ],
)
def test_a_question_is_a_line_and_an_option_a_token(
    text: str, options: tuple[str, ...], suffix: str, tokens: tuple[int, ...]
) -> None:
    found = QUESTIONS.passage(asked(text, *options, ids=(97, END)))
    assert found == ((ord("q"), 10, 97, *map(ord, suffix)), tokens)
    QUESTIONS.check("verifier.restart", text, options)


@pytest.mark.parametrize(
    ("text", "options", "line"),
    [
        pytest.param("caf\u00e9?", ("y", "n"), "text='caf\u00e9?'", id="a text it cannot write"),
        pytest.param("", ("y", "\u00e9"), "options='\u00e9'", id="an option it cannot write"),
        pytest.param("", ("y", "yes"), "options='yes'", id="three tokens"),
        pytest.param("ok?", ("no", "y"), "options='no'", id="one token after a space, and two without"),
    ],
)
def test_what_is_no_token_is_one_line(text: str, options: tuple[str, ...], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        QUESTIONS.check("verifier.restart", text, options)
    assert str(caught.value).startswith(f"verifier.restart.{line}: must be")
    failure = QUESTIONS.passage(asked(text, *options))
    assert isinstance(failure, Failure) and "must be" in failure.message


def test_a_conversation_needs_a_chat_template() -> None:
    request = OptionsRequest("p", "q", "", (), (), (Turn("user", "hello"),), asked="", options=("y", "n"))
    assert isinstance(QUESTIONS.passage(request), Failure)
