"""Kill drills: whatever dies, and however often, a run ends as if nothing had happened.

Real processes on a real two-node Ray. Each drill strikes at a moment drawn from its seed, nearly always while
problems are half solved; then answers, candidates, history and usage are compared with an undisturbed run.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from actors.pool.cluster import living_nodes, start_ray, stop_ray
from actors.pool.placement import ClusterConfig
from actors.pool.pool import Pool
from orchestrator.observe.events import EVENTS, recorded
from orchestrator.outcome import ProblemResult
from orchestrator.runs.execution import Status
from orchestrator.storage.result_lines import result_line
from orchestrator.testing import FakeEngine, FakeVerifier
from tests import drills
from tests.drills import CLUSTER, Tripwire, Trouble, controller_of, lines_of, moments, results_of

pytestmark = pytest.mark.heavy

REPOSITORY = Path(__file__).parents[1]
MANY = 3
"""Drills for each fault, the last of which strikes twice; tests/simulation draws thousands."""


def seeds(num: int) -> list[Any]:
    """The last one runs by default, the others with the slow tests."""
    return [pytest.param(s, marks=[] if s == num - 1 else [pytest.mark.slow]) for s in range(num)]


def num_strikes(seed: int) -> int:
    return 2 if seed % 3 == 2 else 1


class Stage:
    """A cluster of this test's own: a head, and a node that can be lost."""

    def __init__(self) -> None:
        # A lost node refuses the connection at once: five times, which are 15 s by default.
        often = {"health_check_period_ms": 500}
        head = {"num_cpus": 2, "_system_config": often, **SMALL}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = [self.cluster.add_node(num_cpus=2, **SMALL)]

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def lose_node(self, holding: Collection[str] = ()) -> bool:
        """As when a machine is switched off: one of those ``holding`` replicas, and whether there was one."""
        node = next((n for n in self.nodes if n.node_id in holding), self.nodes[-1])
        self.nodes.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)
        return node.node_id in holding

    def add_node(self) -> str:
        """Its id."""
        self.nodes.append(self.cluster.add_node(num_cpus=2, **SMALL))
        return str(self.nodes[-1].node_id)

    def settle(self) -> None:
        """Waits until Ray has heard of every loss: it plans with nodes that are dead until then."""
        there = {self.cluster.head_node.node_id, *(n.node_id for n in self.nodes)}
        while living_nodes().keys() != there:
            time.sleep(0.1)


SMALL = {"object_store_memory": 80 * 2**20, "include_dashboard": False}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    stop_ray()  # other tests' Ray, if there is one
    stage = Stage()
    start_ray(ClusterConfig(address=stage.address))
    yield stage
    stop_ray()
    stage.cluster.shutdown()


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, ProblemResult]:
    """Nothing but the fakes, in this process."""
    return asyncio.run(results_of(controller_of(FakeEngine(), FakeVerifier())))


@pytest.fixture(scope="module")
def undisturbed_lines(undisturbed: dict[str, ProblemResult]) -> drills.Lines:
    lines = (json.loads(json.dumps(result_line(r))) for r in undisturbed.values())
    return {x["problem_id"]: {k: v for k, v in x.items() if k not in ("seconds", "overhead")} for x in lines}


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def pool(stage: Stage, runner: asyncio.Runner) -> Iterator[Pool]:
    pool = runner.run(Pool.start(CLUSTER, drills.slow_engine, FakeVerifier))
    yield pool
    runner.run(pool.close())


@pytest.fixture(scope="module")
def trouble(tmp_path_factory: pytest.TempPathFactory) -> Trouble:
    return Trouble(tmp_path_factory.mktemp("trouble"))


@pytest.fixture(scope="module")
def troubled_pool(stage: Stage, runner: asyncio.Runner, trouble: Trouble) -> Iterator[Pool]:
    pool = runner.run(Pool.start(CLUSTER, partial(drills.TroubledEngine, trouble.folder), FakeVerifier))
    yield pool
    runner.run(pool.close())


async def drill(pool: Pool, calls: list[int], strike: Callable[[], None]) -> dict[str, ProblemResult]:
    """A run that is struck at these calls, or as soon after them as a problem is half solved."""
    results: dict[str, ProblemResult] = {}
    engine = Tripwire(
        pool.engine, dict.fromkeys(calls, strike), lambda: bool(engine.answered - results.keys())
    )
    await results_of(controller_of(engine, pool.verifier), results)
    assert not engine.events
    return results


@pytest.mark.parametrize("seed", seeds(MANY))
def test_replicas_are_killed(
    seed: int, pool: Pool, runner: asyncio.Runner, undisturbed: dict[str, ProblemResult]
) -> None:
    rng = random.Random(seed)

    def kill() -> None:
        """One that lives: the pool may not have heard yet of who died a moment ago."""
        pids = list(pool.pids().values())
        rng.shuffle(pids)
        assert any(map(killed, pids))

    assert runner.run(drill(pool, moments(seed, num_strikes(seed)), kill)) == undisturbed


def killed(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(MANY))
def test_nodes_are_lost(
    seed: int, stage: Stage, runner: asyncio.Runner, undisturbed: dict[str, ProblemResult]
) -> None:
    """With a replica on it where a node has one, whose problems go on elsewhere."""

    async def lose() -> dict[str, ProblemResult]:
        hits: list[bool] = []
        async with await Pool.start(CLUSTER, drills.slow_engine, FakeVerifier) as pool:
            strikes = moments(seed, num_strikes(seed))
            results = await drill(
                pool, strikes, lambda: hits.append(stage.lose_node(set(pool.node_ids().values())))
            )
            assert hits[0]  # an idle replica's death may be heard of after the last problem, or never
            return results

    while len(stage.nodes) < num_strikes(seed):
        stage.add_node()
    stage.settle()
    assert runner.run(lose()) == undisturbed
    stage.add_node()


def a_problem(seed: int) -> tuple[str, int]:
    """The question of one, and how many tokens of it are to be written before something happens."""
    rng = random.Random(seed)
    return rng.choice(list(drills.TASK.problems(0, None))).question, 2 * rng.randint(0, 3)


def execute(run_dir: Path, pool: Pool, runner: asyncio.Runner) -> Status:
    with recorded(run_dir, "info"):
        return drills.run_of(run_dir, pool, pool.engine).execute({}, runner)


def events_of(run_dir: Path, event: str) -> list[dict[str, Any]]:
    lines = map(json.loads, (run_dir / EVENTS).read_text().splitlines())
    return [line for line in lines if line["event"] == event]


@pytest.mark.parametrize("seed", seeds(MANY))
def test_replicas_run_out_of_memory(
    seed: int, trouble: Trouble, troubled_pool: Pool, runner: asyncio.Runner, tmp_path: Path,
    undisturbed_lines: drills.Lines,
) -> None:  # fmt: skip
    """It is a death like any other: the replica is replaced, and its requests are asked again."""
    before = troubled_pool.stats()["engine"]
    trouble.arm(*a_problem(seed), how="memory", times=num_strikes(seed))
    try:
        assert execute(tmp_path, troubled_pool, runner) is Status.FINISHED
        assert trouble.num_strikes == num_strikes(seed)
    finally:
        trouble.disarm()
    assert lines_of(tmp_path) == undisturbed_lines
    after = troubled_pool.stats()["engine"]
    assert after.deaths - before.deaths >= 1 and after.retried_rows > before.retried_rows
    assert after.failed_rows == before.failed_rows
    assert events_of(tmp_path, "replica_died") and events_of(tmp_path, "request_retried")


@pytest.mark.parametrize("seed", seeds(MANY))
def test_a_request_that_always_kills_its_replica_fails_its_problem_alone(
    seed: int, trouble: Trouble, troubled_pool: Pool, runner: asyncio.Runner, tmp_path: Path,
    undisturbed_lines: drills.Lines,
) -> None:  # fmt: skip
    """By exiting or by using all memory. When the poison is gone, the problem goes on from there."""
    question, length = a_problem(seed)
    trouble.arm(question, length, how="memory" if seed % 3 == 1 else "exit")
    try:
        assert execute(tmp_path, troubled_pool, runner) is Status.SOME_ERRORS
    finally:
        trouble.disarm()
    lines = lines_of(tmp_path)
    poisoned = {k for k, line in lines.items() if line["error"] is not None}
    assert [lines[k]["question"] for k in poisoned] == [question]  # one request of one problem
    assert {lines[k]["error"]["type"] for k in poisoned} == {"EngineError"}
    assert "ReplicaDeath" in lines[min(poisoned)]["error"]["message"]
    healthy = undisturbed_lines.keys() - poisoned
    assert {k: lines[k] for k in healthy} == {k: undisturbed_lines[k] for k in healthy}
    assert {e["problem"] for e in events_of(tmp_path, "request_poisoned")} == poisoned
    assert execute(tmp_path, troubled_pool, runner) is Status.FINISHED
    assert lines_of(tmp_path) == undisturbed_lines
    again = events_of(tmp_path, "problem_started")[drills.NUM_PROBLEMS :]
    assert {e["problem"] for e in again} == poisoned
    assert all((e["recorded_calls"] > 0) == (length > 0) for e in again)


def controller(run_dir: Path, stage: Stage, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.drills", str(run_dir), stage.address],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=100, check=False, env=os.environ | environ,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(MANY))
def test_controllers_are_killed(
    seed: int, stage: Stage, tmp_path: Path, undisturbed_lines: drills.Lines
) -> None:
    """With -9, at any instruction; the next one goes on, and is killed as well every third time."""
    rng = random.Random(seed)
    for call in moments(seed, num_strikes(seed)):
        at = max(1, call // num_strikes(seed))  # the next one makes those calls that are left
        killed = controller(
            tmp_path, stage, **{drills.KILL_AT: str(at), drills.KILL_AFTER_S: f"{rng.uniform(0, 0.03)}"}
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert drills.mid_problem(tmp_path)
    kept = answered_calls(tmp_path)
    ended = controller(tmp_path, stage)
    assert ended.returncode == 0, ended.stderr
    assert lines_of(tmp_path) == undisturbed_lines
    assert not (tmp_path / "journal").exists()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["complete"] is True and summary["num_problems"] == drills.NUM_PROBLEMS
    # What was answered was not asked again.
    asked = Counter(json.loads(ended.stdout)["asked"])
    for problem_id, num_rows in kept.items():
        assert asked[problem_id] + num_rows == num_rows_of(undisturbed_lines[problem_id])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130)],
)
def test_a_preempted_controller_leaves_what_it_has(
    number: int, status: int, stage: Stage, tmp_path: Path, undisturbed_lines: drills.Lines
) -> None:
    """A notice and not a blow: it says how to go on, and its summary is of the problems that are done."""
    (call,) = moments(7)
    stopped = controller(tmp_path, stage, **{drills.KILL_AT: str(call), drills.KILL_WITH: str(int(number))})
    assert stopped.returncode == status, stopped.stderr
    assert "resume=" in stopped.stderr
    assert drills.mid_problem(tmp_path)
    done = lines_of(tmp_path)
    assert done.items() <= undisturbed_lines.items()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["complete"] is False and summary["num_problems"] == len(done)
    assert controller(tmp_path, stage).returncode == 0
    assert lines_of(tmp_path) == undisturbed_lines


@pytest.mark.parametrize("num_replicas", [1, 4])
def test_replicas_and_arrival_change_nothing(
    num_replicas: int, stage: Stage, runner: asyncio.Runner, undisturbed: dict[str, ProblemResult]
) -> None:
    """Two are in the drills; latencies, and so the order of arrival, differ from process to process."""

    async def solve() -> dict[str, ProblemResult]:
        config = replace(CLUSTER, engine_replicas=num_replicas, verifier_replicas=num_replicas)
        async with await Pool.start(config, drills.slow_engine, FakeVerifier) as pool:
            return await results_of(controller_of(pool.engine, pool.verifier))

    assert runner.run(solve()) == undisturbed


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_replicas_join_and_leave_with_their_nodes(
    stage: Stage, runner: asyncio.Runner, undisturbed: dict[str, ProblemResult]
) -> None:
    """A core each: two replicas are asked for, more join as long as there are cores; then a node goes."""
    config = replace(CLUSTER, engine_replicas=2, max_engine_replicas=99, cpus_per_replica=1)

    async def until(true: Callable[[], bool]) -> None:
        while not true():
            await asyncio.sleep(0.05)

    async def scale() -> None:
        async with await Pool.start(config, drills.slow_engine) as pool, asyncio.timeout(300):
            solving = asyncio.create_task(results_of(controller_of(pool.engine, FakeVerifier())))
            await until(lambda: len(pool.pids()) >= 3)
            joined = stage.add_node()  # in this thread: Ray sets signal handlers
            await until(lambda: joined in pool.node_ids().values())
            assert await solving == undisturbed
            solving = asyncio.create_task(results_of(controller_of(pool.engine, FakeVerifier())))
            assert stage.lose_node({joined})
            await until(lambda: joined not in pool.node_ids().values())
            assert await solving == undisturbed

    stage.add_node()  # other pools' replicas have a part of a core of those that are there
    runner.run(scale())


@pytest.fixture(scope="module")
def undisturbed_grants() -> dict[str, ProblemResult]:
    """Samples that are granted across problems, by the fakes alone."""
    return asyncio.run(results_of(controller_of(FakeEngine(), FakeVerifier(), **drills.GRANTING)))


@pytest.mark.slow
def test_grants_survive_the_death_of_replicas(
    pool: Pool, runner: asyncio.Runner, undisturbed_grants: dict[str, ProblemResult]
) -> None:
    """In the first round of a block, and in later ones."""

    async def struck() -> dict[str, ProblemResult]:
        strikes = dict.fromkeys((10, 40, 70), lambda: killed(next(iter(pool.pids().values()))))
        engine = Tripwire(pool.engine, strikes)
        results = await results_of(controller_of(engine, pool.verifier, **drills.GRANTING))
        assert not engine.events
        return results

    before = pool.stats()["engine"].deaths
    assert runner.run(struck()) == undisturbed_grants
    assert pool.stats()["engine"].deaths > before


@pytest.mark.slow
def test_a_controller_is_killed_in_the_middle_of_a_round(
    stage: Stage, tmp_path: Path, undisturbed_grants: dict[str, ProblemResult]
) -> None:
    """With -9, twice: grants that were made stay, and the others are those that would have been made."""
    grants, lines = {drills.GRANTS: "1"}, map(result_line, undisturbed_grants.values())
    for call in (45, 25):
        ended = controller(tmp_path, stage, **{drills.KILL_AT: str(call)}, **grants)
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        kept = [path.read_text() for path in (tmp_path / "journal").glob("*.jsonl")]
        assert any('"granted' in text for text in kept)
    kept_calls = answered_calls(tmp_path)
    ended = controller(tmp_path, stage, **grants)
    assert ended.returncode == 0, ended.stderr
    expected = {x["problem_id"]: x for x in json.loads(json.dumps(list(lines)))}
    found = lines_of(tmp_path)
    assert found == {i: {k: x[k] for k in found[i]} for i, x in expected.items()}
    asked = Counter(json.loads(ended.stdout)["asked"])
    for problem_id, num_rows in kept_calls.items():
        assert asked[problem_id] + num_rows == len(expected[problem_id]["candidates"])
    assert not (tmp_path / "journal").exists()


def answered_calls(run_dir: Path) -> dict[str, int]:
    """Rows of the policy that the journals of unfinished problems hold."""
    kept: dict[str, int] = {}
    for path in (run_dir / "journal").glob("*.jsonl"):
        records = [json.loads(line) for line in path.read_bytes().splitlines()]
        kept[path.stem] = sum(len(r["replies"]) for r in records if "generate" in r["call"])
    return kept


def num_rows_of(line: dict[str, Any]) -> int:
    """Rows that the policy was asked for: the fake verifier rewards each step once."""
    return int(line["usage"]["reward_calls"])
