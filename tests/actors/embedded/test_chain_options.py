"""The policy's copy with option tokens: how it begins, what its labels are, and what each loss reaches."""

import math

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM, LlamaForTokenClassification

from actors.embedded import chain_options as options
from actors.embedded.chain_models import ALPHABET
from actors.embedded.corpus import IGNORE, are_right, corrupt
from actors.embedded.evaluate import auc
from actors.embedded.models import build_tokenizer, llama_config
from actors.embedded.trainer import Recipe
from actors.text.tokens import InnerTokenizer
from actors.transformers_engine.config import TransformersEngineConfig
from orchestrator.prompts.question import PrefixQuestion
from orchestrator.protocols import PolicyPrefix, ScoreReply, ScoreRequest
from orchestrator.tasks.chain import draw_chains
from orchestrator.verifiers.self_evaluation import SelfEvaluation

RECIPE = Recipe(width=32, num_layers=2, num_tokens=1, batch_size=8)
TEXTS = ["a51/3=17\nb17+2=19\n#19\n", "a51/3=17\nb17+2=18\n#18\n", "a51/3=18\n", "a51/3=17\nb17+2=19\n#1\n"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def small_policy() -> LlamaForCausalLM:
    return LlamaForCausalLM(llama_config(build_tokenizer(ALPHABET), width=32, num_layers=1)).eval()


def test_the_options_are_single_tokens_after_the_policys_own() -> None:
    before, after = build_tokenizer(ALPHABET), options.option_tokenizer(ALPHABET)
    text = "51 a/3\na51/3=17\n"
    assert after(text)["input_ids"] == before(text)["input_ids"]
    assert after("".join(options.OPTIONS))["input_ids"][1:] == [len(before), len(before) + 1]


def test_the_copy_begins_as_the_policy() -> None:
    policy, tokenizer = small_policy(), options.option_tokenizer(ALPHABET)
    copy = options.Optioned(RECIPE, tokenizer).eval()
    options.start_from(copy, policy)
    ids = torch.tensor([tokenizer("51 a/3\na51/3=17\n")["input_ids"]])
    with torch.no_grad():
        logits = copy.policy(ids).logits
        assert torch.allclose(logits[..., : len(tokenizer) - 2], policy(ids).logits, atol=1e-5)
        assert not logits[..., -2:].any()


def test_an_attempt_is_ranked_against_the_others_after_the_same_step() -> None:
    """Four attempts of at most two steps; the third has one. The first step's rewards are .9 .9 .1 .5."""
    rewards = torch.tensor([[0.9, 0.8], [0.9, 0.2], [0.1, 0.0], [0.5, 0.45]])
    is_text = torch.tensor([[True, True]] * 2 + [[True, False], [True, True]])
    labels = options.option_labels(torch.logit(rewards, eps=1e-6), is_text, is_text)
    # The others' mean: .5, .5, .767, .633; and after the second step, of three attempts: .325, .625, -, .5.
    assert labels.tolist() == [[1, 1], [1, 0], [0, IGNORE], [0, IGNORE]]


def test_a_character_is_compared_with_the_end_of_its_own_step() -> None:
    is_end = torch.tensor([[False, True, False, True]] * options.GROUP)
    rewards = torch.tensor([[0.9, 0.9, 0.1, 0.1]] + [[0.5, 0.5, 0.5, 0.5]] * 3)
    labels = options.option_labels(torch.logit(rewards), torch.ones_like(is_end), is_end)
    assert labels[0].tolist() == [1, 1, 0, 0]
    assert labels[1].tolist() == [0, 0, 1, 1]


def test_every_weight_gets_a_loss_and_the_divergence_begins_at_nothing() -> None:
    policy, tokenizer = small_policy(), options.option_tokenizer(ALPHABET)
    copy = options.Optioned(RECIPE, tokenizer)
    options.start_from(copy, policy)
    config = llama_config(build_tokenizer(ALPHABET), width=32, num_layers=1)
    loss = options.OptionLoss(policy, LlamaForTokenClassification(config).eval())
    for progress, num_own in ((0.0, 0), (0.9, 4)):
        examples, num_rollouts = options.attempts(RECIPE, 0, progress, [TEXTS], ["51 a/3 b+2"])
        assert (len(examples), num_rollouts) == (8, num_own)
    batch = options.ranked(examples, num_rollouts, tokenizer, "cpu")
    total, figures = loss(copy, batch)
    assert set(figures) == {"option", "step", "policy", "local", "copy", "expected"}
    # Two options beside 29 characters take a share of the copy's probability at first, and nothing else.
    assert 0 < figures["policy"] < options.KEPT * math.log(31 / 20)
    total.backward()
    assert all(p.grad is not None for p in copy.parameters())


async def test_the_shipped_copy_prefers_right_states() -> None:
    """To near misses of the same problems, after the third step; the question costs no more than a token."""
    question = PrefixQuestion("", options.OPTIONS)
    engine = TransformersEngineConfig("embedded:chain-options", template="{question}\n").build()
    engine.check_options("verifier.restart", question.text, question.options)
    rng, ids = np.random.default_rng(0), InnerTokenizer(options.option_tokenizer(ALPHABET)).ids
    requests, labels = [], []
    for chain in draw_chains("dev", 0, 40):
        for lines in (list(chain.lines[:3]), corrupt(chain, rng, rate=0.3)[:3]):
            prefix = PolicyPrefix(chain.question, "", (), tuple(map(ids, lines)))
            requests.append(ScoreRequest(chain.question, chain.question, tuple(lines), 2, prefix=prefix))
            labels.append(are_right(chain, lines)[2])
    replies = await SelfEvaluation(engine, question).score(requests)
    await engine.close()
    rewards = [r.rewards[0].log_odds for r in replies if isinstance(r, ScoreReply)]
    assert 10 < sum(labels) < 70
    assert auc(rewards, labels) > 0.85
