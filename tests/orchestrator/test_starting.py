"""Replicas for library calls, and one answer from the library and from the command line."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from orchestrator import ChainTask, OracleConfig, Sampling, solve, solve_many, solve_sync, start
from orchestrator.errors import ConfigError, MurmurationError
from orchestrator.storage.results import read_results
from strategies import ParticleFilter, SelfConsistency
from tests.in_process import run_here

pytestmark = pytest.mark.heavy

TASK = ChainTask(split="test")
FILTER = ParticleFilter(num_particles=4, max_steps=10, sampling=Sampling(max_tokens=16))


BY_BATCH = {"seconds", "overhead", "usage"}  # they depend on what else was in a batch and in its cache


def answers_of(run_dir: Path) -> dict[str, Any]:
    """The lines by problem; of the usage what the search decides."""
    return {
        line["problem_id"]: {
            **{key: value for key, value in line.items() if key not in BY_BATCH},
            "tokens": line["usage"]["generated_tokens"],
            "prompts": line["usage"]["prompt_tokens"],
            "calls": line["usage"]["reward_calls"],
            "read": line["usage"]["reward_tokens"] + line["usage"]["cached_reward_tokens"],
        }
        for line in read_results(run_dir)
    }


def test_the_library_and_the_command_line_give_one_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under one seed, for one question and for many: texts, rewards, usage and grades."""
    monkeypatch.chdir(tmp_path)
    command = ["cluster=inprocess", "budget=4", "seed=3", "task.limit=2", f"run_dir={tmp_path / 'command'}"]
    assert run_here(capsys, *command).returncode == 0

    async def by_library() -> None:
        async with start("embedded", "embedded", cluster="inprocess") as models:
            how: dict[str, Any] = {
                "engine": models.engine,
                "verifier": models.verifier,
                "task": TASK,
                "seed": 3,
            }
            problems = list(TASK.problems(0, 2))
            run_dir = tmp_path / "library"
            async for _ in solve_many(problems, strategy=FILTER, run_dir=run_dir, **how):
                pass
            one = await solve(problems[1], strategy=FILTER, **how)
            assert one.text == answers_of(run_dir)[problems[1].id]["candidates"][0]["text"]

    asyncio.run(by_library())
    assert answers_of(tmp_path / "library") == answers_of(tmp_path / "command")
    assert len(answers_of(tmp_path / "library")) == 2


async def test_models_of_another_loop_are_refused_and_configurations_are_compared(tmp_path: Path) -> None:
    async with start("embedded", cluster="inprocess") as models:
        assert models.verifier is None
        assert models.backend.replicas["engine"] == 1
        how: dict[str, Any] = {"strategy": SelfConsistency(1, Sampling(max_tokens=8)), "task": TASK}
        (problem,) = TASK.problems(0, 1)
        with pytest.raises(MurmurationError, match=r"await solve\(\) there"):
            solve_sync(problem, engine=models.engine, **how)
        assert [
            r.error async for r in solve_many([problem], engine=models.engine, run_dir=tmp_path, **how)
        ] == [None]
    async with start("countdown", cluster="inprocess") as others:
        with pytest.raises(ConfigError, match=r"engine\.model=embedded:countdown-policy: differs"):
            await anext(solve_many([problem], engine=others.engine, run_dir=tmp_path, **how))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"engine": "embeded"}, "engine=embeded: must be one of .*did you mean 'embedded'"),
        ({"engine": "embedded", "cluster": "remote"}, "cluster=remote: must be one of"),
        ({"engine": "embedded", "verifier": OracleConfig()}, "knows the answers"),
        ({"engine": "embedded", "replicas": 0}, "replicas=0"),
    ],
)
async def test_a_mistake_is_named_before_anything_starts(how: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        async with start(**how):
            pass


@pytest.mark.slow
async def test_replicas_are_actors_of_ray() -> None:
    async with start("embedded", "embedded", replicas=2) as models:
        assert models.backend.replicas == {"engine": 2, "verifier": 2}
        (problem,) = TASK.problems(0, 1)
        result = await solve(
            problem, strategy=FILTER, engine=models.engine, verifier=models.verifier, task=TASK
        )
        assert result.error is None
        assert result.correct
