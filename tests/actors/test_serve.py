"""The endpoint on a real Ray Serve: replicas that die, and what clients see of it."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
import ray

from orchestrator.errors import ConfigError

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of its own models
    from ray import serve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PORT = 8197
QUESTION: Any = [{"role": "user", "content": "51 a/3 b+67 c-4 d*1 e+2 f-3 g+5 h-6"}]


@pytest.fixture(scope="module")
def deployed(local_ray: None) -> Iterator[str]:
    from actors.serve import build

    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    overrides = ["cluster=local", "cluster.metrics_interval_s=null"]
    serve.run(build({"overrides": overrides}), name="murmuration", route_prefix="/")
    yield f"http://127.0.0.1:{PORT}"
    serve.shutdown()


def pids(name: str) -> list[int]:
    """The processes of the living actors whose class begins with a name."""
    actors = ray._private.state.actors().values()  # type: ignore[attr-defined]
    return [a["Pid"] for a in actors if a["State"] == "ALIVE" and a["ActorClassName"].startswith(name)]


def client_of(url: str, **how: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", timeout=200, **{"max_retries": 0, **how})


def num_running(url: str) -> int:
    text = httpx2.get(f"{url}/metrics", timeout=60, trust_env=False).text
    return int(text.partition("\nmurmuration_searches_running ")[2].partition("\n")[0])


def under_load(url: str, num: int, pid: int, *, streams: bool = False, max_retries: int = 0) -> list[Any]:
    """Make requests, kill a process by -9 once all are searched, and return the replies and errors."""
    outcomes: list[Any] = []

    def ask(seed: int) -> None:
        with client_of(url, max_retries=max_retries) as client:
            try:
                made = client.chat.completions.create(
                    model="murmuration",
                    messages=QUESTION,
                    seed=seed,
                    stream=streams,  # type: ignore[call-overload]
                    extra_body={"search": {"budget": 32}},
                )
                outcomes.append(list(made) if streams else made)
            except openai.APIError as error:
                outcomes.append(error)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(num)]
    for thread in threads:
        thread.start()
    while num_running(url) < num:
        pass
    os.kill(pid, signal.SIGKILL)
    for thread in threads:
        thread.join()
    return outcomes


def test_a_policy_that_is_killed_loses_no_request(deployed: str) -> None:
    outcomes = under_load(deployed, 6, pids("ReplicaProcess")[0])
    assert [type(outcome).__name__ for outcome in outcomes] == ["ChatCompletion"] * 6


@pytest.mark.parametrize("streams", [False, True])
def test_a_replica_of_serve_that_is_killed_loses_what_it_held(deployed: str, streams: bool) -> None:
    outcomes = under_load(deployed, 4, pids("ServeReplica")[0], streams=streams)
    assert [getattr(outcome, "code", outcome) for outcome in outcomes] == ["replica_lost"] * 4
    assert {getattr(outcome, "status_code", None) for outcome in outcomes} == {None if streams else 503}
    with client_of(deployed, max_retries=30) as client:
        assert client.chat.completions.create(model="murmuration", messages=QUESTION).choices


def test_clients_that_retry_lose_nothing(deployed: str) -> None:
    outcomes = under_load(deployed, 4, pids("ServeReplica")[0], max_retries=30)
    assert [type(outcome).__name__ for outcome in outcomes] == ["ChatCompletion"] * 4


@pytest.mark.parametrize("args", [{"override": []}, {"overrides": "budget=8"}, {"overrides": [3]}])
def test_a_mistake_in_the_file_is_named(args: Any) -> None:
    from actors.serve import build

    with pytest.raises(ConfigError, match=r"^args="):
        build(args)
