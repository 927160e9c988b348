"""Replicas for library calls, and one answer from the library and from the command line."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from actors import InProcessCluster
from orchestrator import (
    ChainTask,
    OracleConfig,
    Sampling,
    SelfCertaintyVerifierConfig,
    solve,
    solve_many,
    solve_sync,
    start,
)
from orchestrator.errors import ConfigError, MurmurationError
from orchestrator.storage.results import read_results
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier
from strategies import BestOfN, ParticleFilter, SelfConsistency
from tests.fake_plans import FakeEngineConfig, FakeVerifierConfig
from tests.in_process import run_here

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


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key in ("engine", "verifier", "cluster") for value in (3, BestOfN, len)],
)
async def test_what_is_no_configuration_is_named_at_once(key: str, value: Any) -> None:
    parts: dict[str, Any] = {"engine": FakeEngineConfig(), "cluster": InProcessCluster(), key: value}
    with pytest.raises(ConfigError, match=f"^{key}=.*: must be "):
        async with start(**parts):
            pass


@pytest.mark.parametrize(
    ("policies", "named"),
    [
        ([1], "policies=an object of list: must be configurations of engines by name"),
        ({"draft": 5}, "policies.draft=5: must be a configuration, such as"),
        ({"draft": None}, "policies.draft=None: must be a configuration, such as"),
        ({"draft": "nope"}, "policies.draft=nope: must be one of"),
        ({5: "embedded"}, "policies=5: must be a name in small letters"),
        ({"engine": "embedded"}, "policies=engine: must be a name in small letters"),
    ],
)
async def test_what_is_no_further_policy_is_named_at_once(policies: Any, named: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(named)}"):
        async with start(FakeEngineConfig(), cluster=InProcessCluster(), policies=policies):
            pass


@pytest.mark.heavy  # it loads models
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


async def test_replicas_answer_within_the_block_and_on_its_loop(tmp_path: Path) -> None:
    closed: list[str] = []

    class Engine(FakeEngine):
        async def close(self) -> None:
            closed.append("engine")

    task = FakeTask(num_problems=3)
    how: dict[str, Any] = {"strategy": ParticleFilter(2), "task": task}
    async with start(
        FakeEngineConfig(Engine), FakeVerifierConfig(), replicas=2, verifier_replicas=1, cluster="inprocess"
    ) as models:
        assert models.backend.replicas == {"engine": 2, "verifier": 1}
        how |= {"engine": models.engine, "verifier": models.verifier}
        found = [result async for result in solve_many(task.problems(0, 3), run_dir=tmp_path, **how)]
        assert [result.error for result in found] == [None] * 3
        with pytest.raises(MurmurationError, match=r"await solve\(\) there"):
            solve_sync(found[0].problem, **how)
        assert closed == []
    assert closed == ["engine"] * 2
    assert json.loads((tmp_path / "config.json").read_text())["engine"]["_target_"].endswith(
        "FakeEngineConfig"
    )


async def test_a_cluster_may_be_given_whole_and_a_verifier_be_without_replicas() -> None:
    cluster = InProcessCluster(engine_replicas=3)
    async with start(FakeEngineConfig(), cluster=cluster) as models:
        assert models.verifier is None
        assert models.backend.replicas == {"engine": 3, "verifier": 0}
    async with start(FakeEngineConfig(), SelfCertaintyVerifierConfig(), cluster="inprocess") as models:
        assert models.verifier is not None
        result = await solve(
            "abca", strategy=BestOfN(2), engine=models.engine, verifier=models.verifier, task=FakeTask()
        )
        assert result.error is None


async def test_further_policies_are_started_beside_the_engine() -> None:
    config = FakeEngineConfig()
    async with start(config, policies={"draft": config}, cluster="inprocess") as models:
        assert models.backend.replicas == {"engine": 1, "draft": 1, "verifier": 0}
        assert list(models.policies) == ["draft"]
        assert await models.policies["draft"].encode(["a"]) == [(97,)]
        assert models.policies["draft"] is not models.engine
    with pytest.raises(ConfigError, match=r"^policies=verifier: must be a name"):
        async with start(config, policies={"verifier": config}, cluster="inprocess"):
            pass


@pytest.mark.heavy  # it loads models
async def test_an_engine_is_compared_by_its_configuration(tmp_path: Path) -> None:
    how: dict[str, Any] = {"strategy": SelfConsistency(1, Sampling(max_tokens=8)), "task": TASK}
    (problem,) = TASK.problems(0, 1)
    async with start("embedded", cluster="inprocess") as models:
        found = solve_many([problem], engine=models.engine, run_dir=tmp_path, **how)
        assert [result.error async for result in found] == [None]
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
        ({"engine": "openai"}, "engine.model=null: must be given"),
    ],
)
async def test_a_mistake_is_named_before_anything_starts(how: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        async with start(**how):
            pass


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_replicas_are_actors_of_ray() -> None:
    async with start(FakeEngineConfig(), FakeVerifierConfig(), replicas=2, verifier_replicas=1) as models:
        assert models.backend.replicas == {"engine": 2, "verifier": 1}
        how: dict[str, Any] = {"strategy": ParticleFilter(4), "task": FakeTask()}
        result = await solve("abca", engine=models.engine, verifier=models.verifier, **how)
    same = await solve("abca", engine=FakeEngine(), verifier=FakeVerifier(), **how)
    assert result.error is None
    assert (result.text, result.usage) == (same.text, same.usage)
