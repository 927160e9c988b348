"""Templates of every kind that models have: what reaches the model, and what is said where nothing can."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from actors.openai_engine.text import prompt_text
from actors.text.prompting import Prompter, PromptStyle
from actors.verifiers.formats import build_format
from orchestrator.errors import ConfigError, EngineError
from orchestrator.types import Turn

SPECIAL = ["<end>", "<bos>", "<turn>", "[CLS]", "[SEP]"]

# In the manner of Gemma 2, of Mistral 7B's first, and of ones that require another order of roles.
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supp') }}"
    "{% endif %}{% for m in messages %}{{ '<turn>' + m['role'] + '\n' + m['content'] | trim + '<end>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<turn>model\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ m['content'] + eos_token + ' ' }}{% endif %}{% endfor %}"
)
# Phi-3's first: the system's message is left out.
PHI = (
    "{% for m in messages %}{% if m['role'] == 'user' %}"
    "{{ '<turn>user\n' + m['content'] + '<end>\n<turn>bot\n' }}"
    "{% elif m['role'] == 'assistant' %}{{ m['content'] + '<end>\n' }}{% endif %}{% endfor %}"
)
CHATML = (
    "{% for m in messages %}{{ '<turn>' + m['role'] + '\n' + m['content'] + '<end>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<turn>assistant\n' }}{% endif %}"
)
# SmolVLM's and its like: contents are parts.
PARTS = (
    "{% for m in messages %}<turn>{{ m['role'] }}\n"
    "{% for part in m['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% endif %}{% endfor %}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant\n{% endif %}"
)
NO_HEADER = "{% for m in messages %}{{ '<turn>' + m['role'] + '\n' + m['content'] + '<end>\n' }}{% endfor %}"
ENDED = CHATML + "{{ eos_token }}"
DIALOG = "{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}"
LLAMA = "{{ bos_token }}" + CHATML
TWICE = "{{ bos_token }}" + LLAMA
NEEDS_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
)


def tokenizer(template: Any = None, single: str = "$A") -> PreTrainedTokenizerFast:
    """Bytes as tokens; ``single`` is what its post-processor makes of every text."""
    names = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    special = [(name, i) for i, name in enumerate(SPECIAL)]
    backend.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)
    made = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", bos_token="<bos>")
    made.add_special_tokens({"additional_special_tokens": SPECIAL[2:]})
    made.chat_template = template
    return made


def told(chat: Any, single: str = "$A", instruction: str = "Be brief.", **style: Any) -> tuple[str, Any]:
    """The prompt as text, and the notes."""
    made = tokenizer(chat, single)
    prompter = Prompter(made, PromptStyle(chat=True, **style))
    return str(made.decode(prompter.token_ids("2+2?", instruction))), prompter.notes


MERGED = {"system": "merged into the user's turn"}


@pytest.mark.parametrize(
    ("template", "prompt", "notes"),
    [
        (CHATML, "<turn>system\nBe brief.<end>\n<turn>user\n2+2?<end>\n<turn>assistant\n", {}),
        (GEMMA, "<bos><turn>user\nBe brief.\n\n2+2?<end>\n<turn>model\n", MERGED),
        (MISTRAL, "<bos>[INST] Be brief.\n\n2+2? [/INST]", MERGED),
        (PHI, "<turn>user\nBe brief.\n\n2+2?<end>\n<turn>bot\n", MERGED),
        (PARTS, "<turn>system\nBe brief.<end>\n<turn>user\n2+2?<end>\n<turn>assistant\n", {}),
        (
            NO_HEADER,
            "<turn>system\nBe brief.<end>\n<turn>user\n2+2?<end>\n<turn>assistant\n",
            {"assistant": "header added: '<turn>assistant\\n'"},
        ),
        (
            ENDED,
            "<turn>system\nBe brief.<end>\n<turn>user\n2+2?<end>\n<turn>assistant\n",
            {"end": "left out: '<end>'"},
        ),
        (DIALOG, "Be brief.<end>2+2?<end>", {}),
        (LLAMA, "<bos><turn>system\nBe brief.<end>\n<turn>user\n2+2?<end>\n<turn>assistant\n", {}),
        (NEEDS_SYSTEM, "<turn>system\nBe brief.<end>\n<turn>user\n2+2?<end>\n<turn>assistant\n", {}),
        (
            {"default": CHATML, "tool_use": GEMMA},
            "<turn>system\nBe brief.<end>\n<turn>user\n2+2?<end>\n<turn>assistant\n",
            {},
        ),
    ],
)
def test_the_instruction_and_the_question_reach_every_model(template: Any, prompt: str, notes: Any) -> None:
    assert told(template) == (prompt, notes)


@pytest.mark.parametrize("single", ["$A", "<bos> $A", "<bos> $A <end>", "[CLS] $A [SEP]"])
def test_what_a_tokenizer_adds_never_reaches_a_chat(single: str) -> None:
    assert told(CHATML, single)[0] == told(CHATML)[0]


def test_an_instruction_of_the_template_leaves_nothing_to_merge() -> None:
    text, notes = told(GEMMA, template="{instruction} {question}")
    assert "user\nBe brief. 2+2?<end>" in text
    assert notes == {}
    assert told(GEMMA, system="")[1] == {}
    assert told(GEMMA, instruction="")[0].endswith("user\n2+2?<end>\n<turn>model\n")


def test_one_of_several_templates_is_named() -> None:
    templates = {"short": CHATML, "tool_use": GEMMA}
    assert told(templates, chat_options={"chat_template": "short"})[0] == told(CHATML)[0]
    names = r"must be one of this model's templates: short, tool_use"
    with pytest.raises(ConfigError, match=rf"^engine\.chat_options\.chat_template=null: {names}"):
        told(templates)
    with pytest.raises(ConfigError, match=rf"^engine\.chat_options\.chat_template=shrot: {names}"):
        told(templates, chat_options={"chat_template": "shrot"})


ESCAPES = CHATML.replace("m['content']", "m['content'] | e")
ANY = CHATML.replace("m['content']", "'?'")


@pytest.mark.parametrize(
    ("template", "style", "line"),
    [
        (None, {}, r"engine\.chat=true: this model's tokenizer has no chat template: set engine\.template"),
        ("{{ unknown.field }}", {}, r"engine\.chat=true: the model's chat template fails: .*set engine"),
        ("{% for %}", {}, r"engine\.chat=true: the model's chat template fails: .*set engine\.chat=false"),
        (ANY, {}, r"engine\.chat=true: the model's chat template leaves out what it is given"),
        (ESCAPES, {}, r"engine\.chat=true: the model's chat template changes what it is given"),
        (
            CHATML.replace("m['role'] +", "{'user': 'u', 'assistant': 'a'}[m['role']] +")
            + "{% if 'SYSTEM' in messages[-1]['content'] %}{{ raise_exception('no') }}{% endif %}",
            {},
            r"engine\.system=null: .* with a system message: set engine\.system='' and engine\.template=",
        ),
        (NEEDS_SYSTEM.replace("!= 'system'", "!= 'system' or not messages[0]['content']"), {"system": ""},
         r"engine\.system='': the model's chat template fails: .*no system without a system message: set"),
    ],
)  # fmt: skip
def test_a_template_that_cannot_be_used_names_the_key(template: Any, style: Any, line: str) -> None:
    with pytest.raises(ConfigError, match=f"^{line}"):
        told(template, **style)


def test_variables_that_are_no_variables_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^engine\.chat_options\.tokenize=False: is set by the engine"):
        PromptStyle(chat=True, chat_options={"tokenize": False})


def test_a_template_of_tokens_that_the_model_lacks_is_refused() -> None:
    made = tokenizer(CHATML)
    made.add_special_tokens({"eos_token": "<|im_end|>"})
    made.chat_template = CHATML.replace("<end>", "<|im_end|>")
    with pytest.raises(ConfigError, match=r"makes the token '<\|im_end\|>' \(261\), the model has 261"):
        Prompter(made, PromptStyle(chat=True), vocab_size=261)
    assert Prompter(made, PromptStyle(chat=True), vocab_size=262).token_ids("2+2?", "")


@pytest.mark.parametrize(
    ("single", "template", "prompt", "is_told"),
    [
        ("$A", None, "2+2?\n", False),
        ("$A <end>", None, "2+2?\n", True),
        ("<bos> $A", None, "<bos>2+2?\n", False),
        ("<bos> $A <end>", None, "<bos>2+2?\n", True),
        ("[CLS] $A [SEP]", None, "[CLS]2+2?\n", True),
        ("[CLS] <bos> $A", "[CLS]<bos>{question}", "[CLS]<bos>2+2?", False),
        ("<bos> $A", "<bos>{question}", "<bos>2+2?", False),
        ("<bos> $A", "<bos><bos>{question}", "<bos>2+2?", False),
    ],
)
def test_a_prompt_begins_once_and_ends_with_nothing(
    single: str, template: str | None, prompt: str, is_told: bool
) -> None:
    made = tokenizer(single=single)
    prompter = Prompter(made, PromptStyle(template=template))
    assert made.decode(prompter.token_ids("2+2?", "")) == prompt
    assert ("end" in prompter.notes) == is_told


def test_a_template_that_begins_twice() -> None:
    made = tokenizer(TWICE)
    ids = Prompter(made, PromptStyle(chat=True)).token_ids("2+2?", "")
    assert made.decode(ids).startswith("<bos><turn>user")


@pytest.mark.parametrize(("single", "kept"), [("$A", "<bos>2+2"), ("<bos> $A", "2+2")])
def test_a_server_is_left_the_beginning_that_it_adds_itself(single: str, kept: str) -> None:
    made = tokenizer(single=single)
    assert prompt_text(made, made("<bos>2+2", add_special_tokens=False)["input_ids"]) == kept


@pytest.mark.parametrize("template", [GEMMA, PHI, MISTRAL])
def test_a_reward_models_system_message_is_merged_too(template: str) -> None:
    made = tokenizer(template)
    options = {"chat": True, "system": "Judge.", "step_tag": "[SEP]", "template": "Q: {question}"}
    layout = build_format("token_classification", options).layout(made)
    text = made.decode(layout.render("2+2?", ("4",), 0, "per_step").token_ids)
    assert "Judge.\n\nQ: 2+2?" in text
    assert layout.notes == MERGED


def test_a_reward_models_header_is_added_too() -> None:
    options = {"chat": True, "step_tag": "[SEP]", "template": "{question}"}
    made = tokenizer(NO_HEADER)
    layout = build_format("token_classification", options).layout(made)
    text = made.decode(layout.render("2+2?", ("4",), 0, "per_step").token_ids)
    assert text == "<turn>user\n2+2?<end>\n<turn>assistant\n4[SEP]"


@pytest.mark.parametrize("single", ["<bos> $A", "<bos> $A <end>"])
def test_a_reward_models_question_begins_once_and_ends_with_nothing(single: str) -> None:
    made = tokenizer(single=single)
    layout = build_format("value_head", {"template": "{bos}{question}\n"}).layout(made)
    text = made.decode(layout.render("2+2?", ("4",), 0, "per_step").token_ids)
    assert text == "<bos>2+2?\n4\n"
    assert ("end" in layout.notes) == single.endswith("<end>")


DATED = "{{ 'Today is ' + strftime_now('%d %b %Y') + '.\n' }}" + CHATML


@pytest.mark.parametrize("today", [2024, 2031])
def test_a_template_is_told_the_same_date_on_every_day(today: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(today, 1, 2, tzinfo=tz)

    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Clock)
    by_itself = tokenizer(DATED).apply_chat_template([{"role": "user", "content": "?"}], tokenize=False)
    assert by_itself.startswith(f"Today is 02 Jan {today}.\n")
    prompt, notes = told(DATED)
    assert prompt.startswith("Today is 26 Jul 2024.\n<turn>system\nBe brief.<end>\n")
    assert notes == {"date": "fixed at 2024-07-26"}
    prompt, notes = told(DATED + "{{ eos_token }}", chat_options={"strftime_now": "2026-03-01"})
    assert prompt.startswith("Today is 01 Mar 2026.\n")
    assert "date" not in notes
    made = tokenizer(DATED)
    layout = build_format("outcome", {"end": "<end>"}).layout(made)
    assert made.decode(layout.prompt("2+2?")).startswith("Today is 26 Jul 2024.\n")


def test_a_date_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^engine\.chat_options\.strftime_now=soon: must be a date"):
        PromptStyle(chat=True, chat_options={"strftime_now": "soon"})


HISTORY = (Turn("user", "1+1?"), Turn("assistant", "2"))


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        (
            CHATML,
            (
                "<turn>system\nBe brief.<end>\n<turn>user\n1+1?<end>\n<turn>assistant\n2<end>\n"
                "<turn>user\n2+2?<end>\n<turn>assistant\n"
            ),
        ),
        (
            NO_HEADER,
            (
                "<turn>system\nBe brief.<end>\n<turn>user\n1+1?<end>\n<turn>assistant\n2<end>\n"
                "<turn>user\n2+2?<end>\n<turn>assistant\n"
            ),
        ),
        (
            GEMMA,
            (
                "<bos><turn>user\nBe brief.\n\n1+1?<end>\n<turn>assistant\n2<end>\n"
                "<turn>user\n2+2?<end>\n<turn>model\n"
            ),
        ),
    ],
)
def test_earlier_turns_come_before_the_question(template: Any, prompt: str) -> None:
    made = tokenizer(template)
    prompter = Prompter(made, PromptStyle(chat=True))
    assert prompter.takes_history
    assert made.decode(prompter.token_ids("2+2?", "Be brief.", HISTORY)) == prompt


def test_a_conversations_system_message_comes_before_the_instruction() -> None:
    made = tokenizer(CHATML)
    own = Prompter(made, PromptStyle(chat=True))
    history = (Turn("system", "You are a pirate."), *HISTORY)
    text = str(made.decode(own.token_ids("2+2?", "Be brief.", history)))
    assert text.startswith("<turn>system\nYou are a pirate.\n\nBe brief.<end>\n<turn>user\n1+1?")
    # An engine whose own prompts have no system message takes one from a conversation.
    bare = Prompter(made, PromptStyle(chat=True, system="", template="{instruction}\n{question}"))
    text = str(made.decode(bare.token_ids("2+2?", "Be brief.", history)))
    assert text.startswith("<turn>system\nYou are a pirate.<end>\n<turn>user\n1+1?")
    assert text.endswith("<turn>user\nBe brief.\n2+2?<end>\n<turn>assistant\n")


def test_a_policy_without_a_chat_template_takes_no_earlier_turns() -> None:
    prompter = Prompter(tokenizer(), PromptStyle())
    assert not prompter.takes_history
    with pytest.raises(EngineError, match="no chat template"):
        prompter.token_ids("2+2?", "", HISTORY)
