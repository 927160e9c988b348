"""A small model of each reward model's architecture, saved as its checkpoint is, and its authors' reading.

``reference`` is the published code of each: the whole trajectory encoded at once by the library's own
classes, with none of ours. Weights are random, and wide enough that rewards are far from one another.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

QUESTION = "Tom has 3 apples and buys 4 more. How many are there?"
STEPS = (
    "Tom starts with 3 apples.\n\n",
    "He buys 4, so 3 + 4 = 7.\n\n",
    "Then there are 7 apples, I think.\n\n",
    "The answer is \\boxed{7}.\n\n",
)
TEXTS = [
    QUESTION,
    *STEPS,
    "Step 1: ки\nStep 2: ки\n + - Yes No apples are there so the answer is",
    "the ки ки ки + + - - ки",
] * 4
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m['role'] }}<|end|>\n\n"
    "{{ m['content'] | trim }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n{% endif %}"
)
SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."

# The pattern of Qwen2's tokenizer: newlines are one piece, whatever follows.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)

Reference = Callable[[Path, str, Sequence[str]], list[float]]
"""From a folder, a question and steps to the reward of each step, in [0, 1]."""


@dataclass(frozen=True)
class RewardModel:
    """One architecture: how its checkpoint is made, the options that read it, and its authors' reading."""

    save: Callable[[Path], None]
    reference: Reference
    format: str
    options: Mapping[str, Any] = field(default_factory=dict)
    readout: str = "per_step"


def byte_tokenizer(special: Sequence[str], template: str | None, **roles: str) -> PreTrainedTokenizerFast:
    """As those of Qwen2 and Llama 3: bytes, split by their pattern, special tokens whole."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, chat_template=template, model_max_length=1024, **roles
    )


def sentencepiece_tokenizer() -> PreTrainedTokenizerFast:
    """As Mistral's: a space before every text, spaces written as part of the word that follows."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))],
        show_progress=False,
        max_token_length=5,
    )
    tokenizer.train_from_iterator([line for text in TEXTS for line in text.split("\n")], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=1024,
    )
    fast.add_bos_token = True
    return fast


def config(kind: Any, tokenizer: Any, **more: Any) -> Any:
    """A narrow decoder of grouped queries with weights that are not small."""
    return kind(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **more,
    )


def save(folder: Path, model: Any, tokenizer: Any, extra: Mapping[str, torch.Tensor] = {}) -> None:
    """The model's checkpoint with further tensors in it, as a wrapper's checkpoint has."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if extra:
        file = folder / "model.safetensors"
        save_file({**load_file(file), **extra}, file, metadata={"format": "pt"})


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@cache
def qwen_tokenizer() -> PreTrainedTokenizerFast:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<extra_0>"]
    return byte_tokenizer(
        special, CHATML, eos_token="<|im_end|>", pad_token="<|endoftext|>", bos_token="<|endoftext|>"
    )


@cache
def llama_tokenizer() -> PreTrainedTokenizerFast:
    special = ["<|begin|>", "<|start|>", "<|end|>", "<|eot|>", "<|pad|>"]
    return byte_tokenizer(special, LLAMA3, bos_token="<|begin|>", eos_token="<|eot|>", pad_token="<|pad|>")


# Qwen/Qwen2.5-Math-PRM-7B: Qwen2ForProcessRewardModel is remote code, the model with an MLP on it.


def save_qwen_prm(folder: Path, context: int = 1024) -> None:
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    shape = config(transformers.Qwen2Config, tokenizer)
    shape.max_position_embeddings = tokenizer.model_max_length = context
    model = transformers.Qwen2ForCausalLM(shape)
    mlp = {
        "score.0.weight": torch.randn(48, 48) * 0.3,
        "score.0.bias": torch.randn(48) * 0.3,
        "score.2.weight": torch.randn(2, 48) * 0.3,
        "score.2.bias": torch.randn(2) * 0.3,
    }
    save(folder, model, tokenizer, mlp)
    change_config(
        folder,
        architectures=["Qwen2ForProcessRewardModel"],
        auto_map={"AutoModel": "modeling_qwen2_rm.Qwen2ForProcessRewardModel"},
    )


def read_qwen_prm(folder: Path, question: str, steps: Sequence[str]) -> list[float]:
    """The model card: steps joined and ended by <extra_0>; softmax of the two labels there, class 1."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": question},
        {"role": "assistant", "content": "<extra_0>".join(s.strip() for s in steps) + "<extra_0>"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
    ids = torch.tensor([tokenizer.encode(text)])
    tensors = load_file(folder / "model.safetensors")
    hidden = _hidden(transformers.Qwen2ForCausalLM, folder, ids)
    inner = torch.relu(hidden @ tensors["score.0.weight"].T + tensors["score.0.bias"])
    logits = inner @ tensors["score.2.weight"].T + tensors["score.2.bias"]
    is_tag = ids[0] == tokenizer.encode("<extra_0>")[0]
    return torch.softmax(logits.double(), -1)[is_tag, 1].tolist()


# TRL's PRMTrainer: Qwen2ForTokenClassification, each text tokenised by itself, labels at the separator.


def save_trl(folder: Path) -> None:
    torch.manual_seed(1)
    tokenizer = qwen_tokenizer()
    model = transformers.Qwen2ForTokenClassification(
        config(transformers.Qwen2Config, tokenizer, num_labels=2)
    )
    save(folder, model, tokenizer)


def read_trl(folder: Path, question: str, steps: Sequence[str]) -> list[float]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids, ends = tokenizer(question + "\n", add_special_tokens=False)["input_ids"], []
    for step in steps:
        ids = [
            *ids,
            *tokenizer(step.rstrip(), add_special_tokens=False)["input_ids"],
            *tokenizer.encode("\n"),
        ]
        ends.append(len(ids) - 1)
    model = transformers.Qwen2ForTokenClassification.from_pretrained(folder).eval()
    return torch.softmax(_logits(model, torch.tensor([ids])).double(), -1)[ends, 1].tolist()


# peiyi9979/math-shepherd-mistral-7b-prm: a language model's + against its - at each tag.


def save_math_shepherd(folder: Path) -> None:
    torch.manual_seed(2)
    tokenizer = sentencepiece_tokenizer()
    model = transformers.MistralForCausalLM(config(transformers.MistralConfig, tokenizer))
    save(folder, model, tokenizer)


def read_math_shepherd(folder: Path, question: str, steps: Sequence[str]) -> list[float]:
    """The model card, to the letter (its candidates are the tokens of "+ -" after the first)."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    candidates = tokenizer.encode("+ -", add_special_tokens=False)
    tag = tokenizer.encode(" ки")[-1]
    output = "\n".join(f"Step {i}: {s.strip()} ки" for i, s in enumerate(steps, start=1))
    ids = torch.tensor([tokenizer.encode(f"{question} {output}")])
    model = transformers.MistralForCausalLM.from_pretrained(folder).eval()
    scores = torch.softmax(_logits(model, ids)[:, candidates].double(), -1)[:, 0]
    return scores[ids[0] == tag].tolist()


# RLHFlow/Llama3.1-8B-PRM-Deepseek-Data: a turn a step, + against - where the model answers.


def save_rlhflow(folder: Path) -> None:
    torch.manual_seed(3)
    tokenizer = llama_tokenizer()
    model = transformers.LlamaForCausalLM(
        config(transformers.LlamaConfig, tokenizer, tie_word_embeddings=True)
    )
    save(folder, model, tokenizer)


def read_rlhflow(folder: Path, question: str, steps: Sequence[str]) -> list[float]:
    """RLHF-Reward-Modeling, math-rm/prm_evaluate.py: the whole conversation again for each step."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    candidates = [tokenizer.encode("+")[-1], tokenizer.encode("-")[-1]]
    model = transformers.LlamaForCausalLM.from_pretrained(folder).eval()
    conversation: list[dict[str, str]] = []
    rewards = []
    for i, step in enumerate(steps):
        text = step.rstrip() if i else question + " " + step.rstrip()
        conversation += [{"role": "user", "content": text}, {"role": "assistant", "content": "+"}]
        ids = tokenizer.apply_chat_template(conversation, return_tensors="pt", return_dict=False)
        logits = _logits(model, ids)[-3, candidates]
        rewards.append(float(torch.softmax(logits.double(), -1)[0]))
    return rewards


# Skywork/Skywork-o1-Open-PRM-Qwen-2.5: a value head beside the language model's own.


def save_skywork(folder: Path) -> None:
    torch.manual_seed(4)
    tokenizer = qwen_tokenizer()
    model = transformers.Qwen2ForCausalLM(config(transformers.Qwen2Config, tokenizer))
    value = {"v_head.summary.weight": torch.randn(1, 48) * 0.3, "v_head.summary.bias": torch.randn(1)}
    save(folder, model, tokenizer, value)


def read_skywork(folder: Path, question: str, steps: Sequence[str]) -> list[float]:
    """skywork-o1-prm-inference, prm_utils.prepare_input: each step by itself, then the newline's token."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids, ends = tokenizer.encode(tokenizer.bos_token + question + "\n"), []
    for step in steps:
        ids = [*ids, *tokenizer.encode(step.rstrip()), tokenizer.encode("\n")[-1]]
        ends.append(len(ids) - 1)
    tensors = load_file(folder / "model.safetensors")
    hidden = _hidden(transformers.Qwen2ForCausalLM, folder, torch.tensor([ids]))
    value = hidden @ tensors["v_head.summary.weight"].T + tensors["v_head.summary.bias"]
    return torch.sigmoid(value.double())[ends, 0].tolist()


# Outcome reward models: LlamaForSequenceClassification of one label over the whole conversation.


def save_outcome(folder: Path) -> None:
    torch.manual_seed(5)
    tokenizer = llama_tokenizer()
    model = transformers.LlamaForSequenceClassification(
        config(transformers.LlamaConfig, tokenizer, num_labels=1)
    )
    save(folder, model, tokenizer)


def read_outcome(folder: Path, question: str, steps: Sequence[str]) -> list[float]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": "".join(steps)}]
    ids = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=False)
    model = transformers.LlamaForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        return [float(torch.sigmoid(model(ids[:, :]).logits[0, 0].double()))]


def _hidden(kind: Any, folder: Path, ids: torch.Tensor) -> torch.Tensor:
    model = kind.from_pretrained(folder).eval()
    with torch.inference_mode():
        hidden: torch.Tensor = model.model(ids).last_hidden_state[0]
    return hidden


def _logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model(ids).logits[0]
    return logits


REWARD_MODELS = {
    "qwen_prm": RewardModel(save_qwen_prm, read_qwen_prm, "token_classification"),
    "trl": RewardModel(save_trl, read_trl, "token_classification"),
    "math_shepherd": RewardModel(save_math_shepherd, read_math_shepherd, "lm_head"),
    "rlhflow": RewardModel(save_rlhflow, read_rlhflow, "lm_turns"),
    "skywork": RewardModel(save_skywork, read_skywork, "value_head"),
    "outcome": RewardModel(save_outcome, read_outcome, "outcome", readout="whole"),
}
"""By the name of the file in conf/verifier/format that holds the options (``trl`` takes the defaults)."""
