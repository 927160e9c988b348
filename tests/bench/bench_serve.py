"""What the endpoint costs: ``python -m tests.bench.bench_serve``.

- Throughput: tokens a second of 64 requests at once through the endpoint, over those of a batch run on the
  same replicas and problems, in turn, pair by pair. The client is a process of its own.
- Latency: what one request at a time takes through the endpoint, less what ``Controller.solve`` takes on the
  same fakes; and the processor time of both, the client's included, which a busy machine does not change.
- Cancel: seconds from a client's disconnect until the engine has no row of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median, quantiles
from typing import Any

import httpx2
from rich.console import Console

from orchestrator.config.build import build_node
from orchestrator.search.controller import Controller
from orchestrator.serving.composing import composed
from orchestrator.testing.fakes import FakeEngine, FakeTask, FakeVerifier
from orchestrator.types import Problem
from tests.orchestrator.serving.served import Server, fake_served, running
from tests.orchestrator.serving.test_load_and_cancel import HeldEngine, until

CLIENT = """
import asyncio, json, sys, httpx2
url, at_once = sys.argv[1], int(sys.argv[2])
async def main():
    places = asyncio.Semaphore(at_once)
    async with httpx2.AsyncClient(base_url=url, timeout=600, trust_env=False) as client:
        async def one(body):
            async with places:
                reply = await client.post("/v1/chat/completions", json=body)
                return reply.json()["usage"]["completion_tokens"]
        print(sum(await asyncio.gather(*map(one, json.load(sys.stdin)))))
asyncio.run(main())
"""


def body_of(problem: Problem, budget: int) -> dict[str, Any]:
    search = {"budget": budget, "problem_id": problem.id}
    return {"messages": [{"role": "user", "content": problem.question}], "seed": 0, "search": search}


def through_the_endpoint(server: Server, problems: Sequence[Problem], budget: int, at_once: int) -> float:
    """Tokens a second."""
    bodies = json.dumps([body_of(problem, budget) for problem in problems])
    command = [sys.executable, "-c", CLIENT, server.url, str(at_once)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    time.sleep(2)  # its imports are no part of the figure
    begun = time.monotonic()
    out, _ = child.communicate(bodies)
    return int(out) / (time.monotonic() - begun)


def throughput(num_problems: int, budget: int, at_once: int, num_rounds: int = 4) -> tuple[float, float]:
    """The median ratio, and the tokens a second of the endpoint."""
    served, plan = composed(["cluster=inprocess", f"concurrency={at_once}"])
    problems = list(plan.task.problems(0, num_problems))

    async def in_a_run(server: Server) -> float:
        loaded, tokens = server.service.loaded, 0

        def count(result: Any) -> None:
            nonlocal tokens
            tokens += result.usage.generated_tokens

        strategy = build_node(served.offers.all["particle_filter"].node(budget), "strategy")
        run = Controller(strategy, loaded.engine, loaded.verifier, plan.task, concurrency=at_once)
        begun = time.monotonic()
        await run.run(problems, count)
        return tokens / (time.monotonic() - begun)

    with running(served, plan=plan) as server:
        ratios, speeds = [], []
        for i in range(num_rounds + 1):  # the first warms up
            batch = asyncio.run_coroutine_threadsafe(in_a_run(server), server.loop).result(600)
            speed = through_the_endpoint(server, problems, budget, at_once)
            if i:
                ratios.append(speed / batch)
                speeds.append(speed)
    return median(ratios), median(speeds)


def latency(num_requests: int) -> tuple[float, float, float]:
    """The added milliseconds at the median and the 99th percentile, and those of processor time."""
    problem = next(iter(FakeTask().problems(0, 1)))
    engine, verifier = FakeEngine(), FakeVerifier()
    direct, served = list[float](), list[float]()

    async def by_the_controller() -> None:
        strategy = build_node(fake_served().offers.all["particle_filter"].node(4), "strategy")
        controller = Controller(strategy, engine, verifier, FakeTask())
        for _ in range(num_requests):
            begun = time.perf_counter()
            await controller.solve(problem)
            direct.append(time.perf_counter() - begun)

    before = time.process_time()
    asyncio.run(by_the_controller())
    between = time.process_time()
    with running(engine=engine, verifier=verifier) as server, server.http() as client:
        for _ in range(num_requests):
            begun = time.perf_counter()
            client.post("/v1/chat/completions", json=body_of(problem, 4)).raise_for_status()
            served.append(time.perf_counter() - begun)
    both = time.process_time()
    added = [1000 * (s - median(direct)) for s in served[num_requests // 10 :]]
    busy = 1000 * ((both - between) - (between - before)) / num_requests
    return median(added), quantiles(added, n=100)[98], busy


def cancel(num_times: int) -> tuple[float, float]:
    """The median and the longest number of milliseconds."""
    engine, took = HeldEngine(), list[float]()
    with running(engine=engine) as server:
        problem = next(iter(FakeTask().problems(0, 1)))
        for _ in range(num_times):
            with httpx2.Client(base_url=server.url, timeout=60, trust_env=False) as client:
                body = {**body_of(problem, 4), "stream": True}
                with client.stream("POST", "/v1/chat/completions", json=body) as reply:
                    lines = reply.iter_lines()
                    next(lines)
                    until(lambda: engine.num_rows == 4)
                    begun = time.perf_counter()
            while engine.num_rows:
                time.sleep(0.0005)
            took.append(1000 * (time.perf_counter() - begun))
    return median(took), max(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=128)
    parser.add_argument("--budget", type=int, default=8)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--requests", type=int, default=500)
    options = parser.parse_args()
    console = Console()
    added, tail, busy = latency(options.requests)
    console.print(f"added latency: {added:.1f} ms at p50 (goal 5), {tail:.1f} ms at p99 (goal 25)")
    console.print(f"added processor time: {busy:.1f} ms a request, with the client's")
    usual, longest = cancel(20)
    console.print(f"from disconnect to free rows: {usual:.1f} ms, at most {longest:.1f} ms (goal 1,000)")
    ratio, speed = throughput(options.problems, options.budget, options.at_once)
    console.print(f"throughput: {ratio:.3f} of a batch run (goal .95), {speed:,.0f} tokens/s")


if __name__ == "__main__":
    main()
