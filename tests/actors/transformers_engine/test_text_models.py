"""Models whose text is one part of several, against the library's own forward over the whole text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from actors.transformers_engine.config import TransformersEngineConfig, TransformersVerifierConfig
from actors.transformers_engine.loading import load
from orchestrator.errors import ConfigError
from orchestrator.protocols import Completion, ScoreReply, ScoreRequest
from tests.actors.small_models import ask
from tests.actors.small_reward_models import qwen_tokenizer

TEXT: dict[str, Any] = {
    "vocab_size": len(qwen_tokenizer()),
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "initializer_range": 0.3,
}
EYES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
QWEN_EYES: dict[str, Any] = {
    "depth": 1,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "out_hidden_size": 32,
    "patch_size": 14,
}
MROPE = {"type": "default", "rope_type": "default", "mrope_section": [2, 3, 3]}


def gemma3() -> Any:
    text = {**TEXT, "sliding_window": 512}
    return transformers.Gemma3ForConditionalGeneration(
        transformers.Gemma3Config(text_config=text, vision_config=EYES)
    )


def mistral3() -> Any:
    eyes = {**EYES, "model_type": "pixtral", "head_dim": 16}
    text = {**TEXT, "model_type": "mistral"}
    return transformers.Mistral3ForConditionalGeneration(
        transformers.Mistral3Config(text_config=text, vision_config=eyes)
    )


def llava() -> Any:
    eyes = {**EYES, "model_type": "clip_vision_model", "projection_dim": 32}
    text = {**TEXT, "model_type": "llama"}
    return transformers.LlavaForConditionalGeneration(
        transformers.LlavaConfig(text_config=text, vision_config=eyes)
    )


def qwen25_vl() -> Any:
    text = {**TEXT, "rope_scaling": MROPE}
    eyes = {**QWEN_EYES, "fullatt_block_indexes": [0]}
    return transformers.Qwen2_5_VLForConditionalGeneration(
        transformers.Qwen2_5_VLConfig(text_config=text, vision_config=eyes)
    )


def qwen3_vl() -> Any:
    text = {**TEXT, "rope_scaling": {**MROPE, "mrope_interleaved": True}}
    eyes = {**QWEN_EYES, "deepstack_visual_indexes": [0]}
    return transformers.Qwen3VLForConditionalGeneration(
        transformers.Qwen3VLConfig(text_config=text, vision_config=eyes)
    )


def smolvlm() -> Any:
    text = {**TEXT, "model_type": "llama"}
    return transformers.SmolVLMForConditionalGeneration(
        transformers.SmolVLMConfig(text_config=text, vision_config=EYES)
    )


def llama4() -> Any:
    text = {**TEXT, "intermediate_size_mlp": 64, "num_local_experts": 2, "num_experts_per_tok": 1}
    eyes = {**EYES, "vision_output_dim": 32, "projector_input_dim": 32, "projector_output_dim": 32}
    return transformers.Llama4ForConditionalGeneration(
        transformers.Llama4Config(text_config=text, vision_config=eyes)
    )


def saved(make: Any, folder: Path) -> str:
    torch.manual_seed(0)
    make().save_pretrained(folder)
    tokenizer = qwen_tokenizer()
    tokenizer.save_pretrained(folder)
    return str(folder)


@torch.no_grad()
def greedily(model: Any, token_ids: list[int], num_tokens: int) -> list[int]:
    """The library's way: the whole text is computed again for each token."""
    for _ in range(num_tokens):
        logits = model(input_ids=torch.tensor([token_ids])).logits[0, -1]
        token_ids = [*token_ids, int(logits.argmax())]
    return token_ids[-num_tokens:]


@pytest.mark.parametrize("make", [gemma3, mistral3, llava, qwen25_vl, qwen3_vl, smolvlm])
async def test_a_text_among_several_is_continued_as_the_library_does(make: Any, tmp_path: Path) -> None:
    folder = saved(make, tmp_path)
    engine = TransformersEngineConfig(folder, template="{question}").build()
    request = ask("He buys 4, so", temperature=0.0, max_tokens=8, delimiter="\n\n\n", marker=None)
    (reply,) = await engine.generate([request])
    await engine.close()
    assert isinstance(reply, Completion)
    prompt = qwen_tokenizer()("He buys 4, so")["input_ids"]
    whole = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
    tokens = [t for step in reply.steps for t in step.token_ids]
    assert tokens == greedily(whole, prompt, 8)[: len(tokens)]
    assert len(tokens) == 8 or tokens[-1] == 2


def test_only_what_a_text_passes_through_is_counted(tmp_path: Path) -> None:
    loaded = load(TransformersEngineConfig(saved(llava, tmp_path)))
    whole = llava()
    text = sum(p.numel() for p in whole.get_decoder().parameters()) + whole.lm_head.weight.numel()
    assert loaded.num_parameters == text < sum(p.numel() for p in whole.parameters())


async def test_a_reward_head_on_a_text_among_several(tmp_path: Path) -> None:
    folder = Path(saved(gemma3, tmp_path))
    tensors = load_file(folder / "model.safetensors")
    tensors["score.weight"] = torch.randn(2, 32)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    verifier = TransformersVerifierConfig(str(folder)).build()
    (reply,) = await verifier.score([ScoreRequest("p", "2+2?", ("It is 4.\n",), 0)])
    await verifier.close()
    assert isinstance(reply, ScoreReply)
    pieces = ("2+2?\n", "It is 4.", "\n")
    ids = torch.tensor([[t for piece in pieces for t in qwen_tokenizer()(piece)["input_ids"]]])
    model = transformers.Gemma3Model.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = model(input_ids=ids).last_hidden_state[0, -1] @ tensors["score.weight"].T
    assert reply.rewards[0].value == pytest.approx(torch.softmax(logits, -1)[1].item(), abs=2e-6)


def t5() -> Any:
    shape = {"vocab_size": 420, "d_model": 32, "d_ff": 32, "d_kv": 8, "num_layers": 1, "num_heads": 2}
    return transformers.T5ForConditionalGeneration(transformers.T5Config(**shape))


def bert() -> Any:
    shape = {**EYES, "vocab_size": 420}
    return transformers.BertForMaskedLM(transformers.BertConfig(**shape))


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (t5, "is a T5ForConditionalGeneration, which transformers cannot load as a model of text"),
        (bert, "is a BertLMHeadModel, which is not causal: its tokens see later ones"),
        (llama4, "layers of kind chunked_attention: use engine=vllm"),
    ],
)
def test_what_cannot_be_a_policy_is_refused(make: Any, line: str, tmp_path: Path) -> None:
    folder = saved(make, tmp_path)
    with pytest.raises(ConfigError, match=rf"^engine\.model={folder}: {line}"):
        TransformersEngineConfig(folder).build()
