"""A task of inspect_ai on a local file: docs/serving.md has the command line."""

from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import json_dataset
from inspect_ai.scorer import pattern
from inspect_ai.solver import generate


@task
def chain() -> Task:
    data = Path(__file__).with_name("chain.jsonl")
    return Task(json_dataset(str(data)), solver=generate(), scorer=pattern(r"#(-?\d+)"))
