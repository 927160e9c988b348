"""A report of runs that somebody else has written: any text, any name, any line."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

from orchestrator.errors import ConfigError
from orchestrator.report.__main__ import main
from orchestrator.report.figures import MAX_LABEL, label_of
from orchestrator.report.page import write_report
from tests.orchestrator.report.made_runs import candidate, line, write_run

EVIL = "</script><script>alert(1)</script><!-- \u2028 \x1b[2J \ud800 \u202e \x00 $\\frac{ _x"


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """Two points of one strategy, whose every text is odd."""
    folder = tmp_path / "runs"
    for budget in (1, 2):
        candidates = [candidate(EVIL, text=EVIL), candidate(None)]
        texts = {"question": EVIL * 100, "reference": EVIL, "answer": EVIL, "candidates": candidates}
        lines = [line(EVIL + str(i), False, **texts) for i in range(2)]
        knobs = {"selection": EVIL, "_target_": ["odd"], "max_steps": EVIL}
        write_run(
            folder / str(budget), lines, strategy="_" + EVIL, budget=budget, task=EVIL * 300,
            config={"strategy": knobs},
        )  # fmt: skip
    return folder


@pytest.mark.heavy
def test_any_text_makes_a_report_that_runs_nothing_of_it(evil: Path) -> None:
    page = write_report(evil, evil, 1e6)
    text = page.read_bytes().decode()
    assert text.count("<script") == len(re.findall(r"<script(?: type=\"[^\"]+\"| id=\"[^\"]+\")*>", text))
    assert "alert(1)</script>" not in text and "&lt;script&gt;alert(1)" in text
    assert not re.search("[\x00-\x08\x0b-\x1f\u2028\u202e]", text)
    names = [path.name for path in (evil / "figures").iterdir()]
    assert names and all(len(name) < 200 and name.isascii() for name in names)
    for path in (evil / "figures").glob("*.svg"):
        assert not re.search("[\x00-\x08\x0b-\x1f]", path.read_text())


def test_a_label_is_of_bounded_length_and_shown() -> None:
    assert label_of("n" * 10**6) == "n" * (MAX_LABEL - 1) + "…"
    assert label_of("_hidden") == " _hidden" and label_of("") == "?"
    assert label_of("a\x1b\n\ud800") == "a\\x1b \\ud800"


@pytest.mark.heavy
def test_a_run_that_cannot_be_read_is_named_and_left_out(
    evil: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    write_run(evil / "bad", [line("a", True)])
    (evil / "bad" / "config.json").write_text("[" * 100_000)
    with caplog.at_level(logging.WARNING):
        write_report(evil, tmp_path / "out", 1e6)
    assert any(
        "its config.json is no JSON: it is nested too deeply: the run is left out" in message
        for message in caplog.messages
    )
    with pytest.raises(ConfigError, match=r"its config.json is no JSON: it is nested too deeply"):
        write_report(evil / "bad", tmp_path / "out", 1e6)


def test_lines_of_any_kind_are_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", [line("a", True)])
    odd = ["[1, 2]", "[" * 100_000, '{"problem_id": "x"}', json.dumps(line("b", True)).replace("0.5", "NaN")]
    with (run / "results.jsonl").open("a") as file:
        file.write("\n".join(odd) + "\n\x00\n")
    assert main([str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")


def test_what_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", [line("a", True)])
    (tmp_path / "file").write_text("")
    assert main([str(run), f"out={tmp_path / 'file'}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: out: ") and said.count("\n") == 1
