"""Values as a shell hands them over: Hydra reads what was meant, or a line says how to write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.command_line import continued_command
from orchestrator.config.flags import check_flags
from orchestrator.config.spelling import spelled, with_line_breaks
from orchestrator.errors import MurmurationError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\\"), min_size=1)


def read(argument: str, *, is_sweep: bool = False) -> Any:
    """What Hydra makes of a spelled argument: a value, or the list of a sweep's."""
    value = OverridesParser.create().parse_override(spelled(argument, is_sweep=is_sweep)).value()
    return [getattr(v, "text", v) for v in value.list] if isinstance(value, ChoiceSweep) else value


PATHS = [
    "café.jsonl", "part#1.jsonl", "split=test.jsonl", "my rows (1).jsonl", "~rows.jsonl", "it's.jsonl",
    'say "x".jsonl', "a;b&c|d", "[x].jsonl", "[x]", "{x}", "10", "1e3", "true", "代数/一.jsonl", "!x", "x ",
    "a:b", "$HOME/x", "/a/../b", "<x>", "a%20b", "x@y", "C:\\data",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("key", ["task.path", "engine.model", "verifier.tokenizer"])
def test_a_path_is_itself(key: str, path: str) -> None:
    assert read(f"{key}={path}") == path


@given(TEXT)
def test_a_text_is_itself(text: str) -> None:
    if text[0] not in "'\"" and "${" not in text and text != "null":
        assert read(f"engine.template={text}") == text


def test_what_is_quoted_for_hydra_stays() -> None:
    for value in ("'a,b'", "[1,2]", "{a:1}", "null", "3", "true", "${task.limit}", '"x y"', ""):
        assert spelled(f"engine.args.x={value}", is_sweep=False) == f"engine.args.x={value}"
    assert spelled("~task", is_sweep=False) == "~task"
    assert spelled("task.path=null", is_sweep=False) == "task.path=null"


def test_words_of_flags_are_no_overrides() -> None:
    command = ["--cfg", "job", "-i", "all", "--config-dir", "my conf", "-m", "seed=0,1"]
    assert continued_command(command) == command


def test_home_is_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir(tmp_path)
    assert read("engine.model=~/m") == "/home/me/m"
    assert continued_command(["run_dir=~/r"]) == ["run_dir='/home/me/r'"]
    (tmp_path / "~").mkdir()
    (tmp_path / "~" / "m").touch()
    assert read("engine.model=~/m") == "~/m"


@pytest.mark.parametrize("written", [r"\n", r"\\n", r"'\n'", r'"\n"', "\n"])
def test_an_escaped_line_break_is_one(written: str) -> None:
    assert read(f"task.delimiter={written}") == "\n"


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (r"{question}\n{instruction}", "{question}\n{instruction}"),
        (r"'{question}\nAnswer:'", "{question}\nAnswer:"),
        (r"a\nthen b\tc\r\n", "a\nthen b\tc\r\n"),
        (r"\boxed{\nabla \neq \text{x}\to\nu}", r"\boxed{\nabla \neq \text{x}\to\nu}"),
        ("I must answer now.</think>", "I must answer now.</think>"),
        ("First, think", "First, think"),
        ("[INST] {question} [/INST]", "[INST] {question} [/INST]"),
    ],
)
def test_texts(written: str, text: str) -> None:
    assert read(f"engine.template={written}") == text


def test_line_breaks_in_lists_and_sweeps() -> None:
    assert read(r"engine.block_delimiters=[\n]") == ["\n"]
    assert read(r'engine.block_delimiters=["\n", <s>]') == ["\n", "<s>"]
    assert read(r"task.delimiter=\n,\n\n", is_sweep=True) == ["\n", "\n\n"]
    assert read(r"task.delimiter='\n','x, y'", is_sweep=True) == ["\n", "x, y"]
    assert read("task.path=é,b#", is_sweep=True) == ["é", "b#"]
    assert read(r"task.path=a\nb") == r"a\nb", "a path has none"


def test_a_file_whose_name_has_a_comma_is_one(tmp_path: Path) -> None:
    file = tmp_path / "a,b.jsonl"
    with pytest.raises(MurmurationError, match=r"several values need -m.*quotes: \"task\.path='"):
        read(f"task.path={file}")
    file.touch()
    assert read(f"task.path={file}") == read(f"task.path={file}", is_sweep=True) == str(file)


@pytest.mark.parametrize(
    ("argument", "is_sweep", "line"),
    [
        ("budget=4,8", False, "budget=4,8: several values need -m: python run.py -m ..."),
        ("seed=range(1,3)", False, "seed=range(1,3): several values need -m: python run.py -m ..."),
        ("task.answer_in=box,tag", False, "task.answer_in=box,tag: several values need -m"),
        ("task.answer_in=box,tag", False, "a list needs brackets: 'task.answer_in=[box,tag]'"),
        ("engine.model=a/b,c", False, "needs quotes: \"engine.model='a/b,c'\""),
        ("task.path='it's'", False, "has quotes that do not match: write 'task.path="),
        ("engine.template=a (b),c", True, "may be one value or several"),
        (r"task.delimiter=choice('\n','x')", True, "one after another, with commas"),
        ("rows.jsonl", False, "rows.jsonl: must be KEY=VALUE"),
        ("=1", False, "=1: must be KEY=VALUE"),
    ],
)
def test_what_can_be_read_in_two_ways_is_asked(argument: str, is_sweep: bool, line: str) -> None:
    with pytest.raises(MurmurationError) as caught:
        spelled(argument, is_sweep=is_sweep)
    assert line in str(caught.value)


@pytest.mark.parametrize("flag", ["--budget=4", "--budget", "-b"])
def test_a_flag_that_is_none(flag: str) -> None:
    with pytest.raises(MurmurationError, match=f"^{flag}: unknown flag"):
        check_flags(["-m", flag])
    check_flags(["-m", "--multirun", "--cfg", "job", "--config-dir=x", "-cd", "x", "--help"])


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--cfg=bad"], "--cfg=bad: must be one of job, hydra, all"),
        (["-c", "bad", "-m"], "-c=bad: must be one of job, hydra, all"),
        (["--info", "x"], "--info=x: must be one of all, config"),
        (["-m=1"], "-m=1: -m takes no value"),
        (["--help=foo"], "--help=foo: --help takes no value"),
    ],
)
def test_a_flag_with_a_value_that_it_does_not_take(flags: list[str], line: str) -> None:
    with pytest.raises(MurmurationError) as caught:
        check_flags(flags)
    assert line in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [[], ["--info"], ["-m", "seed=1,2", "-i", "--cfg=hydra", "--info=defaults", "--info", "budget=2"]],
)
def test_flags_that_hydra_takes(given: list[str]) -> None:
    check_flags(given)


@given(TEXT)
def test_a_text_without_a_backslash_has_no_escapes(text: str) -> None:
    assert with_line_breaks(text) == text
