"""Engines, verifiers and tasks from functions: the laws of each, where steps end, the tokens of a text."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import (
    Completion,
    Failure,
    GenerateRequest,
    LastStep,
    Sampling,
    ScoreReply,
    ScoreRequest,
    TextEngine,
    TextTask,
    TextVerifier,
)
from orchestrator.errors import ConfigError
from orchestrator.steps.rule import StepRule
from orchestrator.testing import EngineCase, Law, check_engine, check_task, check_verifier, hold, name_of
from orchestrator.testing.step_laws import STEP_LAWS
from orchestrator.text.tokens import BYTES_PER_TOKEN, cut, decoded, encoded
from orchestrator.types import Denoising, Finish, Params
from tests.guide import example_of, run_in


def sums(question: str, written: str, *, seed: int, params: Any) -> str:
    """Write one number a line, from the seed and the text, and end with an answer."""
    own, text = 0 if params.temperature == 0 else seed, written
    while True:
        done = text.count(params.delimiter) >= 3
        number = random.Random(f"{own} {text}").randint(0, 10**6)
        text += ("#" if done else "") + str(number) + params.delimiter
        if done or not params.to_end:
            return text[len(written) :]


@pytest.mark.parametrize("cls", [TextEngine, TextVerifier, TextTask])
def test_the_example_of_the_docstring_runs(cls: type[Any]) -> None:
    run_in(ModuleType("example"), example_of(cls))


async def test_an_engine_of_a_function_keeps_the_laws() -> None:
    await check_engine(
        TextEngine(sums), question="1+2", answer_marker="#", likelihoods=False,
        impossible={"params": Denoising()},
    )  # fmt: skip


async def test_an_engine_of_steps_keeps_the_laws() -> None:
    await check_engine(
        TextEngine(sums, by_steps=True), question="1+2", answer_marker="#", likelihoods=False,
        impossible={"params": Denoising()},
    )  # fmt: skip


async def test_a_verifier_of_a_function_keeps_the_laws() -> None:
    def digits(question: str, steps: Sequence[str]) -> float:
        return (1 + sum(map(str.isdigit, steps[-1]))) / (2 + len(steps[-1]))

    steps, wrong = ("1+2=3\n", "3+4=7\n", "#7\n"), ("1+2=3\n", "3+4=7\n", "#?\n")
    await check_verifier(TextVerifier(digits), question="1+2+4", steps=steps, wrong=wrong)


async def test_a_task_of_a_few_arguments_keeps_the_laws() -> None:
    questions = [(f"What is 2 x {i}?", str(2 * i)) for i in range(1, 9)]
    task = TextTask(answer_marker="#", questions=questions)
    await check_task(task, solution=lambda p: f"Two of them.\n#{p.answer}\n")
    own = TextTask(
        answer_marker="#",
        questions=questions,
        read_answer=lambda text: text.rpartition("#")[2].strip() or None,
        is_right=lambda answer, reference: answer == reference,
    )
    await check_task(own, solution=lambda p: f"Two of them.\n#{p.answer}\n")


async def reply(function: Callable[..., Any], *, by_steps: bool = False, **changes: Any) -> Completion:
    params: Params = Sampling(max_tokens=changes.pop("max_tokens", 100))
    request = GenerateRequest(
        "p", "q", "say", encoded("before|"), params, 7, "|", changes.pop("marker", None), **changes
    )
    (completion,) = await TextEngine(function, by_steps=by_steps).generate([request])
    assert isinstance(completion, Completion)
    return completion


async def says(text: str, **changes: Any) -> list[tuple[str, Finish]]:
    completion = await reply(lambda question, written, *, seed, params: text, **changes)
    return [(step.text, step.finish) for step in completion.steps]


async def test_where_a_step_ends() -> None:
    assert await says("one") == [("one|", Finish.STEP)]
    assert await says("one|") == [("one|", Finish.STEP)]
    assert await says("one|two") == [("one|", Finish.STEP)]
    assert await says("") == [("", Finish.EOS)]
    assert await says(LastStep("one")) == [("one", Finish.EOS)]
    assert await says(LastStep("one|")) == [("one|", Finish.EOS)]
    assert await says(LastStep("one|two")) == [("one|", Finish.STEP)]


async def test_where_a_whole_text_ends() -> None:
    assert await says("one|two", to_end=True) == [("one|", Finish.STEP), ("two", Finish.EOS)]
    assert await says("one|two|", to_end=True) == [("one|", Finish.STEP), ("two|", Finish.EOS)]
    assert await says("", to_end=True) == [("", Finish.EOS)]
    assert await says("|", to_end=True) == [("|", Finish.EOS)]


async def test_a_text_that_is_too_long_is_cut() -> None:
    assert await says("abcdefgh", max_tokens=2) == [("abcdefgh", Finish.LENGTH)]
    assert await says("abcdefg", max_tokens=2) == [("abcdefg|", Finish.STEP)]
    assert await says("abc|defghi", to_end=True, max_tokens=2) == [
        ("abc|", Finish.STEP),
        ("defg", Finish.LENGTH),
    ]
    assert await says("abc|defg", to_end=True, max_tokens=1) == [("abc|", Finish.STEP), ("", Finish.LENGTH)]


async def test_steps_are_repeated_to_the_end() -> None:
    seeds: list[int] = []

    def step(question: str, written: str, *, seed: int, params: Any) -> str:
        assert not params.to_end
        seeds.append(seed)
        return "" if written.count("|") == 4 else written[-2:-1]

    completion = await reply(step, by_steps=True, to_end=True)
    assert [s.text for s in completion.steps] == ["e|", "e|", "e|", ""]
    assert len(set(seeds)) == 4
    forever = await reply(
        lambda question, written, *, seed, params: "x", by_steps=True, to_end=True, max_tokens=5
    )
    assert [s.finish for s in forever.steps] == [Finish.STEP] * 5 + [Finish.LENGTH]
    stated = await reply(
        lambda question, written, *, seed, params: "#1", by_steps=True, to_end=True, marker="#"
    )
    assert [s.text for s in stated.steps] == ["#1|"]


async def test_what_a_function_is_given() -> None:
    given: list[Any] = []

    async def notes(question: str, written: str, *, seed: int, params: Any) -> str:
        given.extend([question, written, seed, params])
        return "x"

    completion = await reply(notes)
    question, written, seed, params = given
    assert (question, written, seed, params.instruction, params.delimiter) == ("q", "before|", 7, "say", "|")
    assert (params.max_tokens, params.temperature, params.to_end) == (100, 0.8, False)
    assert completion.usage.generated_tokens == 1
    assert completion.usage.prompt_tokens == 1 + 2


async def test_another_kind_of_parameters_is_a_failure() -> None:
    request = GenerateRequest("p", "q", "", (), Denoising(), 7, "|", None)
    (failure,) = await TextEngine(sums).generate([request])
    assert isinstance(failure, Failure)
    assert "takes Sampling, not Denoising" in failure.message


async def test_an_object_may_be_the_function() -> None:
    class Model:
        async def __call__(self, question: str, written: str, *, seed: int, params: Any) -> str:
            return "x"

    assert (await reply(Model())).steps[0].text == "x|"
    returned = await reply(lambda question, written, *, seed, params: Model()("", "", seed=0, params=None))
    assert returned.steps[0].text == "x|"


async def test_a_verifier_reads_the_whole_or_each_step() -> None:
    seen: list[tuple[str, ...]] = []

    def notes(question: str, steps: tuple[str, ...]) -> float:
        seen.append(steps)
        return 0.5

    request = ScoreRequest("p", "q", ("a\n", "b\n", ""), 1)
    (each,) = await TextVerifier(notes, max_threads=1).score([request])
    assert isinstance(each, ScoreReply)
    assert seen == [("a\n", "b\n"), ("a\n", "b\n")]
    assert len(each.rewards) == 2
    seen.clear()
    (whole,) = await TextVerifier(notes, readout="whole").score([request])
    assert isinstance(whole, ScoreReply)
    assert (seen, len(whole.rewards)) == ([("a\n", "b\n")], 1)


STATED = {"so\n# 42 \n": "42", "# 1\n# 2\nmore": "2", "so": None, "#\n": None, "\\boxed{7}\n#": "7", "": None}
LAST = {
    "one\n\n two \n\n": "two",
    "a \\boxed{7} b\nc": "7",
    "<answer>x</answer> y": "x",
    "#### 3\nok": "3",
    "": None,
}


@pytest.mark.parametrize(("text", "answer"), STATED.items())
def test_what_follows_the_marker_is_the_answer(text: str, answer: str | None) -> None:
    assert TextTask(answer_marker="#").extract(text) == answer


@pytest.mark.parametrize(("text", "answer"), LAST.items())
def test_without_a_marker_a_stated_answer_or_the_last_line_is_the_answer(
    text: str, answer: str | None
) -> None:
    assert TextTask().extract(text) == answer


async def test_answers_are_compared_by_value() -> None:
    task = TextTask()
    assert await task.grade("0.5", "1/2")
    assert not await task.grade("0.5", "")
    assert len(set(await task.keys(["1/2", "0.5", "2/4"]))) == 1
    own = TextTask(is_right=lambda answer, reference: answer.lower() == reference.lower())
    assert await own.grade("PARIS", "Paris")
    assert await own.keys(["1/2", "0.5", None]) == ["1/2", "0.5", None]


def test_a_function_with_other_arguments_is_refused_at_once() -> None:
    allowed = r"must be a function of \(question, written, \*, seed, params\)"
    with pytest.raises(ConfigError, match=rf"engine\.propose=<lambda>\(prompt\): {allowed}"):
        TextEngine(lambda prompt: "x")
    with pytest.raises(ConfigError, match=allowed):
        TextEngine("a model")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"verifier\.reward=.*must be a function of \(question, steps\)"):
        TextVerifier(lambda text: 0.5)
    with pytest.raises(ConfigError, match="max_threads=0"):
        TextEngine(sums, max_threads=0)
    assert TextVerifier(max)  # in C, without a signature


def test_a_bad_argument_is_named() -> None:
    with pytest.raises(ConfigError, match=r"task\.delimiter"):
        TextTask(delimiter="")
    with pytest.raises(ConfigError, match=r"task\.answer_marker"):  # every step would hold it
        TextTask(answer_marker="")
    with pytest.raises(ConfigError, match="did you mean 'whole'"):
        TextVerifier(lambda question, steps: 0.5, readout="hole")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"engine\.by_steps=no"):
        TextEngine(sums, by_steps="no")  # type: ignore[arg-type]


@given(st.text(st.characters(codec="utf-8")), st.integers(0, 30))
def test_tokens_are_the_text(text: str, num: int) -> None:
    assert decoded(encoded(text)) == text
    assert len(encoded(text)) == -(-len(text.encode()) // BYTES_PER_TOKEN)
    kept = cut(text, num)
    assert text.startswith(kept)
    assert len(encoded(kept)) <= num


def test_half_a_character_is_a_text_too() -> None:
    assert decoded(encoded("a\ud800b")) == "a\ud800b"


RECITED = "One line.\nWait, another one, which is long.\nWait, a third.\nHmm. That is all of it."


def recite(question: str, written: str, *, seed: int, params: Any) -> str:
    """A known text: as much of it as is requested."""
    rest = RECITED[len(written) :]
    asked = rest if params.to_end else rest[: 4 * params.max_tokens]
    return LastStep(asked) if asked == rest else asked


@pytest.mark.parametrize("by_steps", [False, True])
@pytest.mark.parametrize("law", STEP_LAWS, ids=name_of)
async def test_a_function_that_ends_steps_keeps_their_laws(law: Law[EngineCase], by_steps: bool) -> None:
    await hold(law, EngineCase(TextEngine(recite, by_steps=by_steps, ends_steps=True), "Recite!"))


async def test_a_function_gets_how_a_step_ends() -> None:
    seen: list[Any] = []

    def propose(question: str, written: str, *, seed: int, params: Any) -> str:
        seen.append((params.step, params.delimiter, params.max_tokens, written))
        return "a Wait b"

    rule = StepRule("markers", markers=["Wait"])
    engine = TextEngine(propose, ends_steps=True)
    asked = GenerateRequest("p", "q", "", (), Sampling(max_tokens=9), 7, "|", None, step=rule)
    (reply,) = await engine.generate([asked])
    assert isinstance(reply, Completion)
    (step,) = reply.steps
    assert (step.text, step.finish, seen) == ("a ", Finish.STEP, [(rule, "", 9, "")])
    assert step.carried is not None
    (reply,) = await engine.generate([replace(asked, token_ids=step.token_ids, carried=step.carried)])
    assert isinstance(reply, Completion)
    assert (reply.steps[0].text, seen[1][3]) == ("Wait ba ", "a Wait b")
