"""The pool on a real Ray: the same replies as in-process, whatever happens to the replicas."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
import ray
from ray.exceptions import RayActorError

from actors.pool.placement import ClusterConfig
from actors.pool.pool import Pool
from orchestrator.errors import ConfigError, EngineError
from orchestrator.protocols import Completion, Failure, GenerateRequest, LoglikRequest, ScoreRequest
from orchestrator.testing import FakeVerifier
from orchestrator.types import Overhead, Sampling
from tests.actors.troubled import TroubledEngine, die, engine, load_slowly, refuse, refuse_configuration

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("local_ray")]

QUICK = ClusterConfig(engine_replicas=2, max_attempts=2, request_timeout_s=60, start_timeout_s=60)


def request(question: str, seed: int = 0, home: str | None = None) -> GenerateRequest:
    return GenerateRequest(
        home or f"home of {question}", question, "", (), Sampling(1.0, 1.0, 32), seed, "\n", None, to_end=True
    )


def siblings(question: str, num: int = 4) -> list[GenerateRequest]:
    return [request(question, seed) for seed in range(num)]


async def in_process(requests: list[GenerateRequest]) -> list[Completion | Failure]:
    return await engine().generate(requests)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("troubles")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(local_ray: None, folder: Path) -> AsyncIterator[Pool]:
    """Two engines and a verifier, which the tests of this file hand on to one another, dead or alive."""
    async with await Pool.start(QUICK, partial(TroubledEngine, folder), FakeVerifier) as started:
        yield started


async def until(true: Callable[[], bool], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.02)


async def test_replies_are_those_of_the_engine_itself(pool: Pool) -> None:
    calls = [siblings(f"problem {i}") for i in range(20)]
    replies = await asyncio.gather(*map(pool.engine.generate, calls))
    assert replies == [await in_process(call) for call in calls]
    scores = [ScoreRequest("p", "abc", ("a\n", "c\n"), num_locked) for num_locked in (0, 1)]
    assert pool.verifier is not None
    assert await pool.verifier.score(scores) == await FakeVerifier().score(scores)
    loglik = [LoglikRequest("p", "abc", "", (), ((97, 10), (98, 10)))]
    assert await pool.engine.loglik(loglik) == await engine().loglik(loglik)
    assert await pool.engine.generate([]) == []


async def test_rows_of_several_problems_come_back_in_order(pool: Pool) -> None:
    mixed = [request(f"problem {i % 3}", i) for i in range(12)]
    assert await pool.engine.generate(mixed) == await in_process(mixed)


async def test_it_tells_what_its_replicas_are(pool: Pool) -> None:
    assert pool.engine.info.batch_invariant
    assert pool.verifier is not None
    assert pool.verifier.info.readout == "per_step"
    assert pool.replicas == {"engine": 2, "verifier": 1}
    pids = pool.pids()
    assert set(pids) == {"engine-0", "engine-1", "verifier-0"}
    assert len({*pids.values(), os.getpid()}) == 4


async def test_a_problem_stays_at_its_home(pool: Pool) -> None:
    before = pool.used()
    for seed in range(5):
        await pool.engine.generate([request("at home", seed)])
    routing = (pool.used() - before).routing
    assert routing["verifier"].summary()["home_hit_rate"] is None
    assert routing["engine"].summary()["home_hit_rate"] == 1.0
    assert (routing["engine"].calls, routing["engine"].home_hits, routing["engine"].spills) == (5, 5, 0)


async def test_a_call_that_raises_once_is_asked_again(pool: Pool) -> None:
    call = [*siblings("same"), request("raise-once first", home="home of same")]
    assert await pool.engine.generate(call) == await in_process(call)


async def test_only_the_request_that_always_raises_fails(pool: Pool) -> None:
    call = [request("fine", 1, "h"), request("raise this", 2, "h"), request("fine", 3, "h")]
    replies = await pool.engine.generate(call)
    expected = await in_process(call)
    assert replies == [expected[0], Failure("RuntimeError", "cannot do this"), expected[2]]


async def test_a_death_in_mid_request_changes_no_reply(pool: Pool) -> None:
    """Twice: the second time the replica that died is back."""
    for round in range(2):
        calls = [siblings(f"slow {round} {i}") for i in range(6)]
        asked = [asyncio.create_task(pool.engine.generate(call)) for call in calls]
        await asyncio.sleep(0.15)
        os.kill(pool.pids()["engine-0"], signal.SIGKILL)
        assert await asyncio.gather(*asked) == [await in_process(call) for call in calls]
        await until(lambda: "engine-0" in pool.pids())


async def test_a_poison_request_fails_alone(pool: Pool, folder: Path) -> None:
    """It kills what it meets; those in flight beside it, of its own problem and of others, do not fail."""
    before = pool.stats()["engine"]
    family = [*siblings("sister", 2), request("exit poison", 9, home="home of sister")]
    others = [siblings(f"slow other {i}", 2) for i in range(4)]
    replies = await asyncio.gather(*map(pool.engine.generate, [family, *others]))
    assert replies[1:] == [await in_process(call) for call in others]
    assert replies[0][:2] == (await in_process(family))[:2]
    assert isinstance(replies[0][2], Failure)
    assert replies[0][2].type == "ReplicaDeath"
    assert pool.stats()["engine"].failed_rows - before.failed_rows == 1
    # In its call; perhaps beside others; and twice (max_attempts) with nobody else.
    assert 3 <= len((folder / "deaths").read_text().split()) <= 4


@pytest.mark.parametrize("trouble", ["dead-once", "sick-once"])
async def test_a_dead_engine_takes_its_process_along(pool: Pool, trouble: str) -> None:
    await until(lambda: len(pool.pids()) == 3)
    before = set(pool.pids().values())
    call = siblings(f"{trouble} {trouble}")
    assert await pool.engine.generate(call) == await in_process(call)
    await until(lambda: len(pool.pids()) == 3)
    assert len(before - set(pool.pids().values())) == 1


async def test_cancellation_reaches_the_engine(pool: Pool, folder: Path) -> None:
    asked = asyncio.create_task(pool.engine.generate([request("wait call")]))
    await until((folder / "call-begun").exists)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await until((folder / "call-cancelled").exists)


async def test_a_killed_actor_that_ray_does_not_restart_is_replaced(pool: Pool) -> None:
    await until(lambda: len(pool.pids()) == 3)
    member = pool.engine.fleet._members["engine-1"]
    ray.kill(member._actor.handle)
    calls = [siblings(f"slow late {i}") for i in range(4)]
    assert await asyncio.gather(*map(pool.engine.generate, calls)) == [await in_process(c) for c in calls]
    await until(lambda: "engine-1" in pool.pids())


async def test_a_death_that_nobody_saw_is_found_at_the_next_call() -> None:
    """Ray has an idle replica's process back before anybody asks it: it has no engine yet."""
    call = siblings("after a quiet death")
    async with await Pool.start(ClusterConfig(max_attempts=1), engine) as quiet:
        (pid,) = quiet.pids().values()
        handle = quiet.engine.fleet.members["engine-0"]._actor.handle  # type: ignore[attr-defined]
        os.kill(pid, 9)
        while True:
            with suppress(RayActorError):
                await handle.pulse.remote()
                break
            await asyncio.sleep(0.02)
        assert await quiet.engine.generate(call) == await in_process(call)
        assert list(quiet.pids()) == ["engine-0"] and pid not in quiet.pids().values()
        assert quiet.stats()["engine"].failed_rows == 0


async def test_a_death_between_two_calls_counts_against_neither() -> None:
    """The second comes while Ray knows of the death, and before there is another process."""
    call = [request("after a death in between")]
    async with await Pool.start(ClusterConfig(max_attempts=1), engine) as quiet:
        (pid,) = quiet.pids().values()
        handle = quiet.engine.fleet.members["engine-0"]._actor.handle  # type: ignore[attr-defined]
        os.kill(pid, 9)
        with pytest.raises(RayActorError):
            await handle.pulse.remote()
        assert await quiet.engine.generate(call) == await in_process(call)
        assert quiet.stats()["engine"].failed_rows == 0


async def test_a_replica_that_was_thought_dead_goes_on(tmp_path: Path) -> None:
    """As when its connection breaks: what it was at is finished there, and nothing of it is lost."""
    async with await Pool.start(ClusterConfig(), partial(TroubledEngine, tmp_path)) as single:
        member = single.engine.fleet._members["engine-0"]
        before, life = single.pids(), member.life
        assert life is not None
        call = [request("work on")]
        asked = asyncio.create_task(single.engine.generate(call))
        await until(lambda: life.num_rows == 1)
        member._bury(life, "the connection broke")
        assert not single.pids()
        await until(lambda: single.pids() == before)
        assert member.life is life and single.engine.fleet.num_rows == 1
        assert await asked == await in_process(call)
        assert single.engine.fleet.num_rows == 0 and single.overhead.retried_tokens == 0


async def test_one_replica_gives_the_same_as_two(folder: Path) -> None:
    """And holds no more rows at once than it may."""
    config = ClusterConfig(max_in_flight=8)
    calls = [siblings(f"problem {i}", 1 + i % 5) for i in range(20)]
    async with await Pool.start(config, partial(TroubledEngine, folder)) as alone:
        assert alone.verifier is None
        assert alone.replicas == {"engine": 1, "verifier": 0}
        asked = asyncio.gather(*map(alone.engine.generate, calls))
        most = 0
        while not asked.done():
            await asyncio.sleep(0)
            most = max(most, alone.engine.fleet.num_rows)
        replies = await asked
        assert 4 < most <= 8
        assert alone.engine.fleet.num_rows == 0
    assert replies == [await in_process(call) for call in calls]


@pytest.mark.parametrize("trouble", ["hang-once", "block-once"])
async def test_a_hang_is_cut_and_a_long_batch_is_not(tmp_path: Path, trouble: str) -> None:
    config = ClusterConfig(request_timeout_s=1.0)
    async with await Pool.start(config, partial(TroubledEngine, tmp_path)) as single:
        long = [request("work long")]
        assert await single.engine.generate(long) == await in_process(long)
        assert single.stats()["engine"].deaths == 0
        call = siblings(f"{trouble} now", 2)
        assert await single.engine.generate(call) == await in_process(call)
        assert single.stats()["engine"].deaths == 1


async def test_a_row_that_hangs_among_others_is_cut_alone(tmp_path: Path) -> None:
    """The replica goes on, so its silence does not tell; and nothing of what it does is lost."""
    config = ClusterConfig(request_timeout_s=1.0, max_attempts=2)
    async with await Pool.start(config, partial(TroubledEngine, tmp_path)) as single:
        hung = [request("hang-once row")]
        asked, i = asyncio.create_task(single.engine.generate(hung)), 0
        while not asked.done():
            call = siblings(f"busy {i}")
            assert await single.engine.generate(call) == await in_process(call)
            i += 1
        assert await asked == await in_process(hung)
        stats = single.stats()["engine"]
        assert (stats.deaths, stats.retried_rows) == (0, 1)


async def test_tokens_of_a_cancelled_call_are_overhead(tmp_path: Path) -> None:
    """As when a time limit strikes: they were made, and nobody got them."""
    async with await Pool.start(ClusterConfig(), partial(TroubledEngine, tmp_path)) as single:
        asked = asyncio.create_task(single.engine.generate([request("work cancelled")]))
        await asyncio.sleep(1.0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert 0 < single.overhead.speculated_tokens <= 12
        assert await single.engine.release("home of work cancelled") == single.overhead
        assert await single.engine.release("home of work cancelled") == Overhead()
        assert await single.engine.generate([request("next")]) == await in_process([request("next")])
        assert single.overhead.retried_tokens == 0


async def test_tokens_that_were_lost_are_overhead(tmp_path: Path) -> None:
    async with await Pool.start(
        ClusterConfig(request_timeout_s=2.0), partial(TroubledEngine, tmp_path)
    ) as single:
        asked = asyncio.create_task(single.engine.generate([request("work lost")]))
        await asyncio.sleep(1.5)
        os.kill(single.pids()["engine-0"], signal.SIGKILL)
        await asked
        assert 0 < single.overhead.retried_tokens <= 20
        assert await single.engine.release("another") == Overhead()
        assert await single.engine.release("home of work lost") == single.overhead


async def test_a_close_lets_the_engine_close(tmp_path: Path) -> None:
    async with await Pool.start(ClusterConfig(), partial(TroubledEngine, tmp_path)) as single:
        pid = single.pids()["engine-0"]
    assert (tmp_path / f"closed-{pid}").exists()


async def test_a_close_leaves_nobody_waiting(tmp_path: Path) -> None:
    async with await Pool.start(ClusterConfig(), partial(TroubledEngine, tmp_path)) as single:
        asked = [asyncio.create_task(single.engine.generate([request(f"wait {i}")])) for i in range(2)]
        await until((tmp_path / "1-begun").exists)
    for (reply,) in await asyncio.wait_for(asyncio.gather(*asked), 10):
        assert reply == Failure("ReplicaDeath", "engine-0 is closed")


async def test_a_close_that_is_cut_off_leaves_no_process(tmp_path: Path) -> None:
    """The engine takes its time, and whoever waits for that is cancelled."""
    (tmp_path / "slow-close").touch()
    pool = await Pool.start(ClusterConfig(), partial(TroubledEngine, tmp_path))
    (pid,) = pool.pids().values()
    closing = asyncio.create_task(pool.close())
    await until((tmp_path / f"closed-{pid}").exists)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await until(lambda: not psutil.pid_exists(pid))


async def test_a_factory_that_refuses_stops_the_start() -> None:
    with pytest.raises(ConfigError, match=r"engine.model=/nonexistent: must be a folder"):
        await Pool.start(ClusterConfig(engine_replicas=2), refuse_configuration, FakeVerifier)
    with pytest.raises(EngineError, match="ValueError: no such weights"):
        await Pool.start(ClusterConfig(), refuse)
    with pytest.raises(EngineError, match=r"engine-0 died 2 times before it was ready"):
        await Pool.start(ClusterConfig(max_attempts=2), die)


async def test_a_start_does_not_wait_for_ever() -> None:
    began = time.monotonic()
    with pytest.raises(
        EngineError,
        match=r"engine-0 is not ready \(cluster.start_timeout_s=1\); it(s process is| has been)",
    ):
        await Pool.start(ClusterConfig(start_timeout_s=1), partial(load_slowly, 30))
    assert time.monotonic() - began < 20


async def test_what_does_not_fit_is_said_at_once() -> None:
    with pytest.raises(ConfigError, match="the cluster has 0 GPUs"):
        await Pool.start(ClusterConfig(gpus_per_replica=1), engine)


@pytest.mark.slow
async def test_an_idle_extra_replica_gives_its_core_back_and_comes_again(tmp_path: Path) -> None:
    """A core each: where it was, another program's actor finds room."""
    config = ClusterConfig(max_engine_replicas=2, cpus_per_replica=1, idle_s=0.5, max_in_flight=1)
    async with await Pool.start(config, partial(TroubledEngine, tmp_path)) as scaled:
        await until(lambda: len(scaled.pids()) == 2)
        extra = scaled.pids()["engine-1"]
        await until(lambda: set(scaled.pids()) == {"engine-0"})
        await until(lambda: ray.available_resources().get("CPU") == 1)  # type: ignore[no-untyped-call]
        assert (tmp_path / f"closed-{extra}").exists()
        calls = [siblings(f"slow {i}", 1) for i in range(30)]
        asked = asyncio.gather(*map(scaled.engine.generate, calls))
        await until(lambda: len(scaled.pids()) == 2)
        assert await asked == [await in_process(call) for call in calls]
        assert scaled.stats()["engine"].deaths == 0


async def test_extra_replicas_take_no_place_that_is_needed() -> None:
    """A core for the engine and one for its verifier, and none for engines that would be welcome."""
    config = ClusterConfig(max_engine_replicas=9, cpus_per_replica=1, start_timeout_s=30)
    async with await Pool.start(config, engine, FakeVerifier) as pool:
        assert set(pool.pids()) == {"engine-0", "verifier-0"}


async def test_four_replicas_run_on_two_cores() -> None:
    """Two of the engine, one of a further policy and one of the verifier."""
    config = ClusterConfig(engine_replicas=2)
    async with await Pool.start(config, engine, FakeVerifier, policies={"draft": engine}) as four:
        assert set(four.pids()) == {"engine-0", "engine-1", "draft-0", "verifier-0"}
        call = siblings("one of four")
        for policy in four.policies.values():
            assert await policy.generate(call) == await in_process(call)
        assert four.stats()["draft"].calls == 1
