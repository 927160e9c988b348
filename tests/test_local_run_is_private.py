"""One real run, watched from outside: where its processes listen, and where its secrets end up.

The policy is behind an HTTP server that wants a key; W&B keeps its run offline. Both keys, and others that
a user's environment may hold, must be in no file of the run and in none of its output.
"""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from orchestrator.runs.main import main
from orchestrator.storage.results import read_results
from tests.actors.openai_engine.scripted import Scripted, said

REPOSITORY = Path(__file__).parents[1]
KEY_OF_THE_MODEL = "sk-canary-of-the-model-4711"
CANARIES = {
    "MODEL_KEY": KEY_OF_THE_MODEL,
    "WANDB_API_KEY": "canary0wandb0" + "0" * 27,
    "HF_TOKEN": "hf_canary_of_the_hub_4712",
    "AWS_SECRET_ACCESS_KEY": "canary/of/the/cloud/4713",
}
Listener = tuple[str, str]
"""An address, and the command of the process that listens there."""

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(400)]


@dataclass
class Watched:
    """A run that has ended."""

    run_dir: Path
    output: str
    status: int
    keys: list[str | None]
    listeners: set[Listener]
    auth_modes: set[str | None]


def listening(process: psutil.Process) -> Iterator[Listener]:
    """What the process and its descendants listen on, over the network."""
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for each in family:
        try:
            for c in each.net_connections(kind="inet"):
                if c.status == psutil.CONN_LISTEN or (
                    c.type.name == "SOCK_DGRAM" and c.laddr and not c.raddr
                ):
                    yield c.laddr.ip, " ".join(each.cmdline())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def auth_modes(process: psutil.Process) -> Iterator[str | None]:
    """What Ray's own processes were told of the token, by their environment."""
    for each in process.children(recursive=True):
        try:
            # Empty while a process begins or ends.
            if each.name() in ("gcs_server", "raylet") and (environment := each.environ()):
                yield environment.get("RAY_AUTH_MODE")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    folder = tmp_path_factory.mktemp("private")
    server = Scripted()
    server.replies, server.delay = [said("1+1=2\n", eos=True)], 0.3
    command = [
        *(sys.executable, "run.py", "engine=openai", "engine.model=m", f"engine.base_url={server.url}"),
        *("engine.api_key_env=MODEL_KEY", "engine.tokenizer=actors/embedded/weights/chain-policy"),
        *("strategy=greedy", "verifier=none", "task.limit=6", "concurrency=2", "tracker=wandb"),
        *("tracker.mode=offline", f"run_dir={folder / 'run'}"),
    ]
    environ = {k: v for k, v in os.environ.items() if k != "RAY_AUTH_MODE"} | CANARIES
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=environ, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    listeners, modes = set[Listener](), set[str | None]()
    while process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            listeners.update(listening(psutil.Process(process.pid)))
            modes.update(auth_modes(psutil.Process(process.pid)))
        time.sleep(0.2)
    output, _ = process.communicate()
    server.close()
    return Watched(folder / "run", output, process.returncode, server.keys, listeners, modes)


@pytest.mark.slow
def test_the_run_is_what_it_should_be(watched: Watched) -> None:
    """The key was used, so it was there to be leaked; W&B has its files, and all of Ray was seen."""
    assert watched.status == 0, watched.output
    assert len(read_results(watched.run_dir)) == 6
    assert f"Bearer {KEY_OF_THE_MODEL}" in watched.keys
    assert list(watched.run_dir.glob("wandb/offline-run-*/*.wandb"))
    commands = " ".join(command for _address, command in watched.listeners)
    for part in ("gcs_server", "raylet", "ray::Replica", "run.py"):
        assert part in commands


@pytest.mark.slow
def test_nothing_listens_beyond_loopback(watched: Watched) -> None:
    """A mapped address such as ::ffff:127.0.0.1 is IPv4's loopback."""
    addresses = {(ipaddress.ip_address(ip), command) for ip, command in watched.listeners}
    outside = {
        (str(ip), command)
        for ip, command in addresses
        if not (getattr(ip, "ipv4_mapped", None) or ip).is_loopback
    }
    assert outside == set()


@pytest.mark.slow
def test_the_token_is_on(watched: Watched) -> None:
    """Nobody asked for it: the environment of this run says nothing of a token."""
    assert watched.auth_modes == {"token"}


@pytest.mark.slow
def test_no_secret_is_in_a_file_or_in_the_output(watched: Watched) -> None:
    files = [f for f in watched.run_dir.rglob("*") if f.is_file()]
    names = {f.name for f in files}
    assert {"config.json", "command.json", "results.jsonl", "summary.json", "overrides.yaml"} <= names
    for variable, canary in CANARIES.items():
        assert canary not in watched.output, variable
        assert [f for f in files if canary.encode() in f.read_bytes()] == [], variable


@pytest.mark.parametrize(
    "argument",
    [
        f"engine.api_key={KEY_OF_THE_MODEL}",
        f"+engine.extra_body.api_key={KEY_OF_THE_MODEL}",
        f"engine.api_key_env={KEY_OF_THE_MODEL}",
        f"engine.base_url=http://me:{KEY_OF_THE_MODEL}@127.0.0.1:8000/v1",
        "+engine.extra_body.api_key=${oc.env:MODEL_KEY}",
    ],
)
@pytest.mark.parametrize("sweep", [(), ("-m",)], ids=["run", "sweep"])
def test_a_secret_in_the_configuration_is_refused_before_it_is_written(
    argument: str,
    sweep: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MODEL_KEY", KEY_OF_THE_MODEL)
    assert main([*sweep, "engine=openai", argument, f"run_dir={tmp_path}/new"]) == 2
    output, mistake = capfd.readouterr()
    assert "(not shown)" in mistake and len(mistake.splitlines()) == 1
    assert KEY_OF_THE_MODEL not in output + mistake
    assert not (tmp_path / "new").exists()
