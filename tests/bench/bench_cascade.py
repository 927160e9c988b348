"""What waiting for nobody gains, and what it costs: ``python -m tests.bench.bench_cascade``.

The particle cascade against the particle filter where steps take 2 or 20 tokens and replicas are never
short: a reply takes as long as its tokens, in virtual time, so that the figures are those of the barrier
alone and the same on every machine. Models are fakes: a policy that writes one letter a step, right half of
the time, and a judge that tells right from wrong with noise. Problems are the same for both, and solved with
latency, since the cascade's answers depend on the order of arrival. ``--docs`` puts the table between the
comments of a document.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from orchestrator.intervals import paired_interval
from orchestrator.search.asking import Ledger
from orchestrator.search.session import Session
from orchestrator.search.strategy import Strategy
from orchestrator.seeds import derive_rng
from orchestrator.testing import Copying, FakeEngine, FakeTask, FakeVerifier, TokenLatency, letters_right
from orchestrator.types import Sampling
from strategies.particle_cascade import ParticleCascade
from strategies.particle_filter import ParticleFilter
from strategies.parts.weighting import WeightingName
from tests.bench.curves import filled, markdown
from tests.bench.stored import write_text
from tests.bench.virtual_time import run_at_once

SHORT, LONG = 2, 20
SHARE_LONG = 0.3
SAMPLING = Sampling(temperature=1.0, max_tokens=LONG + 12)


@dataclass(frozen=True)
class UnevenSteps:
    """A copying policy, some of whose steps are ten times as long, padded with dashes."""

    letters: Copying = field(default_factory=lambda: Copying(right=0.5, stop=0.02))

    def __call__(self, question: str, prefix: str) -> Mapping[str, float]:
        options: dict[str, float] = {}
        for text, p in self.letters(question, prefix.replace("-", "")).items():
            if not text.endswith("\n") or "=" in text:
                options[text] = p
            else:
                options[text] = p * (1 - SHARE_LONG)
                options[f"{text[0]}{'-' * (LONG - SHORT)}\n"] = p * SHARE_LONG
        return options


def noisy(question: str, steps: tuple[str, ...]) -> float:
    """The share of letters that are right, with noise that is the same whenever the same is asked."""
    clean = tuple(step.replace("-", "") for step in steps)
    noise = float(derive_rng("judge", question, clean).random()) - 0.5
    return min(0.99, max(0.01, letters_right(question, clean) + 0.5 * noise))


@dataclass(frozen=True, slots=True)
class Outcome:
    """Right (1) or wrong (0) a problem; token times and tokens a problem, in the mean."""

    correct: list[list[float]]
    time: float
    tokens: float

    @property
    def accuracy(self) -> float:
        return sum(row[0] for row in self.correct) / len(self.correct)


async def solve(strategy: Strategy, num_problems: int) -> Outcome:
    """One problem after another, each with all the replicas it can use; a token takes a second."""
    engine = FakeEngine(UnevenSteps(), latency=TokenLatency(1.0))
    verifier, task = FakeVerifier(noisy), FakeTask(length=8, num_problems=num_problems)
    loop, correct, time, tokens = asyncio.get_running_loop(), [], 0.0, 0
    for problem in task.problems(0, None):
        begun = loop.time()
        session = Session(Ledger(problem, engine=engine, verifier=verifier, task=task, seed=0))
        solution = await strategy.solve(session)
        time += loop.time() - begun
        tokens += solution.usage.generated_tokens
        index = solution.answer_index
        best = None if index is None else solution.trajectories[index]
        answer = task.extract(best.text.replace("-", "")) if best is not None and best.finished else None
        correct.append([float(await task.grade(answer, problem.answer))])
    return Outcome(correct, time / num_problems, tokens / num_problems)


def row(budget: int, weighting: WeightingName, num_problems: int) -> list[str]:
    """Both methods at one budget."""
    sizes = {"max_steps": 10, "sampling": SAMPLING, "weighting": weighting}
    waiting = run_at_once(solve(ParticleFilter(budget, **sizes), num_problems))  # type: ignore[arg-type]
    cascade = run_at_once(solve(ParticleCascade(budget, **sizes), num_problems))  # type: ignore[arg-type]
    mean, low, high = paired_interval(cascade.correct, waiting.correct)
    return [
        weighting,
        str(budget),
        f"{waiting.time:.0f}",
        f"{cascade.time:.0f}",
        f"{waiting.time / cascade.time:.2f}x",
        f"{waiting.accuracy:.3f}",
        f"{cascade.accuracy:.3f}",
        f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]",
        f"{waiting.tokens:.0f} / {cascade.tokens:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budgets", nargs="+", type=int, default=[4, 8, 16, 32])
    parser.add_argument("--problems", type=int, default=400)
    parser.add_argument("--docs", type=Path, help="a document to put the table into")
    args = parser.parse_args()
    header = [
        "weighting", "N", "filter: time", "cascade: time", "faster", "filter: right", "cascade: right",
        "difference (paired, 95 %)", "tokens",
    ]  # fmt: skip
    rows = [row(n, weighting, args.problems) for weighting in get_args(WeightingName) for n in args.budgets]
    text = f"{args.problems} problems; time in tokens of one after another.\n\n{markdown(header, rows)}"
    print(text)
    if args.docs is not None:
        write_text("cascade", text)
        args.docs.write_text(filled(args.docs.read_text(), "cascade", text))


if __name__ == "__main__":
    main()
