"""The harnesses of docs/serving.md, as its command lines run them, against the shipped models.

Their requirements exclude those of vLLM, so they get an environment of their own, which pip fills from its
index. ``MURMURATION_HARNESSES`` names one that has them already.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.orchestrator.serving.served import Server, running
from tests.orchestrator.serving.test_documented_examples import ADDRESS, PAGE
from tests.orchestrator.serving.test_same_as_a_run import shipped

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[3]
LINES = (ROOT / "docs" / "harness" / "chain.jsonl").read_text(encoding="utf-8").splitlines()
SAMPLES = [json.loads(line) for line in LINES]
(BLOCK,) = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [each.strip() for each in re.split(r"^\$ ", BLOCK, flags=re.MULTILINE) if each.strip()]
_SCORE = re.compile(r"accuracy:? +(\d\.\d+)|exact_match\|↑ +\| *([\d.]+)")


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment with the harnesses."""
    if given := os.environ.get("MURMURATION_HARNESSES"):
        return Path(given) / "bin"
    folder = tmp_path_factory.mktemp("harnesses")
    venv.create(folder, with_pip=True)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*extras["optional-dependencies"]["exchange"], "openai>=3.54,<4"]
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--no-compile", *wanted]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "bin"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    served, plan = shipped()
    with running(served, plan=plan) as it:
        yield it


def test_the_data_are_the_first_problems_of_the_task() -> None:
    _, plan = shipped()
    problems = [(p.question, p.answer, p.id) for p in plan.task.problems(0, len(SAMPLES))]
    assert [(s["input"], s["target"], s["id"]) for s in SAMPLES] == problems


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[:40])
def test_a_harness_evaluates_through_the_endpoint(
    command: str, tools: Path, server: Server, tmp_path: Path
) -> None:
    before = server.on_loop(server.service.metrics.requests.copy)
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    own = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "HF_HOME": str(tmp_path),
        "INSPECT_LOG_DIR": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path),
    }
    done = subprocess.run(
        ["bash", "-c", command.replace(ADDRESS, server.url)],
        cwd=ROOT, env={**kept, **own}, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    score = [first or second for first, second in _SCORE.findall(done.stdout)][-1]
    assert float(score) >= 0.5, done.stdout
    made = server.on_loop(server.service.metrics.requests.copy) - before
    assert sum(made.values()) == len(SAMPLES) and {outcome for _, outcome in made} == {"ok"}


def test_there_are_four() -> None:
    assert len(COMMANDS) == 4
    assert [command.count(ADDRESS) for command in COMMANDS] == [1] * 4
