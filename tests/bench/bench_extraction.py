"""Measure how long each extractor takes on hostile texts of 1 to 100 kB: the growth must be linear.

python -m tests.bench.bench_extraction
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from functools import partial

from orchestrator.stated.answer import find_answer, states_answer
from orchestrator.tasks.chain import ChainTask
from orchestrator.tasks.countdown import CountdownTask
from orchestrator.tasks.grading.letters import read_letter
from orchestrator.tasks.twoway import TwoWayTask
from tests.orchestrator.hostile_texts import FRAMES, PIECES, hostile_text

LENGTHS = (1_000, 10_000, 100_000)
PROMPTS = (r"Put your final answer within \boxed{}.", "How many eggs?")

EXTRACTORS: Mapping[str, Callable[[str], object]] = {
    "box": partial(find_answer, forms=("box",)),
    "tag": partial(find_answer, forms=("tag",)),
    "hashes": partial(find_answer, forms=("hashes",)),
    "letter": read_letter,
    "letters": partial(read_letter, num_letters=2),
    "step with a box": partial(states_answer, marker="\\boxed", prompts=PROMPTS),
    "step with hashes": partial(states_answer, marker="####", prompts=PROMPTS),
    "chain": ChainTask().extract,
    "countdown": CountdownTask().extract,
    "twoway": TwoWayTask().extract,
}


def seconds(extract: Callable[[str], object], text: str) -> float:
    """CPU time of one call, which a busy machine does not lengthen."""
    begun = time.thread_time()
    extract(text)
    return time.thread_time() - begun


def worst(extract: Callable[[str], object], length: int) -> tuple[float, str]:
    """The longest time of any hostile text of a length, and what it repeats."""
    return max(
        (seconds(extract, hostile_text(piece, frame, length)), piece)
        for piece, frame in itertools.product(PIECES, FRAMES)
    )


def main() -> None:
    print(
        f"{'milliseconds at the worst':24}"
        + "".join(f"{length:>12,}" for length in LENGTHS)
        + "  growth  text"
    )
    for name, extract in EXTRACTORS.items():
        found = [worst(extract, length) for length in LENGTHS]
        times = "".join(f"{1000 * took:12.2f}" for took, _ in found)
        print(f"{name:25}{times}{found[-1][0] / found[-2][0]:8.1f}  {found[-1][1]!r}")


if __name__ == "__main__":
    main()
