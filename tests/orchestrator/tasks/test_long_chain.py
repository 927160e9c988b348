"""Long chains: sixteen operations, right, and in one split only."""

import pytest

from orchestrator import LongChainTask
from orchestrator.tasks.chain import draw_chains, parse_question
from orchestrator.tasks.drawn import BUCKETS
from orchestrator.tasks.draws import bucket
from orchestrator.tasks.long_chain import NUM_STEPS


def test_a_long_problem_never_changes() -> None:
    (first,) = LongChainTask().problems(0, 1)
    assert first.id == "long-chain-test-0"
    assert first.question == ("24 a/4 b+13 c+71 d+5 e/5 f*5 g/5 h*3 i-4 j-37 k*3 l+21 m+11 n+10 o+6 p+1")
    assert first.answer == "97"


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_long_chains_are_right_and_fit_the_models(split: str) -> None:
    for chain in draw_chains(split, 0, 40, NUM_STEPS):  # type: ignore[arg-type]
        assert len(chain.lines) == NUM_STEPS + 1 and parse_question(chain.question) == chain
        assert bucket(chain.question) in BUCKETS[split]  # type: ignore[index]
        assert len(f"{chain.question}\n{''.join(chain.lines)}") + 2 <= 256
        assert LongChainTask().extract("".join(chain.lines)) == str(chain.values[-1])
