"""Questions on a prefix: what follows a policy's own tokens, and which options a tokenizer has."""

from __future__ import annotations

import pytest

from actors.embedded.chain_options import option_tokenizer
from actors.text.prompting import Prompter, PromptStyle
from actors.text.questions import Questions
from orchestrator.errors import ConfigError
from orchestrator.protocols import Failure, OptionsRequest
from tests.actors.small_models import ALPHABET
from tests.actors.small_reward_models import qwen_tokenizer, sentencepiece_tokenizer
from tests.actors.text import test_chat_templates as templates

ASK = "Right so far?"


@pytest.mark.parametrize(
    ("template", "suffix"),
    [
        (templates.CHATML, f"<end>\n<turn>user\n{ASK}<end>\n<turn>assistant\n"),
        (templates.LLAMA, f"<end>\n<turn>user\n{ASK}<end>\n<turn>assistant\n"),
        (templates.GEMMA, f"<end>\n<turn>user\n{ASK}<end>\n<turn>model\n"),
        (templates.MISTRAL, f"<end> [INST] {ASK} [/INST]"),
        (templates.PARTS, f"<end>\n<turn>user\n{ASK}<end>\n<turn>assistant\n"),
        (templates.NO_HEADER, f"<end>\n<turn>user\n{ASK}<end>\n<turn>assistant\n"),
        (templates.ENDED, f"<end>\n<turn>user\n{ASK}<end>\n<turn>assistant\n"),
        (templates.NEEDS_SYSTEM, f"<end>\n<turn>user\n{ASK}<end>\n<turn>assistant\n"),
    ],
)
def test_in_a_chat_it_is_a_turn_and_an_opened_one(template: str, suffix: str) -> None:
    style = PromptStyle(chat=True, system="Think." if template == templates.NEEDS_SYSTEM else None)
    assert Prompter(templates.tokenizer(template), style).following(ASK) == suffix


def test_a_template_of_one_turn_is_one_line() -> None:
    one_turn = "{% if messages|length > 1 %}{{ raise_exception('one turn') }}{% endif %}" + templates.CHATML
    style = PromptStyle(chat=True, template="{instruction} {question}")
    prompter = Prompter(templates.tokenizer(one_turn), style)
    with pytest.raises(ConfigError, match=r"engine\.chat=true: .*it takes no second question"):
        prompter.following(ASK)


def questions(name: str, chat: bool = False) -> tuple[Questions, Prompter]:
    made = {
        "chain": lambda: option_tokenizer(ALPHABET),
        "qwen": qwen_tokenizer,
        "sentencepiece": sentencepiece_tokenizer,
    }[name]()
    prompter = Prompter(made, PromptStyle(template="{question}\n", chat=chat))
    return Questions(made, prompter, {made.eos_token_id}), prompter


@pytest.mark.parametrize(
    ("name", "text", "options", "line"),
    [
        pytest.param("chain", ASK, ("1", "2"), "text='Right so far?'", id="unknown characters"),
        pytest.param("chain", "", ("Yes", "No"), "options='Yes'", id="an unknown word"),
        pytest.param("chain", "", ("1", "12"), "options='12'", id="two tokens"),
        pytest.param("chain", "", ("1", "?"), "options='?'", id="an unknown character"),
        pytest.param("chain", "", ("[better]", "[enough"), "options='[enough'", id="half an option"),
        pytest.param("qwen", ASK, ("Yes", "yes no maybe"), "options='yes no maybe'", id="words"),
        pytest.param("qwen", ASK, ("\n", " \n"), "options=' \\n'", id="white space"),
        pytest.param("qwen", ASK, ("+", "日本"), "options='日本'", id="bytes"),
    ],
)
def test_options_that_are_no_tokens_are_one_line(
    name: str, text: str, options: tuple[str, ...], line: str
) -> None:
    asked, _ = questions(name)
    with pytest.raises(ConfigError) as caught:
        asked.check("verifier.restart", text, options)
    assert str(caught.value).startswith(f"verifier.restart.{line}: must be")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "chat"), [("qwen", False), ("qwen", True), ("sentencepiece", False)])
def test_an_option_is_the_token_that_follows_the_question(name: str, chat: bool) -> None:
    asked, prompter = questions(name, chat)
    options = ("No", "Yes") if name == "qwen" else ("+", "-")
    found = asked.passage(OptionsRequest("p", "2+2?", "", (5, 6), (), asked=ASK, options=options))
    assert not isinstance(found, Failure)
    token_ids, chosen = found
    prompt = prompter.token_ids("2+2?", "")
    assert token_ids[: len(prompt) + 2] == (*prompt, 5, 6)
    tokenizer = asked._tokenizer
    assert [tokenizer.decode([t]).strip() for t in chosen] == list(options)
    assert tokenizer.decode(token_ids[len(prompt) + 2 :]).strip().endswith("assistant" if chat else ASK)


def test_an_empty_question_adds_nothing_and_an_end_of_text_is_left_out() -> None:
    asked, prompter = questions("chain")
    prompt = prompter.token_ids("5 a+1", "")
    found = asked.passage(
        OptionsRequest("p", "5 a+1", "", (5, 6, 2), (), asked="", options=("[better]", "[enough]"))
    )
    assert found == ((*prompt, 5, 6), (29, 30))


def test_a_conversation_without_a_template_fails_alone() -> None:
    asked, _ = questions("chain")
    history = (templates.Turn("user", "hello"),)
    request = OptionsRequest("p", "5 a+1", "", (), (), history, asked="", options=("1", "2"))
    assert isinstance(asked.passage(request), Failure)
