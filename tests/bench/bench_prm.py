"""Measure what a process reward model computes: ``python -m tests.bench.bench_prm``.

A trajectory of 10, 20 and 40 steps of 100 tokens is scored as a search scores it: after each step, only the
new step. Incremental is the verifier as it is, which caches the prefix; full is the same verifier without a
cache (``cache_bytes=0``), which encodes the whole trajectory at each step, as others do. Both give the same
rewards, which is checked. Tokens are those that the model computed, divided by the trajectory's length
(question and tags included): 1.0 is every token once. The model has the architecture of Qwen2.5-Math-PRM,
narrow, with random weights.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import yaml
from rich.console import Console
from rich.table import Table

from actors.transformers_engine.config import TransformersVerifierConfig
from orchestrator.protocols import ScoreReply, ScoreRequest
from tests.actors.small_reward_models import QUESTION, qwen_tokenizer, save_qwen_prm

FORMAT = Path(__file__).parents[2] / "conf" / "verifier" / "format" / "qwen_prm.yaml"


@dataclass(frozen=True)
class Cost:
    """What scoring one trajectory step by step took; ``length`` is that of the trajectory, in tokens."""

    computed: int
    length: int
    seconds: float
    rewards: tuple[float, ...]

    @property
    def ratio(self) -> float:
        return self.computed / self.length


def steps_of(num_steps: int, num_tokens: int) -> tuple[str, ...]:
    """Steps of words that are one token each, drawn at random."""
    rng = np.random.default_rng(num_steps)
    tokenizer = qwen_tokenizer()
    words = [
        w
        for w in (" apples", " are", " has", " so", " there", " the", " is")
        if len(tokenizer.encode(w)) == 1
    ]
    return tuple("".join(rng.choice(words, num_tokens)) + "\n\n" for _ in range(num_steps))


async def cost(folder: str, steps: tuple[str, ...], cache_bytes: int, device: str) -> Cost:
    """Score ``steps`` one after the other with a fresh verifier; loading is not in the time."""
    node = yaml.safe_load(FORMAT.read_text())
    config = TransformersVerifierConfig(
        folder,
        format=node["format"],
        options=node["options"],
        cache_bytes=cache_bytes,
        max_context=8192,
        device=device,
    )
    verifier = config.build()
    rewards, computed, length, begun = [], 0, 0, time.perf_counter()
    for n in range(1, len(steps) + 1):
        (reply,) = await verifier.score([ScoreRequest("p", QUESTION, steps[:n], n - 1)])
        assert isinstance(reply, ScoreReply), reply
        rewards.append(reply.rewards[0].log_odds)
        computed += reply.usage.reward_tokens
        length = reply.usage.reward_tokens + reply.usage.cached_reward_tokens
    seconds = time.perf_counter() - begun
    assert computed == verifier.progress, "the ledger counts what the model computed"
    await verifier.close()
    return Cost(computed, length, seconds, tuple(rewards))


async def compare(num_steps: list[int], num_tokens: int, table: Table, device: str) -> None:
    with TemporaryDirectory() as folder:
        save_qwen_prm(Path(folder), context=8192)
        for n in num_steps:
            steps = steps_of(n, num_tokens)
            incremental, full = [await cost(folder, steps, size, device) for size in (2**28, 0)]
            if device == "cpu":
                assert incremental.rewards == full.rewards, "the same rewards, bit by bit"
            np.testing.assert_allclose(incremental.rewards, full.rewards, atol=5e-2)
            table.add_row(
                str(n),
                f"{incremental.length:,}",
                f"{incremental.computed:,} ({incremental.ratio:.2f} x)",
                f"{full.computed:,} ({full.ratio:.2f} x)",
                f"{incremental.seconds:.2f} s",
                f"{full.seconds:.2f} s",
                f"{full.seconds / incremental.seconds:.1f} x",
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 20, 40])
    parser.add_argument("--tokens", type=int, default=100, help="tokens of a step")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(title=f"steps of {args.tokens} tokens")
    for name in ("steps", "length", "incremental", "full", "time", "time, full", "faster"):
        table.add_column(name, justify="right")
    asyncio.run(compare(args.steps, args.tokens, table, args.device))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
