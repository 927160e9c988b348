"""Text of others is shown, and steers no terminal."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from orchestrator.observe.events import recorded, warnings_shown
from orchestrator.observe.progress import _Console, summary_table
from orchestrator.terminal import MAX_LINE, complain, one_line, printable, shell_word

ESCAPES = "\x1b]0;PWNED\x07 \x1b[2J \x9b1m \r \x08 \x7f \u202e \u2066 \u2028 \ud800"
BAD = set(ESCAPES) - {" "} - set("]0;PWNED[2J1m")


def is_harmless(text: str) -> bool:
    return not BAD.intersection(text)


def test_what_steers_is_escaped() -> None:
    assert printable("a\x1b[1m\u202e\ud800\x9b") == "a\\x1b[1m\\u202e\\ud800\\x9b"
    assert printable("é 漢 🙂 \t\n") == "é 漢 🙂 \t\n"
    assert is_harmless(printable(ESCAPES))


def test_a_complaint_is_one_line_of_bounded_length(capsys: pytest.CaptureFixture[str]) -> None:
    complain(f"x\n{ESCAPES}\ny{'z' * 10**6}")
    said = capsys.readouterr().err
    assert said.startswith("error: x \\x1b]0;PWNED\\x07") and said.endswith("z\n")
    assert said.count("\n") == 1 and len(said) < MAX_LINE + 100 and is_harmless(said)
    assert one_line("a \x85 b") == "a b"


def shown(*printed: object, is_terminal: bool = False) -> str:
    console = _Console(width=100)
    console.file = io.StringIO()
    console._force_terminal = is_terminal
    for each in printed:
        console.print(each, soft_wrap=isinstance(each, str))
    return console.file.getvalue()


@pytest.mark.parametrize(
    "text", ["[bold]x[/bold]", "[/]", "[link=http://x.example]y[/link]", ":smile:", "[a"]
)
def test_brackets_are_no_markup(text: str) -> None:
    assert text in shown(text)
    table = Table("head " + text, title="title " + text)
    table.add_row("cell " + text)
    lines = shown(table)
    assert all(f"{part} {text}" in lines for part in ("head", "title", "cell"))


def test_the_console_shows_no_escape_of_others() -> None:
    table = Table(title=ESCAPES)
    table.add_row(ESCAPES)
    assert is_harmless(shown(ESCAPES, table))


def test_names_of_any_kind_are_in_the_table_of_a_run() -> None:
    usage = {"generated_tokens": 1, "reward_calls": 0, "cached_tokens": 0, "prompt_tokens": 0}
    summary = {
        "strategy": "[/]" + "n" * 5000,
        "task": ESCAPES,
        "budget": 1,
        "seed": 0,
        "complete": True,
        "usage": usage,
        "overhead": {"retried_tokens": 0, "speculated_tokens": 0},
        "num_problems": 1,
        "accuracy": 1.0,
        "accuracy_ci95": [0.2, 1.0],
        "wall_seconds": 1.0,
        "pass_at_budget": 1.0,
        "num_errors": 0,
    }
    text = shown(summary_table(summary))
    assert "[/]nnn" in text and is_harmless(text)


@pytest.mark.parametrize("tool", [False, True])
def test_a_warning_is_one_line_that_steers_nothing(
    tool: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with warnings_shown() if tool else recorded(tmp_path, "none"):
        logging.getLogger("orchestrator.x").warning("a server says %s\n12:00:00 ERROR: forged", ESCAPES)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and is_harmless(said)


@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20))
def test_a_shell_reads_back_what_is_printed(text: str) -> None:
    word = shell_word(text)
    assert printable(word) == word and "\n" not in word


@pytest.mark.heavy
@pytest.mark.parametrize(
    "text", ["a b", "it's", "a\x1b[1m'\\", "\udcff\n\t", "$(id)", "[x]", "~", "\u202e漢"]
)
def test_bash_reads_back_what_is_printed(text: str) -> None:
    script = f"printf %s {shell_word(text)}"
    assert subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout == os.fsencode(text)


@pytest.mark.heavy
def test_an_ascii_terminal_is_no_traceback() -> None:
    code = "from orchestrator.observe.progress import stdout_console as s; s().print('\u00e9\u6f22\\ud800')"
    environ = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environ, check=False)
    assert ran.returncode == 0, ran.stderr
    assert b"\\xe9\\u6f22\\ud800" in ran.stdout
