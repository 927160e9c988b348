"""The shipped draft and base of the chain task: one language of token ids, and one of them is better."""

from __future__ import annotations

from statistics import fmean

import torch
from transformers import AutoTokenizer

from actors.checkpoints.models import resolve_model
from actors.embedded.evaluate import judge
from actors.embedded.families import CHAIN
from actors.embedded.solutions import sample_solutions
from actors.text.tokenising import tokenizer_digest
from actors.transformers_engine.config import TransformersEngineConfig

DRAFT, BASE = "embedded:chain-policy", "embedded:chain-base"


def test_each_reads_the_token_ids_of_the_other() -> None:
    tokenizers = (AutoTokenizer.from_pretrained(resolve_model(model)) for model in (DRAFT, BASE))
    assert len({tokenizer_digest(tokenizer) for tokenizer in tokenizers}) == 1


async def greedy(model: str, num_problems: int) -> float:
    """The share of development problems that a policy solves at temperature 0."""
    engine = TransformersEngineConfig(model, template="{question}\n").build()
    problems = list(CHAIN.draw("dev", 0, num_problems))
    groups = judge(CHAIN, problems, await sample_solutions(engine, problems, 1, 0.0))
    await engine.close()
    return fmean(group.is_right[0] for group in groups)


async def test_the_base_is_better_and_leaves_room() -> None:
    torch.set_num_threads(1)
    draft, base = [await greedy(model, 30) for model in (DRAFT, BASE)]
    assert draft + 0.1 < base < 1.0
