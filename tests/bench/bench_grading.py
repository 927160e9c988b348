"""What hostile texts cost whatever reads answers: ``python -m tests.bench.bench_grading``.

Each extractor and reader on each kind of text of 1 to 100 kB. Growth is the exponent of the time between the
two longest texts: 1 is linear, 2 quadratic. Readers look into texts of up to 10 kB.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from typing import Any

from orchestrator.stated.answer import find_answer
from orchestrator.tasks.grading.integers import read_integer
from orchestrator.tasks.grading.letters import read_letter
from orchestrator.tasks.grading.numbers import based_number, exact_number
from orchestrator.tasks.grading.reader import read_form
from orchestrator.tasks.grading.tidy import tidy
from orchestrator.tasks.grading.words import plain_words
from tests.bench.curves import markdown
from tests.orchestrator.hostile_texts import HOSTILE

Reader = Callable[[str], Any]
READERS: dict[str, Reader] = {
    "find_answer box": lambda text: find_answer(text, ("box",)),
    "find_answer tag": lambda text: find_answer(text, ("tag",)),
    "find_answer hashes": lambda text: find_answer(text, ("hashes",)),
    "read_letter": read_letter,
    "tidy": tidy,
    "exact_number": exact_number,
    "based_number": based_number,
    "plain_words": plain_words,
    "read_integer": read_integer,
    "read_form": read_form,
}
LENGTHS = (1_000, 3_000, 9_999, 30_000, 100_000)
NOTABLE_SECONDS = 1e-3


def seconds_of(reader: Reader, text: str, repeats: int) -> float:
    """The shortest of ``repeats`` times; a text of its own each time, as readers remember."""
    return min(_once(reader, text + " " * i) for i in range(repeats))


def _once(reader: Reader, text: str) -> float:
    begun = time.process_time()
    reader(text)
    return time.process_time() - begun


def growth(seconds: list[float]) -> str:
    """The exponent between the two longest texts; a dash where they take no time."""
    before, last = seconds[-2:]
    if last < NOTABLE_SECONDS or before <= 0:
        return "-"
    return f"{math.log(last / before) / math.log(LENGTHS[-1] / LENGTHS[-2]):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--top", type=int, default=3, help="the slowest texts of each reader")
    options = parser.parse_args()
    rows = []
    for name, reader in READERS.items():
        measured = [
            ([seconds_of(reader, make(n), options.repeats) for n in LENGTHS], text)
            for text, make in HOSTILE.items()
        ]
        for seconds, text in sorted(measured, key=lambda pair: max(pair[0]), reverse=True)[: options.top]:
            rows.append([name, text, *(f"{1e3 * s:.1f}" for s in seconds), growth(seconds)])
    print(markdown(["reader", "text", *(f"{n // 1000} kB, ms" for n in LENGTHS), "growth"], rows))


if __name__ == "__main__":
    main()
