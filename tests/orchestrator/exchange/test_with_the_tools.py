"""inspect_ai and lm_eval, where they are installed: they read what is written, and their files are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.exchange.formats import FORMATS
from orchestrator.exchange.rows import Options
from tests.orchestrator.exchange.made import question, sample

pytestmark = [pytest.mark.heavy, pytest.mark.filterwarnings("default")]

TEXTS = ("So it is 4.\n\nANSWER: 4", "ANSWER: 5", "ANSWER: 9", "I do not know.")
FOUND = question(
    "x",
    sample("a\nb", [0.25, 0.75], answer="4", correct=True, num_tokens=7),
    sample("c", [0.5], answer=None, correct=False, finished=False),
)


@pytest.mark.parametrize("name", ["a.json", "a.eval"])
def test_inspect_reads_a_log(name: str, tmp_path: Path) -> None:
    log = pytest.importorskip("inspect_ai.log")
    (path,) = FORMATS["inspect"].write([FOUND], tmp_path / name, Options())
    first, second = log.read_eval_log(str(path)).samples
    assert (first.id, first.epoch, first.target, first.output.completion) == ("x", 1, "4", "a\nb")
    assert (first.scores["correct"].value, first.scores["correct"].answer) == ("C", "4")
    assert first.scores["reward"].value == 0.75 and first.output.usage.output_tokens == 7
    assert second.output.stop_reason == "max_tokens"


@pytest.mark.parametrize("kind", ["json", "eval"])
def test_a_new_log_of_inspect_is_read(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inspect = pytest.importorskip("inspect_ai")
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import ModelOutput, ModelUsage, get_model
    from inspect_ai.scorer import match
    from inspect_ai.solver import generate

    monkeypatch.setenv("INSPECT_LOG_DIR", str(tmp_path))
    outputs = [ModelOutput.from_content("mockllm/model", text) for text in TEXTS]
    for output in outputs:  # else it counts tokens with a tokenizer from the network
        output.usage = ModelUsage(input_tokens=3, output_tokens=7, total_tokens=10)
    asked = [Sample(id="add", input="2+2?", target="4"), Sample(id="mul", input="3*3?", target="9")]
    task = inspect.Task(dataset=MemoryDataset(asked), solver=generate(), scorer=match(location="end"))
    model = get_model("mockllm/model", custom_outputs=outputs)
    inspect.eval(task, model=model, epochs=2, log_format=kind, display="none", max_samples=1)
    (file,) = tmp_path.glob(f"*.{kind}")
    found = FORMATS["inspect"].read(file, Options())
    assert sorted((q.id, q.reference, len(q.samples)) for q in found) == [("add", "4", 2), ("mul", "9", 2)]
    assert sorted(s.text for q in found for s in q.samples) == sorted(TEXTS)


TASK = """
task: sums
dataset_path: json
dataset_kwargs: {data_files: FILE}
test_split: train
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
output_type: generate_until
repeats: 2
generation_kwargs: {until: ["Q:"], do_sample: true}
filter_list:
  - name: each
    filter: [{function: regex, regex_pattern: "ANSWER: (\\\\d+)"}]
metric_list: [{metric: exact_match}]
"""


def test_new_samples_of_lm_eval_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = pytest.importorskip("lm_eval.evaluator")
    from lm_eval.api.model import LM
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    texts = iter(TEXTS)

    class Fixed(LM):  # type: ignore[misc]
        def loglikelihood(self, requests: Any) -> Any: ...

        def loglikelihood_rolling(self, requests: Any) -> Any: ...

        def generate_until(self, requests: Any, **_: Any) -> list[str]:
            return [next(texts) for _ in requests]

    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    rows = ({"question": "2+2?", "answer": "4"}, {"question": "3*3?", "answer": "9"})
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "sums.yaml").write_text(TASK.replace("FILE", str(tmp_path / "sums.jsonl")))
    tracker = EvaluationTracker(output_path=str(tmp_path / "out"))
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    done = evaluator.simple_evaluate(
        Fixed(), tasks=["sums"], task_manager=manager, evaluation_tracker=tracker, bootstrap_iters=0
    )
    tracker.date_id = "now"
    tracker.save_results_samples("sums", done["samples"]["sums"])
    (file,) = (tmp_path / "out").rglob("samples_sums_now.jsonl")
    found = FORMATS["lm_eval"].read(file, Options())
    assert [s.answer for q in found for s in q.samples] == ["4", "5", "9", None]
    assert [s.text for q in found for s in q.samples] == list(TEXTS)
