"""When revising pays: ``python -m tests.bench.bench_ratios --docs``.

N attempts as chains of revisions: from N chains of one attempt (parallel samples) to one chain of N. The
loop is `strategy=refine`, on a scripted reviser whose rates f and b are known, and a verifier of AUC .92: for
every ratio of parallel to sequential at N = 4, 16 and 64, for several rates, by difficulty. Total tokens are
equal at equal N; sequential tokens grow with a chain. No model is loaded; some minutes on one core.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.prompts.template import Template
from orchestrator.testing import World
from strategies import Refine
from tests.bench.curves import filled, markdown, short, with_interval
from tests.bench.plots import can_plot, plot_ratios
from tests.bench.reviser import NUM_TOKENS, RIGHT, Rates, ScriptedReviser, verifier
from tests.bench.scaling import Estimate, estimate, resamples
from tests.bench.stored import DATA, write_text
from tests.bench.sweeps import REPOSITORY

SIZES = (4, 16, 64)
LEVELS = (0.05, 0.15, 0.35, 0.6, 0.85)
"""Pass@1 of a fresh sample, by difficulty; each has as many problems."""
RATES = (Rates(0.7, 0.3), Rates(1.0, 0.1), Rates(1.5, 0.1), Rates(1.5, 0.38))
CHOICES: Mapping[str, Mapping[str, Any]] = {
    "verifier": {"within": "argmax", "across": "weighted_majority"},
    "vote": {"within": "last", "across": "majority"},
}
SHOW = Template("{question}\n{answer}")
PAGE, PICTURE = REPOSITORY / "docs" / "roles.md", REPOSITORY / "docs" / "roles" / "ratios.svg"


@dataclass(frozen=True, slots=True)
class Ratio:
    """N attempts as ``chains`` chains; ``ahead`` is the accuracy minus that of N parallel samples, paired."""

    rates: Rates
    choice: str
    size: int
    chains: int
    accuracy: Estimate
    ahead: Estimate
    by_level: tuple[float, ...]

    @property
    def sequential_tokens(self) -> int:
        return self.size // self.chains * NUM_TOKENS


def numbers_of_chains(size: int) -> list[int]:
    """N, ..., 4, 2, 1: the parallel samples first."""
    return [2**power for power in reversed(range(size.bit_length()))]


async def right(strategy: Refine, rates: Rates, num_each: int) -> np.ndarray:
    """Whether each problem was solved: ``[levels, problems]``."""
    solved = np.zeros((len(LEVELS), num_each))
    for level, fresh in enumerate(LEVELS):
        world = World(engine=ScriptedReviser(fresh, rates), verifier=verifier())  # type: ignore[arg-type]
        for seed in range(num_each):
            solution = await world.solve(strategy, seed)
            chosen = solution.answer_index
            solved[level, seed] = chosen is not None and solution.trajectories[chosen].text.endswith(RIGHT)
    return solved


def refine(size: int, chains: int, choice: str) -> Refine:
    return Refine(
        size, chains=chains, iterations=size // chains, prompt=SHOW, carry="last", **CHOICES[choice]
    )


async def measure(num_each: int, sizes: Sequence[int] = SIZES) -> list[Ratio]:
    """Every ratio at every size, rates and choice; the first of a size are its parallel samples."""
    found: list[Ratio] = []
    shares = resamples(len(LEVELS) * num_each)
    for rates in RATES:
        for choice in CHOICES:
            for size in sizes:
                parallel = None
                for chains in numbers_of_chains(size):
                    solved = await right(refine(size, chains, choice), rates, num_each)
                    parallel = solved if parallel is None else parallel
                    own, lead = shares @ solved.ravel(), shares @ (solved - parallel).ravel()
                    by_level = tuple(float(one) for one in solved.mean(axis=1))
                    found.append(Ratio(rates, choice, size, chains, estimate(own), estimate(lead), by_level))
    return found


def block(found: Sequence[Ratio], num_each: int) -> str:
    """The tables of docs/roles.md."""
    levels = [short(level)[:-1] for level in LEVELS]
    intro = (
        f"{num_each} problems at each of {len(LEVELS)} difficulties (pass@1 of a fresh sample: "
        f"{', '.join(levels)}), a scripted reviser; a row's columns cost the same tokens. f is as many times "
        "the pass@1 of a fresh sample on the same problem as the first column says. The best ratio is chains "
        "x iterations, and its lead is over parallel samples, with the 95 % interval:"
    )
    parts = [intro]
    for choice in CHOICES:
        rows = [row(list(group)) for group in groups(found, choice)]
        parts += [f"**{TITLES[choice]}**", markdown(COLUMNS, rows)]
    parts += [
        f"By difficulty at N = {SIZES[1]}, chosen by the verifier: parallel samples, and one chain:",
        markdown(
            ["f / fresh", "b", "", *(f"pass@1 {level}" for level in levels)], list(by_difficulty(found))
        ),
        "![accuracy by ratio of parallel to sequential](roles/ratios.svg)",
    ]
    return "\n\n".join(parts)


TITLES = {
    "verifier": "Chosen by the verifier in each chain, weighted vote across (`strategy=revisions`)",
    "vote": "Majority of the chains' last attempts, no verifier",
}
COLUMNS = (
    "f / fresh",
    "b",
    "N",
    "all parallel",
    "N / 2 chains",
    "sqrt N chains",
    "one chain",
    "best",
    "its lead",
)


def groups(found: Sequence[Ratio], choice: str) -> Iterator[list[Ratio]]:
    """Those of the same rates and size."""
    for rates in RATES:
        for size in SIZES:
            own = [r for r in found if (r.rates, r.choice, r.size) == (rates, choice, size)]
            if own:
                yield own


def row(own: Sequence[Ratio]) -> list[str]:
    at = {r.chains: r for r in own}
    size, best = own[0].size, max(own, key=lambda r: r.accuracy.value)
    shown = [short(at[n].accuracy.value) for n in (size, size // 2, round(size**0.5), 1)]
    lead = with_interval(best.ahead) if best.chains < size else ""
    rates, name = own[0].rates, f"{best.chains} x {size // best.chains}"
    return [f"{rates.ratio:g}", f"{rates.b:g}", str(size), *shown, name, lead]


def by_difficulty(found: Sequence[Ratio]) -> Iterator[list[str]]:
    for own in groups(found, "verifier"):
        if own[0].size == SIZES[1]:
            for one, name in ((own[0], "parallel"), (own[-1], "one chain")):
                yield [f"{one.rates.ratio:g}", f"{one.rates.b:g}", name, *map(short, one.by_level)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=100, help="at each difficulty")
    parser.add_argument("--docs", action="store_true", help="fill docs/roles.md and draw its picture")
    parser.add_argument("--out", type=Path, default=Path("outputs/bench_ratios"))
    args = parser.parse_args()
    found = asyncio.run(measure(args.problems))
    text = block(found, args.problems)
    write_text("ratios", text, DATA if args.docs else args.out)
    print(text)
    if args.docs:
        PAGE.write_text(filled(PAGE.read_text(), "ratios", text))
        if can_plot():
            PICTURE.parent.mkdir(exist_ok=True)
            plot_ratios([asdict(r) | {"sequential": r.sequential_tokens} for r in found], PICTURE)


if __name__ == "__main__":
    main()
