"""Where a thought begins and ends, what is left of its budget, and what ends it; then all of it in vLLM."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from actors.text.thinking import Thinking, _natural_ends, common_end
from actors.vllm_engine.config import VllmEngineConfig
from orchestrator.types import Finish, Step
from tests.actors.shared_vllm import SMALL
from tests.actors.small_models import ask, byte_level_tokenizer, completed

PHRASE = "I must answer now.</think>"
NAMES = ["<|end|>", "<|turn|>", "<think>", "</think>"]


def bytes_tokenizer() -> Any:
    """Bytes as tokens, and the tags of a model that thinks."""
    names = [*NAMES, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|end|>",
        bos_token="<|turn|>",
        additional_special_tokens=["<think>", "</think>"],
    )


@pytest.fixture(scope="module")
def tags() -> Any:
    return bytes_tokenizer()


def ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize(
    ("text", "has_begun", "num_left", "forced"),
    [
        ("hello", False, None, ""),
        ("<think>", True, 5, ""),
        ("\n<think>\nab", True, 2, ""),
        ("<think>abcde", True, 0, PHRASE),
        ("<think>abcdefgh", True, 0, PHRASE),
        ("<think>abcde\n\nI must", True, 0, " answer now.</think>"),
        ("<think>abcdI", True, 0, " must answer now.</think>"),
        # Left by itself, by the phrase, or before it began.
        ("<think>ab</think>", True, None, ""),
        ("<think>ab</think>pqrstuvwxyz", True, None, ""),
        (f"<think>abcde{PHRASE}pqrstuvwxyz", True, None, ""),
        ("<think>\n\n</think>\n\npqrstuvwxyz", True, None, ""),
        ("abc</think>pqrstuvwxyz", True, None, ""),
        # A text that has left its thought is free to speak of one.
        ("<think>ab</think>Write <think> and then pqrstuvwxyz", True, None, ""),
    ],
)
def test_what_is_left_of_a_thought(
    tags: Any, text: str, has_begun: bool, num_left: int | None, forced: str
) -> None:
    thought = Thinking(tags, 5, "<think>", PHRASE).thought(ids(tags, text))
    assert (thought.has_begun, thought.num_left) == (has_begun, num_left)
    assert thought.forced == ids(tags, forced)


def test_tags_of_several_tokens_are_found_however_they_are_cut() -> None:
    tokenizer = byte_level_tokenizer()
    thinking = Thinking(tokenizer, 4, "<think>", "</think>")
    assert len(ids(tokenizer, "</think>")) > 1
    inside = thinking.thought(ids(tokenizer, "<think>") + ids(tokenizer, "so"))
    assert inside.num_left == 4 - len(ids(tokenizer, "so"))
    over = thinking.thought(ids(tokenizer, "<think>so</think>\n\nthe step is done"))
    assert (over.num_left, over.forced) == (None, ())
    part = thinking.thought(ids(tokenizer, "<think>the step is done</thi"))
    assert (part.num_left, part.forced) == (1, ()), "a tag that is being written is finished"


@pytest.mark.parametrize(
    ("start", "end", "natural"),
    [
        ("<think>", "</think>", {"</think>"}),
        ("<think>", PHRASE, {"</think>"}),
        ("<think>", "I must answer now.", {"</think>"}),
        ("<think>", "Time is up.</think>\n\n<answer>", {"</think>"}),
        ("[THINK]", "So:[/THINK]", {"[/THINK]"}),
        ("<|START_THINKING|>", "So:<|END_THINKING|>", {"<|END_THINKING|>"}),
        ("<|begin_of_thought|>", "So:<|end_of_thought|>", {"<|end_of_thought|>"}),
        ("<seed:think>", "</seed:think>", {"</seed:think>"}),
        ("Thought:", "</thought>", {"</thought>"}),
        ("#", "*", set()),
        ("<|channel|>analysis<|message|>", "So:<|stop|>", {"<|stop|>"}),
    ],
)
def test_how_a_model_ends_its_thought_by_itself(tags: Any, start: str, end: str, natural: set[str]) -> None:
    assert _natural_ends(start, end, tags) == natural


def test_added_tokens_within_the_phrase_end_a_thought() -> None:
    tokenizer = bytes_tokenizer()
    tokenizer.add_tokens([AddedToken("◁over▷", special=False)])
    assert _natural_ends("Thought:", "So◁over▷", tokenizer) == {"◁over▷"}


def test_the_begin_of_a_thought_is_a_stop(tags: Any) -> None:
    stops = {"stop_token_ids": [0], "detokenize": False}
    assert Thinking(tags, 5, "<think>", PHRASE).stops(stops) == {
        "stop_token_ids": [0, 2],
        "detokenize": False,
    }
    of_two = Thinking(tags, 5, "#a", PHRASE).stops({**stops, "stop": ["\n"]})
    assert of_two == {"stop_token_ids": [0], "stop": ["\n", "#a"], "skip_special_tokens": False}


def test_what_two_prompts_end_with() -> None:
    assert common_end((1, 2, 3, 4), (9, 3, 4)) == (3, 4)
    assert common_end((1, 2), (1, 2)) == (1, 2)
    assert common_end((), (1,)) == ()


def save_chain(folder: Path, thought: str, answer: str = "pqrstuvwxyz") -> Path:
    """A model in which each token says the next one: it thinks ``thought``, and then answers."""
    tokenizer = bytes_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] + '\\n' }}{% endfor %}"
    said = ["\n", "<think>", *thought, "</think>", *answer, "<|end|>"]
    vocab = tokenizer.get_vocab()
    chain = [ids(tokenizer, each)[0] for each in said]
    config = LlamaConfig(
        vocab_size=len(vocab),
        hidden_size=320,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=0,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            weights.fill_(1.0 if "norm" in name else 0.0)
        model.model.embed_tokens.weight[:, : len(vocab)] = torch.eye(len(vocab))
        # What is forced continues as if the thought had ended.
        for before, after in [*pairwise(chain), (vocab["!"], vocab["p"])]:
            model.lm_head.weight[after, before] = 50.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("end", "budget"), [(PHRASE, 20), (PHRASE, 5), ("Now!", 5)])
async def test_nothing_is_forced_into_an_answer(tmp_path: Path, end: str, budget: int) -> None:
    """Below its budget and above it, in one go and by steps, after a question that speaks of thoughts."""
    folder = save_chain(tmp_path / "model", "abcdefgh")
    said = "abcdefgh" if budget == 20 else "abcde" + end.removesuffix("</think>")
    engine = VllmEngineConfig(
        str(folder), chat=True, thinking_budget=budget, thinking_end=end, args=SMALL
    ).build()
    how: dict[str, Any] = {"temperature": 0.0, "delimiter": "r", "marker": None, "max_tokens": 80}
    try:
        (whole,) = completed(await engine.generate([ask("What is <think>?", to_end=True, **how)]))
        assert "".join(s.text for s in whole.steps) == f"{said}pqrstuvwxyz"
        assert whole.steps[-1].finish is Finish.EOS
        steps: list[Step] = []
        while not steps or steps[-1].finish is Finish.STEP:
            so_far = tuple(t for s in steps for t in s.token_ids)
            request = ask("What is <think>?", token_ids=so_far, **how)
            steps += completed(await engine.generate([request]))[0].steps
        assert [(s.text, s.token_ids, s.finish) for s in steps] == [
            (s.text, s.token_ids, s.finish) for s in whole.steps
        ]
        for each in (*steps, *whole.steps):
            assert each.logprob is not None
            assert each.logprob <= 0
    finally:
        await engine.close()
