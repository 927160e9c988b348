"""Problems a second beside its_hub 1.2.0: ``python -m tests.bench.bench_peer --peer-python PYTHON``.

The same particle filter (N particles, steps of a length, a verifier that costs nothing) on the same problems,
model and machine, in turn: by us, through Ray, session, controller and result files; and by its_hub, from a
process of its own, at a vLLM server (``python -m vllm.entrypoints.openai.api_server``). Both run their
problems concurrently. The server is started with what is best for it: the smallest blocks of cache that vLLM
takes by itself, and a worker in the engine's process; ``--server-argument`` adds to that, or takes it back
(``--server-argument=--block-size=128``: vLLM's default on a CPU).

PYTHON is one that has its_hub (the bench extra; by default this one), and may have a folder of its own: the
two need not share their libraries. Left out, and said so, where it has none. Loading is in no figure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from urllib.request import urlopen

from rich.console import Console

from actors.pool.cluster import start_ray, stop_ray
from actors.pool.placement import ClusterConfig
from actors.pool.pool import Pool
from actors.vllm_engine.config import VllmEngineConfig
from tests.actors.openai_server import KEY, started_server
from tests.bench.bench_engine import Questions, Size, build_engine, run_search, save_model

ROOT = Path(__file__).resolve().parents[2]
_CHAT = "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'user' %}\n{% endif %}{% endfor %}"
_SERVER = [
    "--served-model-name=policy",
    "--host=127.0.0.1",
    "--block-size=32",
    "--enforce-eager",
    "--dtype=float32",
    "--max-num-seqs=512",
    "--kv-cache-memory-bytes=2147483648",
    "--distributed-executor-backend=uni",
    "--disable-uvicorn-access-log",
    f"--api-key={KEY}",
]


@dataclass(frozen=True)
class Peer:
    """its_hub at a server."""

    python: str
    url: str

    def seconds(self, size: Size, offset: int) -> float:
        """For the problems from ``offset`` on, all at once."""
        work = {
            "url": self.url,
            "key": KEY,
            "model": "policy",
            "questions": [p.question for p in Questions().problems(offset, size.problems)],
            **{k: v for k, v in asdict(size).items() if k != "problems"},
            "concurrency": size.problems,
            "temperature": 0.8,
        }
        before = self._num_generated()
        command = [self.python, "-m", "tests.bench.peer_client"]
        done = subprocess.run(
            command, input=json.dumps(work), capture_output=True, text=True, cwd=ROOT, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        num_tokens = self._num_generated() - before
        assert num_tokens == size.num_tokens, f"{num_tokens} tokens, not {size.num_tokens}"
        return float(json.loads(done.stdout.splitlines()[-1])["seconds"])

    def _num_generated(self) -> int:
        """The server's own count."""
        with urlopen(self.url.removesuffix("/v1") + "/metrics", timeout=60) as page:  # on loopback
            text = page.read().decode()
        found = re.search(r"^vllm:generation_tokens_total\{.*\} (\S+)$", text, re.MULTILINE)
        return int(float(found[1])) if found else 0


async def compare(
    peer: Peer, size: Size, rounds: int, config: VllmEngineConfig, console: Console
) -> list[tuple[float, float]]:
    """Seconds of each round, ours and theirs; the warm-up is left out."""
    seconds = []
    cluster = ClusterConfig(threads_per_replica=1, start_timeout_s=900)
    async with await Pool.start(cluster, partial(build_engine, config)) as pool:
        for i in range(-1, rounds):
            offset = (i + 1) * size.problems
            ours = await run_search(pool.engine, size, offset)
            theirs = await asyncio.to_thread(peer.seconds, size, offset)
            console.print(
                f"{'warm-up' if i < 0 else f'round {i + 1}'}: ours {size.problems / ours:.2f} problems/s, "
                f"its_hub {size.problems / theirs:.2f}: {theirs / ours:.2f} x"
            )
            if i >= 0:
                seconds.append((ours, theirs))
    return seconds


def has_its_hub(python: str) -> bool:
    command = [python, "-c", "import tests.bench.peer_client"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0


def run(options: argparse.Namespace, console: Console) -> None:
    size = Size(options.problems, options.particles, options.steps, options.step_tokens)
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # of the server's worker; its engine has a process
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder))
        template = Path(folder) / "chat.jinja"
        template.write_text(_CHAT)
        server: list[str] = [*_SERVER, f"--chat-template={template}", *options.server_argument]
        config = VllmEngineConfig(folder, logprobs=False, args={"max_num_seqs": 512})
        with started_server(Path(folder) / "server.log", folder, server) as started:
            peer = Peer(options.peer_python, started.wait())
            seconds = asyncio.run(compare(peer, size, options.rounds, config, console))
    ratio = median(theirs / ours for ours, theirs in seconds)
    console.print(f"median {ratio:.2f} x the problems a second of its_hub")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer-python", default=sys.executable, help="has its_hub")
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--particles", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--step-tokens", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--server-argument", action="append", default=[], help="of vLLM's server")
    options = parser.parse_args()
    if not has_its_hub(options.peer_python):
        print(f"left out: {options.peer_python} has no its_hub (its_hub[lm]==1.2.0, the bench extra)")
        return
    start_ray(ClusterConfig())
    try:
        run(options, Console())
    finally:
        stop_ray()


if __name__ == "__main__":
    main()
