"""The arrays of bench_adaptive against the strategies themselves, run on the same stored samples."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from orchestrator.replay.whatif import Recorded, WhatIf, replay_all
from tests.bench.adaptive_arrays import (
    Outcome,
    Problem,
    at_once,
    beta,
    decided,
    one_by_one,
    problems_of,
    pruned,
    threshold,
)
from tests.bench.calibrating import by_reward, by_tilt, weighed
from tests.orchestrator.report.made_runs import candidate, line

N = 8
SAMPLING = {"_target_": "orchestrator.Sampling", "temperature": 0.8, "top_p": 1.0, "max_tokens": 128}
BEST: dict[str, Any] = {"_target_": "strategies.BestOfN", "num_samples": N, "sampling": SAMPLING}
VOTE = {**BEST, "_target_": "strategies.SelfConsistency"}


def sampled(rng: np.random.Generator) -> dict[str, Any]:
    """A sample of two to five steps, which no other has; one in eight has no end, and one in two is right."""
    num, has_end = int(rng.integers(2, 6)), rng.random() > 1 / 8
    answer = str(rng.choice([1, 1, 2, 3])) if has_end else None
    last = f"#{answer}\n" if has_end else "cut"
    steps = [*(f"{x}\n" for x in rng.integers(10**9, size=num - 1)), last]
    return candidate(
        answer, right=answer == "1", text="".join(steps), finished=has_end,
        step_lengths=[len(s) for s in steps], step_log_odds=rng.normal(1, 2, num).round(2).tolist(),
        step_tokens=(tokens := rng.integers(1, 9, num).tolist()), step_logprobs=[-1.0] * num,
        num_tokens=sum(tokens), cut_off=None if has_end else "step",
    )  # fmt: skip


def recorded(strategy: Mapping[str, Any]) -> Recorded:
    rng = np.random.default_rng(0)
    lines = [line(f"p{i}", True, candidates=[sampled(rng) for _ in range(N)]) for i in range(40)]
    config = {
        "task": {"_target_": "orchestrator.ChainTask"}, "strategy": strategy, "budget": N, "seed": 0,
        "verifier": {"readout": "per_step"},
    }  # fmt: skip
    summary = {"strategy": "s", "budget": N, "seed": 0}
    return Recorded(config, summary, lines, is_own=True)


def until(stops: Callable[[Problem, int], bool], votes: bool = False) -> Callable[[Problem], Outcome]:
    return lambda samples: one_by_one(samples, stops, votes)


def stop(rule: str, at: float | None = None) -> dict[str, Any]:
    return {"strategy.stop.rule": rule, **({} if at is None else {"strategy.stop.at": at})}


@pytest.mark.parametrize(
    ("strategy", "drawn", "outcome"),
    [
        (BEST, stop("none"), at_once),
        (VOTE, stop("none"), lambda samples: at_once(samples, votes=True)),
        ({**VOTE, "weight": "reward"}, stop("none"), weighed(by_reward)),
        *(({**VOTE, "weight": "tilt", "tilt": t}, stop("none"), weighed(by_tilt(t))) for t in (0, 3)),
        *((BEST, stop("threshold", at), until(threshold(at))) for at in (0.5, 0.9, 0.99)),
        *((BEST, stop("beta", at), until(beta(at))) for at in (0.8, 0.95)),
        (VOTE, stop("beta", 0.8), until(beta(0.8), votes=True)),
        (VOTE, {**stop("decided"), "strategy.wave_size": 1}, until(decided, votes=True)),
        *(
            (BEST, {"strategy.prune": {str(step): keep}}, lambda p, s=step, k=keep: pruned(p, s, k))
            for step in (1, 2, 4)
            for keep in (1, 4, 8)
        ),
    ],
)  # fmt: skip
@pytest.mark.heavy
def test_they_equal_the_strategy(strategy: Any, drawn: Any, outcome: Callable[[Problem], Outcome]) -> None:
    run = recorded(strategy)
    lines = asyncio.run(replay_all(run, WhatIf(drawn=tuple(drawn.items()))))
    usage = [each["usage"] for each in lines]
    costs = [(u["generated_tokens"], u["sequential_tokens"], u["reward_calls"]) for u in usage]
    expected = [(x["correct"], len(x["candidates"]), *c) for x, c in zip(lines, costs, strict=True)]
    assert [outcome(samples) for samples in problems_of(run)] == expected
