"""Training material: marks against a second reading, corruptions that are really wrong."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.embedded.chain_models import ALPHABET
from actors.embedded.corpus import IGNORE, annotate, collate, corrupt, split_lines
from actors.embedded.models import build_tokenizer
from orchestrator.tasks.chain import draw_chain, read_value

SPECIALS = (0, 1, 2)


def test_a_right_chain_is_right_everywhere() -> None:
    chain = draw_chain("train", 0)
    example = annotate(chain, chain.lines)
    assert example.response == "".join(chain.lines)
    assert set(example.is_right) == {1}
    assert all(example.is_local)
    assert "".join(example.expected) == example.response


def test_an_error_is_marked_where_it_is_and_stays() -> None:
    chain = draw_chain("test", 0)  # a94/2=47, b47-36=11, c11*2=22, ...
    example = annotate(chain, ["a94/2=48\n", "b48-36=12\n"])
    first = example.response.index("8")
    assert example.is_right == (1,) * first + (0,) * (len(example.response) - first)
    assert example.expected[first] == "7"
    # The second line is what follows from the first, wrong as that is.
    assert example.is_local == (True,) * first + (False, False) + (True,) * len("b48-36=12\n")


def test_a_healed_state_is_right_again() -> None:
    chain = draw_chain("test", 0)
    example = annotate(chain, ["a94/2=48\n", "b48-36=11\n", "c11*2=22\n"])
    ends = [i for i, c in enumerate(example.response) if c == "\n"]
    assert [example.is_right[i] for i in ends] == [0, 1, 1]


@given(index=st.integers(0, 10**6), rate=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_labels_agree_with_the_stated_values(index: int, rate: float, seed: int) -> None:
    chain = draw_chain("train", index)
    lines = corrupt(chain, np.random.default_rng(seed), rate)
    example = annotate(chain, lines)
    ends = list(itertools.accumulate(len(line) for line in lines))
    truth = (*chain.values, chain.values[-1])
    assert [example.is_right[e - 1] for e in ends] == [
        int(read_value(line) == v) for line, v in zip(lines, truth, strict=True)
    ]
    assert len(example.is_local) == len(example.expected) == len(example.response)
    if rate == 0:
        assert lines == list(chain.lines)


def test_corruption_is_never_the_right_value() -> None:
    rng = np.random.default_rng(0)
    for index in range(200):
        chain = draw_chain("train", index)
        first = corrupt(chain, rng, 1.0)[0]
        assert read_value(first) != chain.values[0]


@pytest.mark.parametrize(
    ("text", "lines"),
    [("a1=2\n#2\nrest", ["a1=2\n", "#2\n"]), ("a1=2", ["a1=2"]), ("", []), ("#\n#2\n", ["#\n"])],
)
def test_split_lines(text: str, lines: list[str]) -> None:
    assert split_lines(text) == lines


def test_collate_shifts_targets_and_ignores_what_is_wrong() -> None:
    tokenizer = build_tokenizer(ALPHABET)
    vocab = tokenizer.get_vocab()
    chain = draw_chain("test", 0)
    right, wrong = annotate(chain, chain.lines), annotate(chain, ["a94/2=48\n"])
    batch = collate([right, wrong], vocab, SPECIALS)
    ids = batch.token_ids[0]
    start = 1 + len(right.prompt)
    end = start + len(right.response)
    assert ids[0] == SPECIALS[1]
    assert (batch.targets[0, : start - 1] == IGNORE).all()
    assert (batch.targets[0, start - 1 : end - 1] == ids[start:end]).all()
    assert batch.targets[0, end - 1] == SPECIALS[2]
    slip = start + wrong.response.index("8")
    assert batch.targets[1, slip - 1] == IGNORE
    assert batch.expected[1, slip] == vocab["7"]
    assert batch.labels[1, slip] == 0 and batch.labels[1, slip - 1] == 1
    assert batch.is_step_end[0].sum() == len(chain.lines)
