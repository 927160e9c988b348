"""JSON of others: strict, bounded, and refused in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.storage import json_reading
from orchestrator.storage.json_reading import BadJson, parse_object, read_lines, read_object, read_own
from orchestrator.storage.line_checks import check_line
from orchestrator.storage.result_lines import spent
from orchestrator.storage.results import keep_finished, read_results
from orchestrator.storage.run_files import RESULTS, read_config, read_summary
from orchestrator.storage.totals import Totals
from tests.orchestrator.report.made_runs import line, write_run


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"a":' * 300 + "1" + "}" * 300, "nested too deeply"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": -Infinity}', "-Infinity is no number"),
        ('{"a": 1e999}', "too large a number"),
        ('{"a": ' + "9" * 400 + ".0}", "too large a number"),
        ('{"a": ' + "9" * 5000 + "}", "is no JSON"),
        ("", "no JSON"),
        ("\x00", "no JSON"),
        ('{"a": "\x00"}', "no JSON"),
        ('{"a": 1', "no JSON"),
        ("[1, 2]", "expected an object, got list"),
        ("null", "expected an object, got NoneType"),
        ("7", "expected an object, got int"),
        ('"x"', "expected an object, got str"),
        (b'{"a": "\xff"}', "no UTF-8"),
    ],
)
def test_what_is_none_of_it_is_said(text: str | bytes, reason: str) -> None:
    with pytest.raises(BadJson, match=reason):
        parse_object(text)
    if isinstance(text, str):
        with pytest.raises(BadJson, match=reason):
            parse_object(text.encode())


def test_half_a_character_is_text_and_depth_has_its_measure() -> None:
    assert parse_object(b'{"a": "\\ud800 x", "b": 123456789012345678901}') == {
        "a": "\ud800 x",
        "b": 123456789012345678901,
    }
    assert parse_object('{"a":' * 199 + "1" + "}" * 199)


def test_size_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_reading, "MAX_FILE_BYTES", 20)
    monkeypatch.setattr(json_reading, "MAX_LINE_BYTES", 20)
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"a": "b" * 20}) + '\n{"a": 1}\n')
    with pytest.raises(BadJson, match="MiB"):
        read_object(path)
    long, short = read_lines(path)
    assert long[0] == b"\n" and isinstance(long[1], BadJson)
    assert short == (b'{"a": 1}\n', {"a": 1})


def test_a_file_that_must_be_whole_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^k={tmp_path}: its x.json cannot be read: No such file"):
        read_own(tmp_path / "x.json", "k")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ConfigError, match=rf"^k={tmp_path}: its x.json is no JSON: "):
        read_own(tmp_path / "x.json", "k")


ODD: list[tuple[str, Any]] = [
    ("problem_id", 7), ("problem_id", None), ("question", ["q"]), ("reference", None), ("answer", 3),
    ("correct", 1), ("correct", "yes"), ("error", "boom"), ("error", {"type": 3, "message": ""}),
    ("stopped_by", False), ("candidates", None), ("candidates", [1]), ("candidates", [{"answer": "1"}]),
    ("usage", {}), ("usage", {"generated_tokens": -1, "reward_calls": 0, "flops": 0}),
    ("usage", {"generated_tokens": 1.5, "reward_calls": 0, "flops": 0}),
    ("usage", {"generated_tokens": 10**400, "reward_calls": 0, "flops": 0}),
    ("overhead", {"retried_tokens": 1.5}), ("overhead", {"retried_tokens": -1}), ("seconds", -1.0),
    ("seconds", 1e308), ("seconds", None), ("history", {"a": 1}), ("history", [1]), ("answer_index", 1),
    ("answer_index", -1), ("answer_index", True),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), ODD)
def test_a_line_of_another_shape_is_none_of_ours(field: str, value: Any) -> None:
    check_line(line("a", True))
    with pytest.raises(BadJson, match="was not written by Murmuration: "):
        check_line({**line("a", True), field: value})
    without = line("a", True)
    del without[field]
    if field != "answer_index":
        with pytest.raises(BadJson, match="was not written by Murmuration: "):
            check_line(without)


@pytest.mark.parametrize(
    "fields",
    [{"reward": 2.0}, {"reward": "x"}, {"num_tokens": 10**12}, {"num_tokens": -1}, {"step_log_odds": ["x"]},
     {"step_lengths": []}, {"step_lengths": [-1]}, {"log_weight": "inf"}, {"correct": 0}, {"finished": None}],
)  # fmt: skip
def test_a_candidate_of_another_shape_is_none_of_ours(fields: dict[str, Any]) -> None:
    whole = line("a", True)
    with pytest.raises(BadJson, match="was not written by Murmuration: "):
        check_line({**whole, "candidates": [{**whole["candidates"][0], **fields}]})


@pytest.mark.parametrize("new", [7, 1.5, "x", None, {"a": [1]}])
def test_fields_of_later_releases_are_passed_over(new: Any, tmp_path: Path) -> None:
    whole = line("a", True)
    later = {**whole, "new": new, "usage": {**whole["usage"], "new": new}, "overhead": {"new": new}}
    later["candidates"] = [{**c, "new": new} for c in whole["candidates"]]
    text = json.dumps(later) + "\n"
    (tmp_path / RESULTS).write_text(text)
    totals = Totals()
    keep_finished(tmp_path, totals.add)
    assert totals.usage == spent(whole) and totals.num_problems == 1
    assert (tmp_path / RESULTS).read_text() == text


def test_odd_lines_are_named_and_left_out_the_first_of_each_problem_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, other = json.dumps(line("a", True)), json.dumps(line("b", False))
    twice = json.dumps(line("a", False))
    lines = [good, "[1, 2]", "[" * 100_000, '{"problem_id": "x"}', twice, other, *["7"] * 10]
    (tmp_path / RESULTS).write_text("\n".join(lines) + "\n")
    assert [(x["problem_id"], x["correct"]) for x in read_results(tmp_path)] == [("a", True), ("b", False)]
    numbers = [m.split("line ")[1].split(" ")[0] for m in caplog.messages[:5]]
    assert numbers == ["2", "3", "4", "5", "7"] and caplog.messages[5].endswith("9 more lines are left out")
    assert len(caplog.messages) == 6
    caplog.clear()
    totals = Totals()
    keep_finished(tmp_path, totals.add)
    assert totals.num_problems == 2 and len(caplog.messages) == 6
    assert (tmp_path / RESULTS).read_text() == f"{good}\n{other}\n"


def test_a_line_of_any_length_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    good = json.dumps(line("a", True))
    long = json.dumps(line("b", True, question="q" * 5000))
    (tmp_path / RESULTS).write_text(f"{long}\n{good}\n{long}")
    monkeypatch.setattr(json_reading, "MAX_LINE_BYTES", 2000)
    totals = Totals()
    keep_finished(tmp_path, totals.add)
    assert totals.num_problems == 1 and (tmp_path / RESULTS).read_text() == f"{good}\n"
    assert all("MiB" in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("config.json", "seed", "x"), ("config.json", "budget", 0), ("config.json", "strategy", []),
        ("config.json", "limits", {"seconds": "x"}), ("config.json", "limits", 3),
        ("summary.json", "strategy", 3), ("summary.json", "accuracy", 1.5), ("summary.json", "complete", 1),
        ("summary.json", "accuracy_ci95", [0.5]), ("summary.json", "usage", {"generated_tokens": 1}),
        ("summary.json", "wall_seconds", "long"), ("summary.json", "budget", 2**70),
    ],
)  # fmt: skip
def test_another_shape_of_a_runs_files_is_named(tmp_path: Path, name: str, field: str, value: Any) -> None:
    run = write_run(tmp_path / "run", [line("a", True)])
    read = read_config if name == "config.json" else read_summary
    whole = read(run, "DIR")
    (run / name).write_text(json.dumps({**whole, field: value}))
    with pytest.raises(ConfigError, match=rf"^DIR={run}: its {name} was not written by Murmuration"):
        read(run, "DIR")
