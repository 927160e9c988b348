"""Rows as problems: ids, prompts, options, references, and the lines about what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.tasks.choices import DrawnChoices, ListedChoices
from orchestrator.tasks.dataset import DatasetTask
from orchestrator.tasks.json_rows import Row

ROWS = [
    {"id": f"a/{i}", "q": f" {i} + 1? ", "a": f"thus\n#### {i + 1:,}", "level": i} for i in (0, 1, 9998, 9999)
]
LISTED = {"q": "Which?", "key": "2", "options": {"text": ["x", "y", "z"], "label": ["1", "2", "3"]}}
DRAWN = {"q": "Which?", "best": "right", "wrong": ["w1", "w2", "w1", "w3", "w4"]}
CHOICE: dict[str, Any] = {
    "answer_kind": "choice", "question_template": "{question}\n{options}", "prompt_field": "q",
}  # fmt: skip


def task(folder: Path, rows: list[dict[str, Any]], **knobs: Any) -> DatasetTask:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    known = {"name": "sums", "path": str(path), "prompt_field": "q", "answer_field": "a"}
    return DatasetTask(**(known | knobs))


def sums(folder: Path, **knobs: Any) -> DatasetTask:
    return task(folder, ROWS, **({"answer_after": "####", "answer_kind": "integer"} | knobs))


def test_problems(tmp_path: Path) -> None:
    made = sums(tmp_path, id_field="id", metadata_fields=["level"])
    assert made.num_problems == 4
    first, second = made.problems(1, 2)
    assert (first.id, first.question, first.answer) == ("sums-a-1", "1 + 1?", "2")
    assert (second.id, second.answer, second.metadata) == ("sums-a-9998", "9,999", {"level": 9998})
    assert [p.id for p in sums(tmp_path).problems(2, None)] == ["sums-2", "sums-3"]
    assert list(made.problems(0, 3)) == list(
        sums(tmp_path, id_field="id", metadata_fields=["level"]).problems(0, 3)
    )


async def test_an_answer_from_text_to_grade(tmp_path: Path) -> None:
    made = sums(tmp_path, answer_in=["box", "hashes"])
    answers = [
        made.extract(t) for t in (r"so \boxed{010,000}", "#### 10000", r"\boxed{many}", "10000", r"\boxed{1")
    ]
    assert answers == ["10000", "10000", None, None, None]
    assert await made.keys(answers) == answers
    assert [await made.grade(a, "10,000") for a in answers] == [True, True, False, False, False]


def test_listed_choices_are_lettered_anew(tmp_path: Path) -> None:
    choices = ListedChoices("options.text", "options.label")
    (problem,) = task(tmp_path, [LISTED], **CHOICE, answer_field="key", choices=choices).problems(0, None)
    assert (problem.question, problem.answer) == ("Which?\nA. x\nB. y\nC. z", "B")


@pytest.mark.parametrize(("key", "letter"), [("C", "C"), (1, "B"), (0, "A")])
def test_listed_choices_without_labels(key: object, letter: str, tmp_path: Path) -> None:
    row = {**LISTED, "key": key}
    made = task(tmp_path, [row], **CHOICE, answer_field="key", choices=ListedChoices("options.text"))
    assert [p.answer for p in made.problems(0, None)] == [letter]


def test_drawn_choices_hold_the_best_answer_once(tmp_path: Path) -> None:
    rows = [{**DRAWN, "best": f"right {i}"} for i in range(200)]
    made = task(tmp_path, rows, **CHOICE, answer_field="best", choices=DrawnChoices("wrong"))
    letters = [p.answer for p in made.problems(0, None)]
    assert all(30 <= letters.count(letter) <= 70 for letter in "ABCD"), "the order is drawn evenly"
    for index, problem in enumerate(made.problems(0, None)):
        texts = [line[3:] for line in problem.question.splitlines()[1:]]
        assert sorted(texts) == [f"right {index}", "w1", "w2", "w3"]
        assert texts["ABCD".index(problem.answer)] == f"right {index}"


def test_wrong_answers_may_be_in_fields_of_their_own(tmp_path: Path) -> None:
    row = {"q": DRAWN["q"], "best": "right", "w 1": "w1", "w 2": "w2", "w 3": "w3"}
    apart = DrawnChoices(("w 1", "w 2", "w 3"))
    made = task(tmp_path, [row], **CHOICE, answer_field="best", choices=apart)
    (tmp_path / "listed").mkdir()
    listed = {"q": DRAWN["q"], "best": "right", "wrong": ["w1", "w2", "w3"]}
    same = task(tmp_path / "listed", [listed], **CHOICE, answer_field="best", choices=DrawnChoices("wrong"))
    assert [p.question for p in made.problems(0, 1)] == [p.question for p in same.problems(0, 1)]


def test_a_row_with_too_few_wrong_answers_is_left_out(tmp_path: Path) -> None:
    rows = [DRAWN, {**DRAWN, "wrong": ["w1", "right"]}, {**DRAWN, "q": "And?"}]
    made = task(tmp_path, rows, **CHOICE, answer_field="best", choices=DrawnChoices("wrong", 3))
    assert [p.id for p in made.problems(0, None)] == ["sums-0", "sums-2"], "ids do not move up"


@pytest.mark.parametrize(
    ("rows", "knobs", "line"),
    [
        (ROWS, {"prompt_field": "question"}, "task.prompt_field=question: no such field"),
        (ROWS, {"id_field": "q", "prompt_field": "id"}, None),
        (
            [*ROWS, ROWS[0]],
            {"id_field": "id"},
            "task.id_field=id: row 0 (line 1 of rows.jsonl) and row 4 (line 5 of rows.jsonl) have",
        ),
        (ROWS, {"answer_after": None, "answer_kind": "integer"}, None),
        (
            [{"q": "?", "a": "many"}],
            {},
            "task.answer_field=a: row 0 (line 1 of rows.jsonl) has 'many', which task.answer_kind=integer",
        ),
        ([{"q": "?", "a": ""}], {"answer_kind": "math"}, "task.answer_field=a: must not be empty; row 0"),
    ],
)
def test_rows_that_do_not_fit(
    rows: list[dict[str, Any]], knobs: dict[str, Any], line: str | None, tmp_path: Path
) -> None:
    made = task(tmp_path, rows, **({"answer_after": "####", "answer_kind": "integer"} | knobs))
    if line is None:
        assert made.num_problems == 4
        return
    with pytest.raises(ConfigError) as caught:
        _ = made.num_problems
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        ({"num_graders": 0}, "task.num_graders=0: must be a whole number above 0"),
        ({"answer_in": []}, "task.answer_in=[]: must not be empty"),
        ({"grading_seconds": 0.0}, "task.grading_seconds=0.0: must be above 0"),
        ({"delimiter": ""}, "task.delimiter=: must not be empty"),
        (
            {"answer_marker": "\n\n#### "},
            r"task.answer_marker='\n\n#### ': must not continue after task.delimiter='\n\n'",
        ),
        ({"delimiter": "\\n\\n"}, "task.delimiter='\\\\n\\\\n': holds a backslash and an n"),
        ({"answer_kind": "choice"}, "task.choices=null: goes with answer_kind=choice"),
        ({"question_template": "{options}"}, "task.question_template='{options}': must hold {question}"),
        ({"question_template": "{question"}, "task.question_template='{question': "),
        (
            {"question_template": "{question:d}"},
            "task.question_template='{question:d}': the field 'question'",
        ),
        (
            {"question_template": "{question!z}"},
            "task.question_template='{question!z}': the field 'question'",
        ),
        ({"answer_after": ""}, "task.answer_after=: must not be empty; null takes all of the field"),
    ],
)
def test_knobs_that_do_not_fit(knobs: dict[str, Any], line: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        task(tmp_path, ROWS, **knobs)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    ("row", "choices", "line"),
    [
        (
            {**LISTED, "key": "9"},
            ListedChoices("options.text", "options.label"),
            "task.answer_field=9: must",
        ),
        (LISTED, ListedChoices("q"), "task.choices.texts_field=q: must be a field that holds a list"),
        (DRAWN | {"key": "x"}, DrawnChoices("wrongs"), "task.choices.wrong_field=wrongs: no such field"),
        (DRAWN | {"key": "x", "wrong": []}, DrawnChoices("wrong"), "task.path="),
    ],
)
def test_choices_that_do_not_fit(row: dict[str, Any], choices: Any, line: str, tmp_path: Path) -> None:
    made = task(tmp_path, [row], **CHOICE, answer_field="key", choices=choices)
    with pytest.raises(ConfigError) as caught:
        _ = made.num_problems
    assert str(caught.value).startswith(line)


NOTHING = [
    (None, "null"),
    (True, "true"),
    ([], "a list"),
    ({}, "an object"),
    (float("nan"), "the number nan"),
    (float("inf"), "the number inf"),
    ("", "''"),
    (" \n", "''"),
    ("\u200b\ufeff", r"'\u200b\ufeff'"),
    ("4\0", "a NUL character"),
    ("4\ud83d", r"half a surrogate pair (\ud83d)"),
]


@pytest.mark.parametrize("field", ["q", "a", "id"])
@pytest.mark.parametrize(("value", "shown"), NOTHING)
def test_a_field_without_a_text_is_refused(value: object, shown: str, field: str, tmp_path: Path) -> None:
    """Asked as ``None``, or graded against it, it would only lower the accuracy."""
    good = {"q": "?", "a": "4", "id": "x"}
    made = task(tmp_path, [good, good | {"id": "y"} | {field: value}], id_field="id")
    with pytest.raises(ConfigError) as caught:
        _ = made.num_problems
    line = str(caught.value)
    key = {"q": "task.prompt_field", "a": "task.answer_field", "id": "task.id_field"}[field]
    assert line.startswith(f"{key}={field}: must") and f"row 1 (line 2 of rows.jsonl) has {shown}" in line


@pytest.mark.parametrize(("value", "text"), [(4, "4"), (0.5, "0.5"), (" 4 ", "4"), (-3, "-3")])
def test_a_number_is_a_text_too(value: object, text: str, tmp_path: Path) -> None:
    (problem,) = task(tmp_path, [{"q": value, "a": value}]).problems(0, None)
    assert (problem.question, problem.answer) == (text, text)


@pytest.mark.parametrize(
    "own",
    [
        ["代数-一", "几何-二"],
        ["a/b", "a-b", "a b"],
        ["é", "ß", "e\u0301"],
        ["\U0001f600", "\U0001f601"],
        ["Задача 1", "Задача/1"],
        ["x" * 400 + "1", "x" * 400 + "2"],
        ["я" * 300, "я" * 301],
        ["..", "../..", "/"],
        ["कि", "की"],
        ["1", "01", "1.0"],
    ],
)
def test_ids_that_differ_stay_apart(own: list[str], tmp_path: Path) -> None:
    rows = [{"q": "?", "a": "4", "id": each} for each in own]
    ids = [p.id for p in task(tmp_path, rows, id_field="id").problems(0, None)]
    assert len(set(ids)) == len(own)
    assert all(len(i.encode()) < 200 and "/" not in i and i.startswith("sums-") for i in ids)


def test_ids_keep_their_script(tmp_path: Path) -> None:
    rows = [{"q": "?", "a": "4", "id": each} for each in ("代数-一", "test/algebra/7.json", 12)]
    ids = [p.id for p in task(tmp_path, rows, id_field="id").problems(0, None)]
    assert ids == ["sums-代数-一", "sums-test-algebra-7.json", "sums-12"]


def listed(tmp_path: Path, options: list[Any], answer: object, *labels: Any) -> DatasetTask:
    row = {"q": "Which?", "key": answer, "options": options, **({"labels": labels} if labels else {})}
    choices = ListedChoices("options", "labels" if labels else None)
    return task(tmp_path, [row], **CHOICE, answer_field="key", choices=choices)


async def test_more_options_than_letters(tmp_path: Path) -> None:
    made = listed(tmp_path, [f"text {i}" for i in range(60)], 53)
    (problem,) = made.problems(0, None)
    assert problem.answer == "BB" and "\nZ. text 25\nAA. text 26\n" in problem.question
    said = [
        r"\boxed{BB}",
        r"\boxed{(BB)}",
        r"\boxed{\text{BB}}",
        r"\boxed{option BB}",
        r"\boxed{BB. text 53}",
    ]
    assert [made.extract(text) for text in said] == ["BB"] * 5
    assert [made.extract(rf"\boxed{{{x}}}") for x in ("B", "AA", "BI", "bb")] == ["B", "AA", None, None]
    assert [await made.grade(x, "BB") for x in ("BB", "B", None)] == [True, False, False]


def test_two_letters_are_no_label_of_a_few_options(tmp_path: Path) -> None:
    assert listed(tmp_path, ["x", "y"], 0).extract(r"\boxed{AB}") is None


@pytest.mark.parametrize(
    ("options", "answer", "labels", "letter"),
    [
        (["x", "y"], "b", (), "B"),
        (["x", "y"], "(B)", (), "B"),
        (["x", "y"], 1.0, (), "B"),
        ([10, 2.5], 1, (), "B"),
        (["x", "y"], 2, (1, 2), "B"),
        (["x", "y"], "2", (1.0, 2.0), "B"),
        (["x", "y"], "B", ("a", "b"), "B"),
        (["x", "y"], "b", ("B", "b"), "B"),
        (["x", "x", "y"], "C", (), "C"),
    ],
)
def test_an_answer_finds_its_label(
    options: list[Any], answer: object, labels: tuple[Any, ...], letter: str, tmp_path: Path
) -> None:
    assert [p.answer for p in listed(tmp_path, options, answer, *labels).problems(0, None)] == [letter]


@pytest.mark.parametrize(
    ("options", "answer", "labels", "line"),
    [
        (
            ["x", "y"],
            "C",
            (),
            "task.answer_field=C: must be one of the labels A, B of the 2 options of row 0",
        ),
        (["x", "y"], 2, (), "task.answer_field=2: must be one of the labels 0, 1"),
        (["x", "y"], -1, (), "task.answer_field=-1: must be one of the labels 0, 1"),
        (["x", "y"], True, (), "task.answer_field=key: must hold a text or a number; row 0"),
        (["x", "y"], "c", ("B", "b"), "task.answer_field=c: must be one of the labels B, b"),
        (["x", "y"], "bb", ("B.", "b"), "task.answer_field=bb: must"),
        (["x", "y"], "A", ("A", "A"), "task.choices.labels_field=labels: must be distinct; row 0"),
        (["x"], "A", ("A", "B"), "task.answer_field=A: must be one of the labels A, B of the 1 options"),
        ([], "A", (), "task.choices.texts_field=options: must hold 1 to 702 options; row 0"),
        (["x"] * 703, "A", (), "task.choices.texts_field=options: must hold 1 to 702 options; row 0"),
        (["x", ""], "A", (), "task.choices.texts_field=options: must not be empty; row 0"),
        (["x", None], "A", (), "task.choices.texts_field=options: must hold a text or a number; row 0"),
        (["x", "y", "x"], "A", (), "task.choices.texts_field=options: options A and C of row 0"),
        (
            [str(i) for i in range(30)],
            "ZZ",
            (),
            "task.answer_field=ZZ: must be one of the labels A, B, ..., AD",
        ),
    ],
)
def test_options_that_make_no_question(
    options: list[Any], answer: object, labels: tuple[Any, ...], line: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        _ = listed(tmp_path, options, answer, *labels).num_problems
    assert str(caught.value).startswith(line)


def test_an_option_of_several_lines_shows_one_label(tmp_path: Path) -> None:
    (problem,) = listed(tmp_path, ["x\nB. z", "y"], "A").problems(0, None)
    assert problem.question == "Which?\nA. x\n   B. z\nB. y"


def test_the_number_of_choices_has_bounds() -> None:
    with pytest.raises(ConfigError, match=r"^task\.choices\.num_choices=1: must be 2\.\.26"):
        DrawnChoices("wrong", 1)


def test_whole_numbers_of_any_length_are_texts_like_others(tmp_path: Path) -> None:
    large = 10**400 + 7
    knobs = {"id_field": "id", "answer_field": "key", "answer_kind": "integer"}
    made = task(tmp_path, [{"id": large, "q": large, "key": large}], **knobs)
    (problem,) = made.problems(0, None)
    assert problem.question == problem.answer == str(large)
    row = Row({"q": "?", "key": 2.0, "wrong": [2, 3, large, 5]}, "row 0")
    options = DrawnChoices("wrong").options(row, row["key"])
    assert options is not None and sorted(options.texts) == sorted(["2", "3", str(large), "5"])
    assert options.texts[options.right] == "2"
