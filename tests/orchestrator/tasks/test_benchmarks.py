"""The benchmarks on their real rows: each reference is right for itself in any writing, and for no other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import pytest
from omegaconf import OmegaConf

from orchestrator.config.build import build_task
from orchestrator.protocols import Task
from orchestrator.tasks.grading.numbers import exact_number
from orchestrator.tasks.grading.tidy import tidy
from orchestrator.types import Problem
from tests.shared_data import BENCHMARKS, shared, shared_rows

CONF = Path(__file__).parents[3] / "conf"
# What other rows answer a reference, of all pairs of rows: the same in another order or without its name, a
# base that is left out, brackets that are left out.
ALSO_RIGHT = {
    ("1,-2", "-2,1"), ("-2,1", "1,-2"), ("(-2,1)", "-2,1"), ("-2,1", "(-2,1)"),
    ("x=5", "5"), ("5", "x=5"), ("40", "40_9"), ("40_9", "40"),
}  # fmt: skip


@cache
def node_of(name: str) -> Mapping[Any, Any]:
    """What a file of conf/task composes, on the rows of its file."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", [f"task={name}", f"task.path={shared(BENCHMARKS[name])}"])
    node = OmegaConf.to_container(config.task, resolve=True)
    assert isinstance(node, dict)
    return node


def task(name: str, **knobs: Any) -> Task:
    made: Task = build_task({**node_of(name), **knobs})
    return made


@cache
def problems(name: str) -> list[Problem]:
    return list(task(name).problems(0, None))


@pytest.mark.parametrize(
    ("name", "number"),
    [("math500", 500), ("aime24", 30), ("gsm8k", 300), ("arc_challenge", 300), ("truthfulqa", 248)],
)
def test_every_row_is_a_problem(name: str, number: int) -> None:
    made = problems(name)
    assert len(made) == number
    assert len({p.id for p in made}) == len(made)
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", p.id) and p.question and p.answer for p in made)


def test_questions_are_what_a_reader_would_ask() -> None:
    first = problems("arc_challenge")[0]
    assert first.id == "arc_challenge-Mercury_7175875" and first.answer == "C"
    assert first.question.endswith(
        "\n\nOptions:\nA. Planetary density will decrease.\nB. Planetary years will become longer.\n"
        "C. Planetary days will become shorter.\nD. Planetary gravity will become stronger.\n\n"
        "Choose ONE letter."
    )
    assert problems("math500")[0].id == "math500-test-precalculus-807.json"
    assert problems("aime24")[1].answer == "25"


def test_four_choices_hold_the_best_answer_once() -> None:
    rows = {row["question"].strip(): row for row in shared_rows(BENCHMARKS["truthfulqa"])}
    letters = []
    for problem in problems("truthfulqa"):
        question, options = problem.question.split("\n\nOptions:\n")
        texts = [line[3:] for line in options.split("\n\nChoose")[0].splitlines()]
        row = rows[question]
        assert len(set(texts)) == 4
        assert texts["ABCD".index(problem.answer)] == row["best_answer"].strip()
        assert sum(t in row["incorrect_answers"] for t in texts) == 3
        letters.append(problem.answer)
    assert all(letters.count(letter) > 40 for letter in "ABCD")


def box(answer: str) -> str:
    return f"Let us see.\n\nSo the answer is \\boxed{{{answer}}}. I hope it is correct."


def letter_variants(letter: str) -> list[str]:
    boxes = [letter, f"({letter})", rf"\text{{{letter}}}", f"{letter}.", f"{letter}. because", letter.lower()]
    return [*map(box, boxes), f"<answer>\n{letter}\n</answer>"]


def integer_variants(answer: str) -> list[str]:
    value = int(answer.replace(",", ""))
    sign, digits = ("-" if value < 0 else ""), str(abs(value))
    written = [
        f"{value:,}",
        f"{sign}00{digits}",
        f"{value}.0",
        rf"\${value:,}",
        rf"{value} \text{{ km}}^2",
        f"${value}$",
    ]
    return [*map(box, written), *map(box, [f"x = {value}", f"{value:,} eggs"])]


def math_variants(answer: str) -> list[str]:
    """Writings of the same expression; those that do not apply leave it as it is."""
    number = exact_number(tidy(answer))
    words = re.fullmatch(r"\\text\{(.*)\}", answer)
    variants = [
        f"${answer}$",
        f" {answer} .",
        answer.replace("\\frac", "\\dfrac"),
        answer.replace("\\left", "").replace("\\right", ""),
        answer if number else re.sub(r"(?<=[,=+])\s*(?=\S)", r"\\, ", answer),
    ]
    if number is not None:
        value = number.value
        variants += [f"{value.numerator}/{value.denominator}", rf"{answer}\text{{ units}}"]
        variants += [
            rf"\frac{{{value.numerator}}}{{{value.denominator}}}",
            f"0{value}" if value > 0 else str(value),
        ]
        if value.denominator == 1:
            variants += [f"{value.numerator:,}", f"{value}.00", f"{value.numerator:,}".replace(",", "{,}")]
    variants += [
        rf"\({answer}\)",
        rf"**{answer}**",
        rf"{{\color{{red}}{answer}}}",
        re.sub(r"(?<![a-z]) ", "", answer),
        re.sub(r"([-+=])", r" \1 ", answer) if "text" not in answer else answer,
        re.sub(r"(?<![\d ])\\frac\{(\w+)\}\{(\w+)\}", r"(\1)/(\2)", answer),
        re.sub(r"\\sqrt\{(\w+)\}", r" sqrt(\1)", answer).replace(r"\pi", "pi"),
        answer.replace(r"\sqrt", "√").replace(r"\pi", "π").replace(r"\infty", "∞").replace(r"\cup", "\u222a"),
        answer.replace("^\\circ", "°").replace(r"\pm", "±").replace("-", "\u2212"),
        answer.replace("pmatrix", "bmatrix"),
    ]
    if words:
        variants += [words.group(1), rf"\textbf{{{words.group(1)}}}", words.group(1).lower()]
    return list(map(box, variants))


async def misgraded(made: Task, pairs: Iterable[tuple[str, str]], *, right: bool) -> list[tuple[str, str]]:
    """The (solution, reference) pairs that are not graded as they should be."""
    pairs = list(pairs)
    answers = {text: made.extract(text) for text, _ in pairs}
    return [(text, gold) for text, gold in pairs if await made.grade(answers[text], gold) is not right]


@pytest.mark.parametrize(
    ("name", "variants"),
    [
        ("aime24", integer_variants), ("gsm8k", integer_variants),
        ("arc_challenge", letter_variants), ("truthfulqa", letter_variants),
    ],
)  # fmt: skip
async def test_a_reference_in_any_writing_and_no_other(
    name: str, variants: Callable[[str], list[str]]
) -> None:
    made = task(name)
    answers = list(dict.fromkeys(p.answer for p in made.problems(0, None)))
    own = [(text, answer) for answer in answers for text in variants(answer)]
    assert await misgraded(made, own, right=True) == []
    plain = {answer: answer.replace(",", "") for answer in answers}
    others = [(box(a), b) for a in answers for b in answers if plain[a] != plain[b]]
    assert await misgraded(made, others, right=False) == []


def math_answers() -> list[str]:
    return list(dict.fromkeys(row["answer"] for row in shared_rows(BENCHMARKS["math500"])))


def bare(answer: str) -> str:
    """Without what may differ between two rows with one answer."""
    return re.sub(r"\\text\{.*\}|\\mbox\{.*\}\^2|\^\\circ|\\\$|,\\!|[dt](?=frac)|[{} ]", "", answer)


async def test_math_answers_are_right_in_any_writing() -> None:
    answers = math_answers()
    own = [(text, a) for a in answers for text in (box(a), *math_variants(a))]
    assert await misgraded(task("math500"), own, right=True) == []


@pytest.mark.heavy
async def test_math_answers_are_wrong_for_all_others() -> None:
    """In every pair of two rows, and whichever of the two is the reference."""
    answers = math_answers()
    others = [(box(a), b) for a in answers for b in answers if not bare(a) or bare(a) != bare(b)]
    wrong = await misgraded(task("math500"), [(a, b) for a, b in others if a != box(b)], right=False)
    assert sorted(wrong) == sorted((box(a), b) for a, b in ALSO_RIGHT)


async def test_a_vote_over_all_rows_has_a_class_for_each() -> None:
    answers = math_answers()
    keys = dict(zip(answers, await task("math500").keys(answers), strict=True))
    shared = [(a, b) for a in answers for b in answers if keys[a] == keys[b] and bare(a) != bare(b)]
    # A list that was joined by the same list in another order, and by a point.
    assert set(shared) <= ALSO_RIGHT | {("1,-2", "(-2,1)"), ("(-2,1)", "1,-2")}
