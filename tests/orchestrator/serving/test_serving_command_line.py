"""``python -m orchestrator.serving``: one line for a mistake; a real process from its start to SIGTERM."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from orchestrator.errors import ConfigError
from orchestrator.serving.composing import composed
from orchestrator.serving.main import bound, main
from orchestrator.serving.settings import ServeSettings

ROOT = Path(__file__).parents[3]
FOR_A_RUN = "is for a run, and a server has no use for it: leave it out"


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("serve.host=0.0.0.0", "serve.host=0.0.0.0: without keys only this machine may connect"),
        ("serve.prot=1", "serve.prot=1: unknown key; did you mean 'serve.port'?"),
        ("serve.port=70000", "serve.port=70000: must be "),
        ("serve.key_tokens=5", "serve.key_tokens=5: needs serve.api_keys_env"),
        ("serve.limits.seconds=0", "serve.limits.seconds=0: must be above 0"),
        ("serve.api_keys_env=sk-12345", "serve.api_keys_env=(not shown): must be the name of an environment"),
        ("serve.limits.cost=1", "serve.limits.cost=1.0: needs the price of a policy, such as engine.price"),
        ("run_dir=here", f"run_dir=here: {FOR_A_RUN}"),
        ("resume=true", f"resume=True: {FOR_A_RUN}"),
        ("keep_journal=true", f"keep_journal=True: {FOR_A_RUN}"),
        ("dry_run=true", f"dry_run=True: {FOR_A_RUN}"),
        ("log_level=debug", f"log_level=debug: {FOR_A_RUN}"),
        ("tracing=file", f"tracing=file: {FOR_A_RUN}"),
        ("cassette=tapes", f"cassette=tapes: {FOR_A_RUN}"),
        ("cassette_only=true", f"cassette_only=True: {FOR_A_RUN}"),
        ("allocator=rounds", f"allocator=rounds: {FOR_A_RUN}"),
        ("tracker=jsonl", f"tracker=jsonl: {FOR_A_RUN}"),
        ("verifier=oracle", "verifier=oracle: rewards by the reference answer"),
        ("strategy=astra", "strategy=astra: must be one of"),
        ("budgt=1", "budgt=1: unknown key; did you mean 'budget'?"),
    ],
)
def test_a_mistake_is_one_line(argument: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster=inprocess", argument]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {line}"), said
    assert said.count("\n") == 1


def test_help_says_how_to_serve(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "python -m orchestrator.serving" in capsys.readouterr().out


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
def test_a_host_that_cannot_be_one(host: str) -> None:
    refused = pytest.raises(ConfigError, match=rf"^serve\.host={re.escape(host)}: must be an address")
    with refused, bound(ServeSettings(host=host, api_keys_env="K")):
        pass


def test_a_host_that_has_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", find)
    named = pytest.raises(ConfigError, match=r"^serve\.host=no\.such\.host: must be an address")
    with named, bound(ServeSettings(host="no.such.host", api_keys_env="K")):
        pass


@pytest.mark.heavy
def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["cluster=inprocess", f"serve.port={port}"]) == 2
    assert f"serve.port={port}: cannot listen at 127.0.0.1: " in capsys.readouterr().err


@pytest.mark.heavy
def test_the_default_of_a_server_has_every_key_of_a_run() -> None:
    served, plan = composed(["cluster=inprocess", "budget=3", "seed=7", "limits.seconds=5", "task.limit=2"])
    assert (served.budget, served.seed, served.limits.seconds) == (3, 7, 5.0)
    assert served.offers.default == "particle_filter" and plan.num_problems == 2
    assert served.settings.port == 8000


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_process_serves_and_drains(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "orchestrator.serving", "cluster=inprocess", "serve.port=0"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        address = re.search(r"http://[\d.:]+", process.stdout.readline())
        assert address is not None
        with httpx2.Client(base_url=address[0], timeout=60, trust_env=False) as client:
            assert client.get("/healthz").status_code in (200, 503)
            while client.get("/healthz").status_code != 200:
                time.sleep(0.2)
            body = {"messages": [{"role": "user", "content": "51 a/3 b+67"}], "stream": True}
            with client.stream("POST", "/v1/chat/completions", json=body) as reply:
                lines = reply.iter_lines()
                next(lines)
                process.send_signal(signal.SIGTERM)
                assert "data: [DONE]" in list(lines) and reply.status_code == 200
        assert process.wait(60) == 0
        assert process.stderr.read() == ""
    assert list(tmp_path.iterdir()) == []
