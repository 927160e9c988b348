"""A signal lets come back what is in flight, for a while; the rest goes on later as if nothing had been."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.observe.events import EVENTS, recorded
from orchestrator.outcome import ProblemResult
from orchestrator.protocols import GenerateRequest
from orchestrator.runs.stopping import stopped_by_signals, unless_stopped
from orchestrator.search.controller import Controller
from orchestrator.search.gate import Gate
from orchestrator.search.strategy import Strategy
from orchestrator.storage.journal import Journals
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier
from orchestrator.types import Sampling
from strategies.particle_filter import ParticleFilter
from strategies.self_consistency import SelfConsistency

TASK = FakeTask(num_problems=12)
STRATEGY = ParticleFilter(num_particles=4, max_steps=8, sampling=Sampling(max_tokens=16))
HANDLERS = {signal.SIGTERM: signal.SIG_DFL, signal.SIGUSR1: signal.SIG_DFL}


class SlowEngine(FakeEngine):
    """Every call takes ``seconds``; ``at`` calls things at the beginning of certain calls."""

    def __init__(self, seconds: float, at: dict[int, Callable[[], Any]]) -> None:
        super().__init__()
        self.seconds, self.at, self.num_begun, self.num_ended = seconds, at, 0, 0

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Any]:
        self.num_begun += 1
        self.at.get(self.num_begun, lambda: None)()
        await asyncio.sleep(self.seconds)
        self.num_ended += 1
        return await super().generate(requests)


def notice() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


async def solve(
    run_dir: Path, engine: FakeEngine, grace_s: float = 0.0, strategy: Strategy = STRATEGY
) -> tuple[dict[str, ProblemResult], list[signal.Signals], bool]:
    """What came of it, the signals that were caught, and whether it was cut off."""
    results: dict[str, ProblemResult] = {}
    journals = Journals(run_dir)

    def on_result(result: ProblemResult) -> None:
        results[result.problem.id] = result
        journals.done(result.problem.id)

    controller = Controller(
        strategy=strategy, engine=engine, verifier=FakeVerifier(), task=TASK, concurrency=4, journals=journals
    )
    work = asyncio.ensure_future(controller.run(TASK.problems(0, None), on_result))
    with stopped_by_signals(work, controller.gate, grace_s, HANDLERS) as caught:
        await asyncio.wait([work])
    journals.close()
    if not work.cancelled():
        await work
    return results, caught, work.cancelled()


@pytest.fixture(autouse=True)
def handlers_as_before() -> Any:
    before = {number: signal.getsignal(number) for number in HANDLERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def solutions(results: dict[str, ProblemResult]) -> dict[str, Any]:
    return {k: (r.candidates, r.usage, r.error) for k, r in results.items()}


async def test_replies_in_flight_are_kept_and_nothing_new_is_asked(tmp_path: Path) -> None:
    whole, _, cut = await solve(tmp_path / "whole", FakeEngine())
    assert len(whole) == 12 and not cut
    engine = SlowEngine(0.05, {10: notice})
    begun = time.monotonic()
    done, caught, cut = await solve(tmp_path / "cut", engine, grace_s=20.0)
    assert caught == [signal.SIGTERM] and cut
    assert time.monotonic() - begun < 15  # as soon as nothing is in flight, not when the time is up
    assert engine.num_ended == engine.num_begun < 15  # concurrency 4: those beside the tenth
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    journals = [*(tmp_path / "cut" / "journal").glob("*.jsonl")]
    assert journals
    again = SlowEngine(0.0, {})
    rest, _, cut = await solve(tmp_path / "cut", again)
    assert not cut
    assert solutions(rest) == solutions(whole)  # the finished ones are solved anew: nobody skips them here
    # A call that came back in the grace is in a journal: what the unfinished asked is not asked again.
    unfinished = whole.keys() - done.keys()
    asked = [r.home for r in engine.requests if r.home in unfinished]
    asked_again = [r.home for r in again.requests if r.home in unfinished]
    assert len(asked) + len(asked_again) == sum(whole[k].usage.reward_calls for k in unfinished)


async def test_the_grace_is_bounded(tmp_path: Path) -> None:
    begun = time.monotonic()
    engine = SlowEngine(60.0, {3: notice})
    _, caught, cut = await solve(tmp_path, engine, grace_s=0.3)
    assert caught and cut and engine.num_ended == 0
    assert 0.3 <= time.monotonic() - begun < 20


async def test_a_second_signal_cuts_it_short(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    engine = SlowEngine(60.0, {3: notice})
    loop.call_later(0.5, os.kill, os.getpid(), signal.SIGUSR1)
    _, caught, cut = await solve(tmp_path, engine, grace_s=60.0)
    assert caught == [signal.SIGTERM, signal.SIGUSR1] and cut


async def test_without_grace_it_stops_at_once(tmp_path: Path) -> None:
    engine = SlowEngine(60.0, {3: notice})
    _, _, cut = await solve(tmp_path, engine)
    assert cut and engine.num_ended == 0


@pytest.mark.parametrize(("at", "cut_off"), [(6, True), (12, False)])
async def test_problems_that_need_nothing_more_end_in_the_grace(
    at: int, cut_off: bool, tmp_path: Path
) -> None:
    """One call each: those in flight end, none is begun; and after the last one the run is finished."""
    engine = SlowEngine(0.05, {at: notice})
    done, caught, cut = await solve(tmp_path, engine, 20.0, SelfConsistency(4, Sampling(max_tokens=64)))
    assert caught and cut is cut_off
    assert len(done) == engine.num_begun >= at
    assert {r.error for r in done.values()} == {None}


async def test_a_terminal_that_is_gone_stops_no_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``2>&1 | tee`` has died of the same Ctrl-C: nobody reads what a signal has to tell."""

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stderr", Gone())
    engine = SlowEngine(0.05, {10: notice})
    with recorded(tmp_path, "info"):
        _, caught, cut = await solve(tmp_path, engine, grace_s=20.0)
    assert caught and cut and engine.num_ended == engine.num_begun < 15
    assert '"event":"preemption"' in (tmp_path / EVENTS).read_text().replace(" ", "")


async def test_a_gate_drains_when_all_that_is_left_waits_at_it() -> None:
    gate = Gate()
    reply = asyncio.get_running_loop().create_future()

    async def answer(requests: Sequence[GenerateRequest]) -> list[int]:
        return [await reply]

    requests = [GenerateRequest("a", "q", "", (), Sampling(), 0, "\n", None)]
    with gate.problem("a"):
        first = asyncio.ensure_future(gate.ask(answer, requests))
        await asyncio.sleep(0)
        gate.close()
        drained = asyncio.ensure_future(gate.drained())
        await asyncio.sleep(0.01)
        assert not drained.done()  # one is in flight
        reply.set_result(1)
        assert await first == [1]
        await asyncio.sleep(0.01)
        assert not drained.done()  # the problem may be at work on what it got
        second = asyncio.ensure_future(gate.ask(answer, requests))
        await asyncio.wait_for(drained, 5)
        assert not second.done()
        second.cancel()
    begin = asyncio.ensure_future(gate.begin())
    await asyncio.sleep(0.01)
    assert not begin.done()
    begin.cancel()


@pytest.mark.heavy
def test_a_signal_whose_exception_is_lost_comes_again() -> None:
    """What runs at a fork ignores exceptions, also that of a signal which comes in the midst of it."""
    code = """
import os, signal, time
from orchestrator.runs.execution import heed_signals
heed_signals()
lost = [os.kill]
os.register_at_fork(after_in_parent=lambda: lost.pop()(os.getpid(), signal.SIGTERM) if lost else None)
if os.fork() == 0:
    os._exit(0)
time.sleep(20)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, timeout=60, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (143, "")


def test_ctrl_c_lets_the_work_clean_up_before_it_returns() -> None:
    """``asyncio.Runner`` cancels what it runs: the replicas must be gone before their Ray is."""
    order: list[str] = []

    async def loading() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0)
            order.append("replicas")

    with asyncio.Runner() as runner:
        with pytest.raises(KeyboardInterrupt):
            runner.run(unless_stopped(loading(), [signal.SIGTERM]))
        order.append("ray")
    assert order == ["replicas", "ray"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_while_models_load_ends_in_one_line(
    number: signal.Signals, tmp_path: Path
) -> None:
    """As a terminal's Ctrl-C and ``timeout`` send it: to the processes of Ray as well."""
    process = subprocess.Popen(
        [sys.executable, "run.py", "task.limit=3", f"run_dir={tmp_path}"],
        cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    events = tmp_path / EVENTS
    while not (events.exists() and "replica_started" in events.read_text()):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, number)
    begun = time.monotonic()
    output, _ = process.communicate(timeout=60)
    seconds = time.monotonic() - begun
    what, status = ("interrupted", 130) if number == signal.SIGINT else ("terminated", 143)
    assert (output.strip(), process.returncode) == (f"error: {what}", status)
    assert seconds < 20  # about 3 on an idle machine
