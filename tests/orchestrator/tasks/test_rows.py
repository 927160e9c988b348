"""Rows from files, folders and the hub's cache; and one clear line where there are none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from orchestrator.errors import ConfigError
from orchestrator.tasks.rows import HUB_PARQUET, Source, field_of, read_rows

ROWS = [{"question": f"{i} + 1?", "answer": str(i + 1), "nested": {"list": [i, "x"]}} for i in range(3)]


@pytest.fixture(autouse=True)
def nothing_is_remembered() -> None:
    read_rows.cache_clear()


def write(path: Path, rows: Sequence[dict[str, Any]] = ROWS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    return path


def strings(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows that Parquet can hold: its lists are of one type."""
    return [{**row, "nested": {"list": [str(x) for x in row["nested"]["list"]]}} for row in rows]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_every_format_gives_the_same_rows(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"rows{suffix}", strings(ROWS))
    assert list(read_rows(Source(str(path)))) == strings(ROWS)


def test_a_folder_has_subsets_and_splits(tmp_path: Path) -> None:
    write(tmp_path / "main" / "test-00000-of-00002.jsonl", ROWS[:1])
    write(tmp_path / "main" / "test-00001-of-00002.jsonl", ROWS[1:])
    write(tmp_path / "main" / "train" / "0000.parquet", strings(ROWS[:1]))
    write(tmp_path / "other" / "test.json", ROWS[2:])
    assert list(read_rows(Source(str(tmp_path), "main", "test"))) == ROWS
    assert list(read_rows(Source(str(tmp_path), "main", "train"))) == strings(ROWS[:1])
    assert list(read_rows(Source(str(tmp_path), "other"))) == ROWS[2:]
    with pytest.raises(ConfigError, match=r"^task\.split=dev: no \.jsonl"):
        read_rows(Source(str(tmp_path), "main", "dev"))


def hub_cache(root: Path, revision: str) -> Path:
    """What the hub's client keeps of a dataset after it was fetched once."""
    repository = root / "datasets--owner--sums"
    (repository / "refs" / revision).parent.mkdir(parents=True)
    (repository / "refs" / revision).write_text("0" * 40)
    return repository / "snapshots" / ("0" * 40)


def test_a_hub_dataset_comes_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    write(hub_cache(tmp_path, HUB_PARQUET) / "default" / "test" / "0000.parquet", strings(ROWS))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert list(read_rows(Source("owner/sums", None, "test"))) == strings(ROWS)
    with pytest.raises(ConfigError, match=r"^task\.path=owner/sums: has no files main/test/\*\.parquet"):
        read_rows(Source("owner/sums", "main", "test"))


def test_without_a_network_one_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError) as caught:
        read_rows(Source("owner/sums", None, "test"))
    line = str(caught.value)
    assert line.startswith("task.path=owner/sums: cannot be fetched from the hub")
    assert "set task.path to a .jsonl or .parquet file" in line and "\n" not in line


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("rows.csv", "a,b", "must end with one of .jsonl, .json, .parquet"),
        ("rows.jsonl", "{", "line 1 of rows.jsonl is no JSON"),
        ("rows.jsonl", "1\n", "line 1 of rows.jsonl must hold objects, one a row, and holds the number 1"),
        ("rows.json", "{}", "must hold objects, one a row"),
        ("rows.jsonl", "", "holds no rows"),
        ("rows.parquet", "x", "is no Parquet file"),
        ("rows.jsonl", '{"q": 1}\r\n\n{"q": "caf\xe9"}', "rows.jsonl, line 3 is no UTF-8: byte 0xe9 at 11"),
        (
            "rows.jsonl",
            '{"q": 1}\n\n \n{"q": 1',
            "line 4 of rows.jsonl is no JSON: Expecting ',' delimiter (column 8)",
        ),
        ("rows.jsonl", '{"q": 1}\r{"q": 1}\rx', "line 3 of rows.jsonl is no JSON"),
        (
            "rows.jsonl",
            '{"q": 1}\n{"q": 1} {"q": 1}',
            "line 2 of rows.jsonl is no JSON: Extra data (column 10)",
        ),
        ("rows.jsonl", '{"q": 1}\n{"q": 1, "q": 2}', "line 2 of rows.jsonl: the key 'q' occurs twice"),
        (
            "rows.jsonl",
            '{"q": 1}\n[1]',
            "line 2 of rows.jsonl must hold objects, one a row, and holds a list",
        ),
        (
            "rows.jsonl",
            '{"q": 1}\n' + "[" * 100_000,
            "line 2 of rows.jsonl is no row: it is nested too deeply",
        ),
        ("rows.jsonl", '{"q": 1}\n{"q": "\0"}', "rows.jsonl, line 2 holds a NUL byte"),
        ("rows.jsonl", "\xff\xfe{\0", "rows.jsonl is UTF-16: save it as UTF-8"),
        ("rows.json", "\xfe\xff\0{", "rows.json is UTF-16: save it as UTF-8"),
        ("rows.json", '[{"q": 1},\n {"q": x}]', "rows.json is no JSON: Expecting value (line 2, column 8)"),
        ("rows.json", '[{"q": 1}, null]', "row 1 of rows.json must hold objects, one a row, and holds null"),
    ],
)
def test_a_bad_file_is_named(name: str, text: str, line: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        read_rows(Source(str(tmp_path / name)))
    assert caught.value.key == "task.path" and line in str(caught.value)


@pytest.mark.parametrize("path", ["nothing.jsonl", "/no/where", "./x", "~/nothing", "alone", "a/b/c"])
def test_a_path_that_is_not_there(path: str) -> None:
    with pytest.raises(ConfigError, match="no such file or folder"):
        read_rows(Source(path))


def test_fields() -> None:
    assert field_of(ROWS[1], "nested.list", "task.prompt_field") == [1, "x"]
    assert field_of(ROWS[1], "nested.list.1", "task.prompt_field") == "x"
    with pytest.raises(ConfigError, match=r"^task\.prompt_field=nested\.list\.2: no such field"):
        field_of(ROWS[1], "nested.list.2", "task.prompt_field")
    with pytest.raises(
        ConfigError, match=r"^task\.answer_field=anwser: no such field in a row; did you mean 'answer'\?"
    ):
        field_of(ROWS[1], "anwser", "task.answer_field")
    with pytest.raises(ConfigError, match="no such field"):
        field_of(ROWS[1], "question.text", "task.prompt_field")


def test_a_line_ends_where_json_lines_end(tmp_path: Path) -> None:
    """JSON takes other ends of line, such as U+2028, inside of its strings."""
    rows = [{"q": "one\u2028two\x85three"}, {"q": "four"}]
    lines = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "rows.jsonl").write_text(f"{lines}\r\n\r\n", encoding="utf-8", newline="")
    assert list(read_rows(Source(str(tmp_path / "rows.jsonl")))) == rows


MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rows.jsonl", MARK + b'{"q": 1}\r\n\r\n{"q": 2}\r\n'),
        ("rows.jsonl", b'{"q": 1}\r{"q": 2}\r'),
        ("rows.jsonl", MARK + b'{"q": 1}\n' + MARK + b'{"q": 2}'),
        ("rows.jsonl", b'\n[{"q": 1}, {"q": 2}]'),
        ("rows.json", MARK + b'[{"q": 1},\r\n{"q": 2}]'),
        ("rows.json", b'{"q": 1}\n{"q": 2}\n'),
        ("ROWS.JSONL", b'{"q": 1}\n{"q": 2}'),
    ],
)
def test_as_editors_save_them(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    assert list(read_rows(Source(str(tmp_path / name)))) == [{"q": 1}, {"q": 2}]


def test_rows_know_their_place(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('\n{"q": 1}\n\n{"q": 2}\n')
    (tmp_path / "b.json").write_text('[{"q": 3}]')
    (tmp_path / "._a.jsonl").write_bytes(b"\0\1")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints" / "a.jsonl").write_text('{"q": 9}')
    assert [row.place for row in read_rows(Source(str(tmp_path)))] == [
        "row 0 (line 2 of a.jsonl)", "row 1 (line 4 of a.jsonl)", "row 0 of b.json",
    ]  # fmt: skip
