"""The training examples of the chain models: right chains, near-miss chains and the policy's rollouts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerFast

from orchestrator.tasks.chain import Chain, read_value, step_line
from orchestrator.tasks.drawn import ANSWER_MARKER, answer_line
from orchestrator.tasks.operations import MAX_VALUE

IGNORE = -100


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt, its response, and for each character of the response its three marks.

    ``is_right[j]``: the state is right up to character j (1 or 0). ``is_local[j]``: its line is, so far,
    what a flawless solver would write after the preceding values, right or wrong.
    ``expected[j]``: the character that such a solver would have written; empty where it is undefined.
    """

    prompt: str
    response: str
    is_right: tuple[int, ...]
    is_local: tuple[bool, ...]
    expected: tuple[str, ...]


def num_common(a: str, b: str) -> int:
    """Return the length of the longest common prefix."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))


def annotate(chain: Chain, lines: Sequence[str]) -> Example:
    """Mark each character of a response; a step is right when the value it states is the true one.

    A later step may heal an earlier slip, so right means "the state is right", not "no slip so far".
    """
    true_lines, true_values = chain.lines, (*chain.values, chain.values[-1])
    is_right: list[int] = []
    is_local: list[bool] = []
    expected: list[str] = []
    stated: int | None = chain.start
    was_right = True
    for i, line in enumerate(lines[: len(true_lines)]):
        num_right = num_common(line, true_lines[i]) if was_right else 0
        local_line = _local_line(chain, i, stated)
        num_local = num_common(line, local_line)
        stated = read_value(line)
        was_right = stated == true_values[i]
        is_right += [int(j < num_right) for j in range(len(line) - 1)] + [int(was_right)]
        is_local += [j < num_local for j in range(len(line))]
        expected += [
            local_line[j] if j <= num_local and j < len(local_line) else "" for j in range(len(line))
        ]
    response = "".join(lines[: len(true_lines)])
    return Example(chain.question + "\n", response, tuple(is_right), tuple(is_local), tuple(expected))


def are_right(chain: Chain, lines: Sequence[str]) -> list[bool]:
    """Return for each line whether the value that it states is the true one."""
    true_values = (*chain.values, chain.values[-1])
    return [read_value(line) == value for line, value in zip(lines, true_values, strict=False)]


def stated_answer(lines: Sequence[str]) -> int | None:
    """Return the number of an answer line, or None."""
    return read_value(lines[-1]) if lines and lines[-1].startswith(ANSWER_MARKER) else None


def is_right(chain: Chain, lines: Sequence[str]) -> bool:
    return stated_answer(lines) == chain.values[-1]


def _local_line(chain: Chain, index: int, stated: int | None) -> str:
    """The right line after a stated value; where it has no whole result, the part that is defined."""
    if stated is None:
        return ""
    if index == len(chain.operations):
        return answer_line(stated)
    operation = chain.operations[index]
    result = operation.apply(stated)
    if result is None:
        return step_line(index, stated, operation, 0).partition("=")[0] + "="
    return step_line(index, stated, operation, result)


def near_miss(value: int, rng: np.random.Generator) -> int:
    """Return a wrong value as a weak policy writes: off by 1, 2, 10 or 20, or with a digit changed."""
    for _ in range(20):
        if rng.random() < 0.7:
            wrong = value + int(rng.choice([-20, -10, -10, -2, -1, -1, 1, 1, 2, 10, 10, 20]))
        else:
            digits = list(str(value))
            digits[int(rng.integers(len(digits)))] = str(int(rng.integers(10)))
            wrong = int("".join(digits))
        if 0 < wrong <= MAX_VALUE and wrong != value:
            return wrong
    return value % MAX_VALUE + 1


def corrupt(chain: Chain, rng: np.random.Generator, rate: float) -> list[str]:
    """Return the lines of a solver that slips at each step with probability ``rate`` and continues."""
    lines, value = [], chain.start
    for i, operation in enumerate(chain.operations):
        result = operation.apply(value)
        if result is None:
            result = int(rng.integers(1, MAX_VALUE + 1))
        elif rng.random() < rate:
            result = near_miss(result, rng)
        shown = near_miss(value, rng) if rng.random() < rate / 10 else value
        lines.append(step_line(i, shown, operation, result))
        value = result
    shown = near_miss(value, rng) if rng.random() < rate / 2 else value
    return [*lines, answer_line(shown)]


def split_lines(text: str) -> list[str]:
    """Return the lines of a response up to its answer; each ends with a newline, except perhaps the last."""
    lines = text.splitlines(keepends=True)
    for i, line in enumerate(lines):
        if line.startswith(ANSWER_MARKER):
            return lines[: i + 1]
    return lines


@dataclass(frozen=True, slots=True)
class Batch:
    """Integer arrays ``[rows, length]``: tokens, next-token targets, the three marks, and where steps end.

    ``num_tokens`` counts the tokens that are not padding.
    """

    token_ids: np.ndarray
    targets: np.ndarray
    labels: np.ndarray
    local_labels: np.ndarray
    expected: np.ndarray
    is_step_end: np.ndarray
    num_tokens: int


def collate(examples: Iterable[Example], vocab: dict[str, int], specials: tuple[int, int, int]) -> Batch:
    """Return right-padded arrays of ``<bos> prompt response <eos>``; targets are shifted left by one."""
    pad, bos, eos = specials
    rows = list(examples)
    length = max(len(e.prompt) + len(e.response) for e in rows) + 2
    shape = (len(rows), length)
    token_ids, targets = np.full(shape, pad), np.full(shape, IGNORE)
    labels, local_labels, expected = (np.full(shape, IGNORE) for _ in range(3))
    is_step_end = np.zeros(shape, dtype=bool)
    for row, e in enumerate(rows):
        ids = [bos, *(vocab[c] for c in e.prompt + e.response), eos]
        token_ids[row, : len(ids)] = ids
        first = 1 + len(e.prompt)
        end = first + len(e.response)
        labels[row, first:end] = e.is_right
        local_labels[row, first:end] = e.is_local
        expected[row, first:end] = [vocab[c] if c else IGNORE for c in e.expected]
        for j, (c, local) in enumerate(zip(e.response, e.is_local, strict=True)):
            is_step_end[row, first + j] = c == "\n"
            if local:
                targets[row, first + j - 1] = ids[first + j]
        if e.response.startswith(ANSWER_MARKER, e.response[:-1].rfind("\n") + 1):
            targets[row, end - 1] = eos
    num_tokens = sum(len(e.prompt) + len(e.response) + 2 for e in rows)
    return Batch(token_ids, targets, labels, local_labels, expected, is_step_end, num_tokens)


def collating(
    tokenizer: PreTrainedTokenizerFast, examples: Callable[[int, float], list[Example]]
) -> Callable[[int, float], Batch]:
    """Return a function that collates ``examples`` with a tokenizer's ids."""
    vocab = tokenizer.get_vocab()
    specials = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    return lambda index, progress: collate(examples(index, progress), vocab, specials)
