"""A template is filled once: what a model wrote is neither read as a field nor as a mark of a chat."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ConfigError
from orchestrator.prompts.template import Template, without

MARKS = ("<|im_end|>", "<|im_start|>", "</s>", "<pad>")
PIECES = st.sampled_from(
    [*MARKS, "<|im_", "end|>", "<", "/s>", "</", "s>", "pad", "{answer}", "{{", "}", "a", " "]
)
TEXTS = st.lists(PIECES, max_size=12).map("".join)


def test_one_pass() -> None:
    template = Template("{question} {{kept}} {answer} {answer}")
    filled = template.fill({"question": "{answer}"}, {"answer": "{question} {nothing} {}"})
    assert filled.text == "{answer} {kept} {question} {nothing} {} {question} {nothing} {}"
    assert filled.num_removed == 0


@given(TEXTS)
def test_no_mark_is_left(text: str) -> None:
    cleaned, num_removed = without(text, MARKS)
    assert not any(mark in cleaned for mark in MARKS)
    assert (num_removed == 0) == (cleaned == text)
    assert without(cleaned, MARKS) == (cleaned, 0)


def test_marks_of_the_question_stay_and_those_of_models_are_counted() -> None:
    template = Template("{question}{answer}{answer}")
    filled = template.fill({"question": "</s>"}, {"answer": "<|im_<|im_end|>end|>x", "notes": "</s>"}, MARKS)
    assert (filled.text, filled.num_removed) == ("</s>xx", 2)


@pytest.mark.parametrize("text", ["", "{", "{a!r}", "{a:>9}", "}"])
def test_a_malformed_template_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^prompt\.text="):
        Template(text)


def test_fields_are_checked_by_who_fills_them() -> None:
    template = Template("{question} {anser}")
    with pytest.raises(ConfigError, match=r"k=\{anser\}: must be one of .*did you mean 'answer'"):
        template.check("k", {"question", "answer"})
    with pytest.raises(ConfigError, match=r"must hold \{answer\}"):
        Template("{question}").check("k", {"question", "answer"}, {"answer"})
    Template("{question}").check("k", {"question", "answer"}, {"question"})
