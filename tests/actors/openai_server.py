"""A real OpenAI-compatible server of the shipped policy, on loopback, for the tests that need one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from actors.checkpoints.models import resolve_model
from actors.http_verifier.config import HttpVerifierConfig
from actors.openai_engine.config import OpenAIEngineConfig
from actors.vllm_engine.guard import Guard
from tests.actors.shared_vllm import Elsewhere

KEY_VARIABLE, KEY = "MURMURATION_TEST_KEY", "a-key-of-the-tests"
_ARGUMENTS = [
    "--served-model-name=chain",
    "--host=127.0.0.1",
    "--block-size=32",
    "--enforce-eager",
    "--dtype=float32",
    "--max-num-seqs=64",
    "--kv-cache-memory-bytes=134217728",
    "--enable-prompt-tokens-details",
    f"--api-key={KEY}",
    r"--chat-template={{ bos_token + messages[-1]['content'] + '\n' }}",
]
_ENVIRON = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "TORCHDYNAMO_DISABLE": "1",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Server:
    """One that was started, and may not answer yet."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def wait(self) -> str:
        """Its base URL, as soon as it answers."""
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                if httpx2.get(f"{self.url}/models", headers={"Authorization": f"Bearer {KEY}"}).is_success:
                    return self.url
            except httpx2.TransportError:
                pass
            time.sleep(0.3)
        raise TimeoutError(self.log.read_text()[-3000:])


@contextmanager
def started_server(
    log: Path, model: str = "embedded:chain-policy", arguments: Sequence[str] = _ARGUMENTS
) -> Iterator[Server]:
    """A server that is starting; it and all that it has started is ended afterwards.

    ``arguments`` hold ``--api-key``: ``KEY``.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", f"--port={port}", *arguments]
    command.append(f"--model={resolve_model(model)}")
    guard = Guard()
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **_ENVIRON, **guard.environ},
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    try:
        yield Server(f"http://127.0.0.1:{port}/v1", process, log)
    finally:
        _end(process, guard)


def _end(process: subprocess.Popen[bytes], guard: Guard) -> None:
    """The server ends its engine itself; what is left of them is killed."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(30)
    guard.release()
    process.wait()


@pytest.fixture(scope="session")
def openai_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Starts while its user does something else, such as to start another engine."""
    before = os.environ.get(KEY_VARIABLE)
    os.environ[KEY_VARIABLE] = KEY
    with started_server(tmp_path_factory.mktemp("server") / "log") as server:
        yield server
    if before is None:
        del os.environ[KEY_VARIABLE]


_POOLING = [
    *(a for a in _ARGUMENTS if not a.startswith("--chat-template")),
    "--runner=pooling",
    '--pooler-config={"tok_pooling_type": "ALL"}',
]


@pytest.fixture(scope="session")
def http_verifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    """The shipped verifier of the chain task, served by vLLM's pooling runner."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_VARIABLE, KEY)
        log = tmp_path_factory.mktemp("pooling") / "log"
        with started_server(log, "embedded:chain-verifier", _POOLING) as served:
            verifier = Elsewhere(HttpVerifierConfig("chain", served.wait(), api_key_env=KEY_VARIABLE).build)
            yield verifier
            verifier.end()


@pytest.fixture(scope="session")
def openai_chat(openai_server: Server) -> Iterator[Elsewhere]:
    """The same policy through the server's chat interface."""
    config = OpenAIEngineConfig("chain", openai_server.wait(), api="chat", api_key_env=KEY_VARIABLE)
    engine = Elsewhere(config.build)
    yield engine
    engine.end()


@pytest.fixture(scope="session")
def openai_policy(openai_server: Server) -> Iterator[Elsewhere]:
    """The shipped policy of the chain task, by token ids."""
    config = OpenAIEngineConfig(
        "chain", openai_server.wait(), template="{question}\n", api_key_env=KEY_VARIABLE
    )
    engine = Elsewhere(config.build)
    yield engine
    engine.end()
