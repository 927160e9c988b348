"""Files that are damaged, of another kind or hostile: one line each, and nothing is written."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.orchestrator.exchange.made import FILES, refused, write_rows

SAL = {
    "problem": "?",
    "answer": "1",
    "completions": ["\\boxed{1}"],
    "scores": [[0.5]],
    "completion_tokens": [1],
}
LM = json.loads((FILES / "lm_eval.jsonl").read_text().splitlines()[0])
PRM = {"prompt": "?", "completions": ["a"], "labels": [True]}
PAIR = {"prompt": "?", "chosen": "a", "rejected": "b"}
TURN = {"role": "user", "content": "?"}
NEMO = {"problem": "?", "generation": "a"}


@pytest.mark.parametrize(
    ("name", "rows", "said"),
    [
        (
            "search_and_learn",
            [{**SAL, "completions": "x"}],
            "line 1: Expected `array`, got `str` - at `$.completions`",
        ),
        ("search_and_learn", [SAL, {**SAL, "scores": [["x"]]}], "line 2: Expected `float`, got `str`"),
        ("search_and_learn", [{**SAL, "scores": [[1.5]]}], "line 1: scores[0]: a reward is 1.5"),
        ("search_and_learn", [{**SAL, "scores": []}], "has 1 completions, 0 scores and 1 completion_tokens"),
        ("search_and_learn", [{**SAL, "completion_tokens": [-1]}], "completion_tokens[0] is -1"),
        ("search_and_learn", [{**SAL, "completion_tokens": [10**30]}], "a text has 0 to 16,777,216 tokens"),
        ("search_and_learn", [{**SAL, "agg_scores": [0.1, 0.2]}], "has 1 completions and 2 agg_scores"),
        (
            "search_and_learn",
            [{"completions": ["a"]}],
            "has no question (problem, question, prompt, input, query)",
        ),
        ("search_and_learn", [{**SAL, "problem": ["a"]}], "problem must be a text"),
        ("search_and_learn", [{**SAL, "id": "a"}] * 2, "line 2: has the same id as line 1, 'a'"),
        ("search_and_learn", [{**SAL, "scores": [[]]}, SAL], "has samples with rewards, and samples without"),
        ("lm_eval", [{**LM, "resps": [[["-1.0", "False"]]]}], "holds likelihoods, and no generated texts"),
        ("lm_eval", [{**LM, "resps": [["a"], ["b"]]}], "has the responses of 2 requests"),
        ("lm_eval", [{**LM, "doc": 3}], "Expected `object`, got `int` - at `$.doc`"),
        ("nemo_skills", [NEMO, NEMO], "line 2: is a second row of problem '?'"),
        ("nemo_skills", [{"problem": "?"}], "missing required field `generation`"),
        ("trl_prm", [{**PRM, "labels": [True, False]}], "has 1 completions and 2 labels"),
        ("trl_prm", [{**PRM, "labels": [2]}], "labels: a reward is 2.0"),
        ("trl_preference", [{**PAIR, "score_chosen": "high"}], "score_chosen must be a number"),
        ("trl_preference", [{**PAIR, "chosen": [{"role": "user"}]}], "chosen must be a text, or messages"),
        ("trl_preference", [{"prompt": "?", "chosen": "a"}], "has no rejected (rejected)"),
        ("trl_preference", [{"chosen": [TURN, TURN], "rejected": [TURN]}], "must share all messages"),
    ],
)
def test_wrong_rows(
    name: str, rows: list[dict[str, Any]], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_rows(tmp_path / "a.jsonl", *rows)
    shown = refused(capsys, "import", file, f"to={tmp_path / 'run'}", f"format={name}")
    assert said in shown
    assert "rejected=FIELD" not in shown  # no such key
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["search_and_learn", "nemo_skills", "lm_eval", "trl_prm", "trl_preference"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b'{"a": ', "line 1 is no JSON"),
        (b"[1]\n", "line 1: expected an object, got list"),
        (b"\xef\xbb\xbf[1]\n", "line 1: expected an object, got list"),
        (b'\n{"a": NaN}\n', "line 2 is no JSON"),
        (b"\xff\xfe{}", "line 1 is no JSON"),
        (b'{"a": ' + b"[" * 100_000 + b"}\n", "line 1 is no JSON"),
    ],
)
def test_damaged_lines(
    name: str, content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(content)
    assert said in refused(capsys, "import", file, f"to={tmp_path / 'run'}", f"format={name}")


def test_damaged_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, archive = (FILES / "inspect.json").read_bytes(), (FILES / "inspect.eval").read_bytes()
    with zipfile.ZipFile(tmp_path / "numbers.eval", "w") as made:
        made.writestr("samples/a_epoch_1.json", "[1]")
    for name, content, said in (
        ("a.json", log[:-100], "is no JSON"),
        ("b.json", b'{"samples": 3}', "is no log with samples of inspect_ai"),
        ("c.json", b'{"samples": [3]}', "samples[0] must be an object"),
        ("d.json", b'{"samples": []}', "holds no sample without an error"),
        ("a.eval", archive[:-100], "is no whole archive"),
        ("b.eval", archive.replace(archive[4000:4010], b"0123456789"), "samples/"),
        ("c.eval", b"", "is no whole archive"),
        ("numbers.eval", (tmp_path / "numbers.eval").read_bytes(), "expected an object, got list"),
    ):
        (tmp_path / name).write_bytes(content)
        assert said in refused(
            capsys, "import", tmp_path / name, f"to={tmp_path / 'run'}", "format=inspect"
        ), name


def test_what_is_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(FILES / "lm_eval.jsonl")
    for name, said in (("nothing", "is no file"), ("fifo", "is no file"), ("link", "is a link")):
        assert said in refused(capsys, "import", tmp_path / name, f"to={tmp_path / 'run'}", "format=lm_eval")
    said = refused(capsys, "import", tmp_path, f"to={tmp_path / 'run'}", "format=nemo_skills")
    assert said.endswith("holds no output-rs0.jsonl, output-rs1.jsonl, ...")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["to=x", "format=lmeval"], "format=lmeval: must be one of search_and_learn"),
        (["to=x", "format=lm_evl"], "did you mean 'lm_eval'?"),
        (["format=lm_eval"], "to=null: must be given"),
        (["to=x", "format=lm_eval", "fromat=a"], "fromat=a: unknown key; did you mean 'format'?"),
        (["to=x", "format=lm_eval", "filter=c"], "filter=c: the file has each, vote"),
        (["to=x", "format=lm_eval", "strategy=particle_filter"], "strategy=particle_filter"),
        (["to=x", "format=lm_eval", "task.anwser_kind=integer"], "did you mean 'task.answer_kind'?"),
        (["to=x", "format=lm_eval", "task.answer_kind=number"], "must be one of math, integer, choice"),
        (
            ["to=x", "format=lm_eval", "task=chain"],
            "task=chain: has no problem with the id or the question of line 1",
        ),
        (["to=x", "format=lm_eval", "api_key=1"], "api_key"),
    ],
)
def test_wrong_arguments(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, "import", FILES / "lm_eval.jsonl", *arguments)
    assert not (tmp_path / "x").exists()


def test_exports_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "has no results.jsonl" in refused(capsys, "export", tmp_path, "to=x", "format=inspect")
    for option, said in (
        ("threshold=2", "from 0 up to 1"),
        ("labels=x", "must be one of rewards, descendants"),
    ):
        assert said in refused(capsys, "export", tmp_path, "to=x", "format=trl_prm", option)
    assert refused(capsys, "exprot", tmp_path) == "command=exprot: must be export or import"
