"""Answers by kind, made by hand: one line of the file is one answer in many writings."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

_FILE = Path(__file__).with_suffix(".txt")


def _classes() -> dict[str, list[list[str]]]:
    kinds: dict[str, list[list[str]]] = {}
    for line in filter(None, _FILE.read_text(encoding="utf-8").splitlines()):
        if line.startswith("# "):
            kinds[line[2:]] = []
        else:
            kinds[list(kinds)[-1]].append(line.split(" ; "))
    return kinds


CLASSES = _classes()
ANSWERS = [text for classes in CLASSES.values() for texts in classes for text in texts]


def written_pairs() -> list[tuple[str, str, bool]]:
    """Pairs that were written one by one: a reference, an answer, and whether they are the same."""
    lines = _FILE.with_name("grading_pairs.txt").read_text(encoding="utf-8").splitlines()
    found = [(line[:5] == "same ", *line[line.index("|") + 2 :].split(" ; ")) for line in lines]
    return [(reference, answer, is_same) for is_same, reference, answer in found]


# Where the same as the same is not the same: an answer that leaves open what others say.
RELATED = [
    ("y = 2x + 3", "2x + 3", True), ("2x + 3", "f(x) = 2x + 3", True), ("y = 2x + 3", "x = 2y + 3", False),
    ("x = 5", "5", True), ("y = 5", "5", True), ("x = 5", "y = 5", False), ("t = 5", r"\theta = 5", False),
    ("x > 3", r"(3, \infty)", True), ("y > 3", r"(3, \infty)", True), ("x > 3", "y > 3", False),
    ("1,-2", "(1,-2)", True), ("1,-2", "-2,1", True), ("-2,1", "(-2,1)", True), ("1,-2", "(-2,1)", False),
    ("1,-16,-4,43", "(1,-16,-4,43)", True), ("1,-4,-16,43", "(1,-16,-4,43)", False),
    ("(2,6)", "2 < x < 6", True), ("2,6", "(2,6)", True), ("2,6", "2 < x < 6", False), ("[2,6]",
    "2,6", False),
    (r"\sqrt{x^2}", "x", True), (r"\sqrt{x^2}", "|x|", True), ("x", "|x|", False),
    ("52_8", "52", True), ("52_7", "52", True), ("52_8", "52_7", False), ("52_8", "42", False),
    ("3:10", r"\frac{3}{10}", True), ("6:20", "0.3", True), ("3:10", "6:20", False), ("3:10 pm",
    "0.3", False),
    ("1/3", "0.333333", True), ("0.3333329", "0.333333", True), ("1/3", "0.3333329", False),
    (r"\sqrt{2}", "1.414214", True), (r"\sqrt{2}", "1.41421356", True), (r"\sqrt{2}", "1.41422", False),
    (r"\pi", "3.141593", True), (r"\pi", "3.1416", False), ("2/3", "0.666667", True), ("2/3",
    "0.6667", False),
    ("(1/3, 2)", "(0.333333, 2)", True), (r"\text{C}", "c", True), ("C", r"\text{(c)}", True), ("C",
    "c", False),
    ("2x = 10", "x = 5", True), ("2x = 10", "5", False), ("5x - 7y + 4 = 0", "0", False),
    ("x=1, y=2", "1,2", True), ("x=1, y=2", "2,1", False),
]  # fmt: skip


def pairs(only: str | None = None) -> Iterator[tuple[str, str, bool]]:
    """Two answers of a kind, and whether they are the same."""
    for kind, classes in CLASSES.items():
        if only in (None, kind):
            placed = [(text, i) for i, texts in enumerate(classes) for text in texts]
            for (a, i), (b, j) in combinations(placed, 2):
                yield a, b, i == j
