"""Files as the tools write them.

lm-evaluation-harness 0.4.13 has made ``files/lm_eval.jsonl``, of a task with ``repeats: 2`` and two filters,
and inspect_ai 0.3.285 ``files/inspect.*``, of one with two epochs. search-and-learn and NeMo-Skills are not
on PyPI, and TRL only reads datasets: their rows follow their sources.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.exchange.formats import FORMATS
from orchestrator.exchange.records import Question
from orchestrator.exchange.rows import Options
from tests.orchestrator.exchange.made import FILES, lines_of, run_exchange, summary_of, write_rows


def read(name: str, path: Path, **options: Any) -> list[Question]:
    return FORMATS[name].read(path, Options(**options))


def test_lm_eval() -> None:
    first, second = read("lm_eval", FILES / "lm_eval.jsonl")
    assert (first.id, first.question, first.reference) == ("0", "What is 2+2?", "4")
    assert [s.text for s in first.samples] == ["So it is 4.\n\nANSWER: 4", "Maybe 5.\n\nANSWER: 5"]
    assert [s.answer for s in (*first.samples, *second.samples)] == ["4", "5", "9", None]
    assert all(s.has_answer for s in second.samples)


def test_a_vote_of_lm_eval_is_no_answer_of_a_sample() -> None:
    first, _ = read("lm_eval", FILES / "lm_eval.jsonl", filter="vote")
    assert [s.has_answer for s in first.samples] == [False, False]


@pytest.mark.parametrize("file", ["inspect.json", "inspect.eval"])
def test_inspect(file: str) -> None:
    first, second = sorted(read("inspect", FILES / file), key=lambda q: q.id)
    assert (first.id, first.question, first.reference) == ("add-1", "What is 2+2?", "4")
    assert second.id == "mul"
    assert [s.text for s in first.samples] == ["So it is 4.\n\nANSWER: 4", "ANSWER: 9"]
    assert [s.correct for s in first.samples] == [True, False]
    assert [s.num_tokens for s in first.samples] == [7, 7]
    assert not any(s.has_answer for s in first.samples)  # its scorer reports whole texts


def test_inspect_as_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("import", FILES / "inspect.eval", f"to={tmp_path / 'run'}", "format=inspect")
    printed = run_exchange(capsys, *arguments, "task.answer_prefix=ANSWER:")
    assert "grades: 4 of 4 agree" in printed and "majority@2" in printed
    assert [c["answer"] for c in lines_of(tmp_path / "run")["add-1"]["candidates"]] == ["4", "9"]


def test_lm_eval_as_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_exchange(capsys, "import", FILES / "lm_eval.jsonl", f"to={tmp_path / 'run'}", "format=lm_eval")
    summary = summary_of(tmp_path / "run")
    assert summary["quoted"]["pass@1"] == 0.5 and summary["quoted"]["pass@2"] == 1.0
    assert summary["imported_from"]["format"] == "lm_eval"


def test_nemo_skills(tmp_path: Path) -> None:
    for seed, (text, answer) in enumerate([("It is \\boxed{4}", "4"), ("It is \\boxed{2^2}", "2^2")]):
        row = {
            "generation": text, "num_generated_tokens": 5, "generation_time": 0.5, "predicted_answer": answer,
            "symbolic_correct": True, "problem": "2+2?", "expected_answer": 4, "subset_for_metrics": "a",
        }  # fmt: skip
        write_rows(tmp_path / f"output-rs{10 * seed}.jsonl", row)
    write_rows(tmp_path / "output.jsonl", {"generation": "greedy", "problem": "2+2?", "expected_answer": 4})
    (found,) = read("nemo_skills", tmp_path)
    assert (found.id, found.question, found.reference) == ("2-2-", "2+2?", "4")
    assert [(s.answer, s.num_tokens, s.correct) for s in found.samples] == [("4", 5, True), ("2^2", 5, True)]


def test_trl(tmp_path: Path) -> None:
    row = {
        "prompt": "Which is larger, 9.8 or 9.11?",
        "completions": ["11 is greater than 8.", "Hence, 9.11 > 9.8."],
        "labels": [True, False],
    }
    (found,) = read("trl_prm", write_rows(tmp_path / "a.jsonl", row, row))
    assert [s.text for s in found.samples] == ["11 is greater than 8.\n\nHence, 9.11 > 9.8."] * 2
    assert found.samples[0].values == [1.0, 0.0]
    pair = {
        "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "2+2?"}],
        "chosen": [{"role": "assistant", "content": "4"}],
        "rejected": [{"role": "assistant", "content": "5"}],
    }
    (found,) = read("trl_preference", write_rows(tmp_path / "b.jsonl", pair))
    assert (found.question, [s.text for s in found.samples]) == ("2+2?", ["4", "5"])
    assert [s.values for s in found.samples] == [[1.0], [0.0]]
    implicit = {key: [*pair["prompt"], *pair[key]] for key in ("chosen", "rejected")}
    (again,) = read("trl_preference", write_rows(tmp_path / "c.jsonl", implicit))
    assert (again.question, again.samples) == (found.question, found.samples)


def test_the_mark_of_utf8_is_no_part_of_a_file(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", {"problem": "?", "completions": ["a"]})
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert [q.question for q in read("search_and_learn", file)] == ["?"]


def test_a_line_that_is_too_long_is_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.storage.json_reading.MAX_LINE_BYTES", 2**20)
    row = {"problem": "?", "completions": ["a"]}
    file = write_rows(tmp_path / "a.jsonl", row, {**row, "problem": "?" * 2**20}, row)
    with pytest.raises(ConfigError, match=r"line 2: it has more than 1 MiB"):
        read("search_and_learn", file)


def sal_columns(answers: list[str], scores: list[float]) -> dict[str, str]:
    """The columns as sal/utils/score.py and math.py define them, where equal answers have equal texts."""
    columns = {}
    for n in [2**i for i in range(len(answers)) if 2**i <= len(answers)]:
        random.seed(42)
        indices = random.sample(range(len(answers)), n)
        preds, weights = [answers[i] for i in indices], [scores[i] for i in indices]
        sums: dict[str, float] = defaultdict(float)
        for pred, weight in zip(preds, weights, strict=True):
            sums[pred] += weight
        best = sorted(zip(preds, weights, strict=True), key=lambda x: x[1], reverse=True)
        chosen = {
            "weighted": max(sums, key=lambda pred: sums[pred]),
            "maj": Counter(preds).most_common(1)[0][0],
            "naive": best[0][0],
        }
        columns |= {f"pred_{rule}@{n}": f"\\boxed{{{pred}}}" for rule, pred in chosen.items()}
    return columns


def sal_row(number: int, draw: random.Random) -> dict[str, Any]:
    """A row of best of 8; one answer in five is missing, and many scores are equal."""
    answers = [draw.choice(["1", "2", "3", "4", ""]) for _ in range(8)]
    scores = [[draw.random(), draw.choice([0.25, 0.5, 0.75])] for _ in range(8)]
    last = [score[-1] for score in scores]
    texts = [f"Think.\n\nSo \\boxed{{{a}}}." if a else "Think.\n\nI give up." for a in answers]
    return {
        "problem": f"Question {number}", "solution": "...", "answer": "3", "subject": "Algebra", "level": 2,
        "unique_id": f"test/algebra/{number}.json", "completions": texts, "scores": scores,
        "pred": texts[last.index(max(last))], "completion_tokens": [9] * 8, "agg_scores": last,
        **sal_columns(answers, last),
    }  # fmt: skip


def test_the_columns_of_search_and_learn_are_computed_again_and_agree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = random.Random(1)
    file = write_rows(tmp_path / "a.jsonl", *(sal_row(i, draw) for i in range(20)))
    printed = run_exchange(capsys, "import", file, f"to={tmp_path / 'run'}", "format=search_and_learn")
    for rule in ("maj", "weighted", "naive"):
        for n in (1, 2, 4, 8):
            assert f"pred_{rule}@{n}: 20 of 20 agree" in printed
    line = lines_of(tmp_path / "run")["test-algebra-0.json"]
    assert len(line["candidates"]) == 8 and line["usage"]["generated_tokens"] == 72
    assert summary_of(tmp_path / "run")["quoted"].keys() >= {"pass@8", "weighted@8", "naive@8"}


def test_a_column_that_differs_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = sal_row(0, random.Random(2)) | {"pred_maj@8": "\\boxed{77}"}
    file = write_rows(tmp_path / "a.jsonl", row)
    printed = run_exchange(capsys, "import", file, f"to={tmp_path / 'run'}", "format=search_and_learn")
    assert "pred_maj@8: 0 of 1 agree" in printed and "pred_maj@4: 1 of 1 agree" in printed
