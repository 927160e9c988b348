"""Replicas as threads: the same replies and the same faults as with Ray, and no Ray."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from actors.pool.inprocess import InProcessCluster
from actors.pool.pool import Pool
from orchestrator.errors import ConfigError, EngineError
from orchestrator.protocols import Failure, GenerateRequest, ScoreRequest
from orchestrator.testing import FakeEngine
from orchestrator.types import Sampling
from tests.actors.openai_engine.scripted import Scripted, said
from tests.actors.troubled import Coin, TroubledEngine, engine, refuse, refuse_configuration
from tests.fake_plans import FakeEngineConfig, FakeVerifierConfig, fake_conf

ROOT = Path(__file__).parents[3]


async def started(make: Callable[[], Any], **keys: Any) -> Pool:
    cluster = InProcessCluster(**{"max_attempts": 2} | keys)
    backend = await cluster.start({"engine": FakeEngineConfig(make)}, FakeVerifierConfig())
    assert isinstance(backend, Pool)
    return backend


def request(question: str, seed: int = 0) -> GenerateRequest:
    home = f"home of {question}"
    return GenerateRequest(home, question, "", (), Sampling(1.0, 1.0, 32), seed, "\n", None, to_end=True)


def siblings(question: str, num: int = 4) -> list[GenerateRequest]:
    return [request(question, seed) for seed in range(num)]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.005)


async def test_replies_are_those_of_the_engine_itself(tmp_path: Path) -> None:
    """However many replicas there are; calls are routed as with Ray, and counted."""
    calls = [siblings(f"problem {i}") for i in range(20)]
    pool = await started(partial(TroubledEngine, tmp_path), engine_replicas=3)
    before = pool.used()
    replies = await asyncio.gather(*map(pool.engine.generate, calls))
    assert replies == [await engine().generate(call) for call in calls]
    assert pool.replicas == {"engine": 3, "verifier": 1} and pool.num_alive() == 4
    used = pool.used() - before
    assert used.routing["engine"].calls == 20 and used.routing["engine"].replicas == 3
    assert used.generated_tokens == sum(c.usage.generated_tokens for each in replies for c in each)  # type: ignore[union-attr]
    assert pool.verifier is not None
    (reply,) = await pool.verifier.score([ScoreRequest("p", "abc", ("a\n",), 0)])
    assert not isinstance(reply, Failure)
    await pool.close()


async def test_a_call_that_raises_fails_its_request_alone(tmp_path: Path) -> None:
    pool = await started(partial(TroubledEngine, tmp_path))
    call = [*siblings("raise-once first"), *siblings("raise this", 1)]
    replies = await pool.engine.generate(call)
    assert replies[:4] == await engine().generate(call[:4])
    assert replies[4] == Failure("RuntimeError", "cannot do this")
    assert pool.stats()["engine"].deaths == 0
    await pool.close()


@pytest.mark.parametrize("trouble", ["dead-once", "hang-once"])
async def test_an_engine_that_is_dead_or_hangs_is_replaced(trouble: str, tmp_path: Path) -> None:
    pool = await started(partial(TroubledEngine, tmp_path), request_timeout_s=0.2)
    call = siblings(f"{trouble} {trouble}")
    assert await pool.engine.generate(call) == await engine().generate(call)
    assert pool.stats()["engine"].deaths == 1
    await pool.close()


async def test_further_policies_are_replicas_with_deaths_and_retries_of_their_own(tmp_path: Path) -> None:
    cluster = InProcessCluster(request_timeout_s=0.2, max_attempts=2, policy_replicas={"draft": 2})
    policies = {
        "engine": FakeEngineConfig(),
        "draft": FakeEngineConfig(partial(TroubledEngine, tmp_path)),
    }
    assert cluster.survey(policies, None) == "1 engine replicas and 2 draft replicas in this process"
    pool = await cluster.start(policies, None)
    assert isinstance(pool, Pool)
    assert list(pool.policies) == ["engine", "draft"] and pool.engine is pool.policies["engine"]
    assert pool.replicas == {"engine": 1, "draft": 2, "verifier": 0}
    call = siblings("dead-once dead-once")
    replies = await pool.policies["draft"].generate(call)
    assert replies == await engine().generate(call)
    assert {kind: stats.deaths for kind, stats in pool.stats().items()} == {"engine": 0, "draft": 1}
    assert await pool.engine.encode(["ab", "\n"]) == [(97, 98), (10,)]
    assert await pool.engine.encode([]) == []
    assert isinstance((await pool.policies["draft"].encode(["ab"]))[0], Failure)
    assert pool.used().generated_tokens == pool.generated_tokens > 0
    assert pool.overhead == pool.policies["draft"].fleet.overhead
    await pool.close()


async def test_a_policy_that_cannot_be_made_is_named_by_its_key(tmp_path: Path) -> None:
    policies = {"engine": FakeEngineConfig(), "draft": FakeEngineConfig(refuse_configuration)}
    with pytest.raises(ConfigError, match=r"^policies\.draft\."):
        await InProcessCluster().start(policies, None)


class Blocks(FakeEngine):
    """Computes without giving way, until it is told to stop."""

    go_on = threading.Event()
    was_asked = threading.Event()

    async def generate(self, requests: Any) -> Any:
        Blocks.was_asked.set()
        assert Blocks.go_on.wait(60)
        return await super().generate(requests)


async def test_an_engine_that_blocks_keeps_nobody_else_waiting() -> None:
    pool = await started(partial(Blocks, Coin()))
    asked = asyncio.create_task(pool.engine.generate(siblings("abc", 1)))
    await until(Blocks.was_asked.is_set)
    assert not asked.done()  # and this loop goes on
    Blocks.go_on.set()
    assert await asked == await engine().generate(siblings("abc", 1))
    await pool.close()


async def test_a_thread_that_hangs_for_good_is_left_behind(tmp_path: Path) -> None:
    Blocks.go_on.clear()
    pool = await started(partial(Blocks, Coin()), request_timeout_s=0.2, max_attempts=1)
    (reply,) = await pool.engine.generate(siblings("abc", 1))
    assert isinstance(reply, Failure) and reply.type == "ReplicaDeath"
    await until(lambda: pool.num_alive() == 2)
    Blocks.go_on.set()
    assert await pool.engine.generate(siblings("abc")) == await engine().generate(siblings("abc"))
    await pool.close()


async def test_cancellation_reaches_the_engine(tmp_path: Path) -> None:
    pool = await started(partial(TroubledEngine, tmp_path))
    asked = asyncio.create_task(pool.engine.generate([request("wait call")]))
    await until((tmp_path / "call-begun").exists)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await until((tmp_path / "call-cancelled").exists)
    await pool.close()


async def test_a_close_leaves_nobody_waiting_and_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    pool = await started(partial(TroubledEngine, tmp_path))
    asked = asyncio.create_task(pool.engine.generate([request("wait close")]))
    await until((tmp_path / "close-begun").exists)
    await pool.close()
    assert await asked == [Failure("ReplicaDeath", "engine-0 is closed")]
    assert (tmp_path / f"closed-{os.getpid()}").exists()
    await until(lambda: threading.active_count() <= before)


async def test_a_model_that_cannot_be_made_stops_the_start() -> None:
    with pytest.raises(ConfigError, match=r"engine.model=/nonexistent: must be a folder"):
        await started(refuse_configuration)
    with pytest.raises(EngineError, match="ValueError: no such weights"):
        await started(refuse)


async def test_a_start_does_not_wait_for_ever() -> None:
    loads = threading.Event()
    with pytest.raises(
        EngineError,
        match=r"engine-0 is not ready \(cluster.start_timeout_s=0.1\); it has been loading for 0 s",
    ):
        await started(lambda: loads.wait(60) and engine(), start_timeout_s=0.1)
    loads.set()


def ends_its_thread() -> FakeEngine:
    raise SystemExit(3)


async def test_an_engine_that_ends_its_thread_is_no_reason_to_wait() -> None:
    with pytest.raises(EngineError, match="engine-0 died 2 times before it was ready"):
        await started(ends_its_thread)


def test_it_works_beside_a_loop_that_runs() -> None:
    """As in a notebook, whose cells are on a loop already: there ``await`` does, elsewhere a thread."""

    async def ask() -> list[Any]:
        pool = await started(engine)
        replies = await pool.engine.generate(siblings("abc"))
        await pool.close()
        return replies

    async def notebook() -> list[Any]:
        return await asyncio.to_thread(asyncio.run, ask())

    assert asyncio.run(notebook()) == asyncio.run(ask())


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("engine_replicas", 0, "must be a whole number of 1 or more"),
        ("max_attempts", True, "must be a whole number of 1 or more"),
        ("grace_s", -1.0, "must be a number of 0 or more"),
        ("request_timeout_s", 0.0, "must be a number of seconds above 0"),
    ],
)
def test_its_keys_are_those_of_a_cluster(key: str, value: Any, allowed: str) -> None:
    with pytest.raises(ConfigError, match=f"cluster.{key}=.*: {allowed}"):
        InProcessCluster(**{key: value})


SLOW = [pytest.param(engine, marks=pytest.mark.slow) for engine in ("embedded", "openai")]


@pytest.mark.parametrize("engine", ["fake", *SLOW])
def test_a_run_imports_no_ray(engine: str, tmp_path: Path) -> None:
    server = Scripted()
    server.replies = [said("1+1=2\n", eos=True)]
    tokenizer = "engine.tokenizer=actors/embedded/weights/chain-policy"
    keys = {
        "fake": fake_conf(tmp_path / "conf"),
        "embedded": ["cluster=inprocess", "budget=2", "task.limit=1"],
        "openai": ["cluster=inprocess", "engine=openai", "engine.model=m", tokenizer, "task.limit=2",
                   f"engine.base_url={server.url}", "strategy=greedy", "verifier=none"],
    }  # fmt: skip
    program = (
        "import sys\n"
        "from orchestrator.runs.main import main\n"
        f"assert main({[*keys[engine], f'run_dir={tmp_path}/run']}) == 0\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'ray'])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    server.close()
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "[]"
