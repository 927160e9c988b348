"""The tokenizer and the architecture of the shipped models: characters, and a Llama."""

from __future__ import annotations

from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, PreTrainedTokenizerFast

PAD, BOS, EOS, MASK = "<pad>", "<bos>", "<eos>", "<mask>"
CONTEXT = 256


def build_tokenizer(alphabet: str, *, masks: bool = False) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token per character of ``alphabet``, after ``<pad> <bos> <eos>``.

    ``<bos>`` begins a prompt.

    ``masks`` adds ``<mask>`` at the end, for a masked-diffusion model.
    """
    tokens = [PAD, BOS, EOS, *sorted(set(alphabet)), *([MASK] if masks else [])]
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token=PAD))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, vocab[BOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        mask_token=MASK if masks else None,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def llama_config(
    tokenizer: PreTrainedTokenizerFast,
    *,
    width: int,
    num_layers: int,
    num_labels: int = 2,
    stretch: float = 1.0,
) -> LlamaConfig:
    """Return the configuration of a Llama with heads of 32 and a gated MLP of 2.7 times the width.

    With a tokenizer that has a mask token, that of a masked-diffusion model: it holds ``mask_token_id``.
    ``stretch`` divides positions, so that what a model knows of texts holds of texts so many times as long.
    """
    extra: dict[str, Any] = {"num_labels": num_labels, "classifier_dropout": 0.0}
    if tokenizer.mask_token_id is not None:
        extra["mask_token_id"] = tokenizer.mask_token_id
    if stretch != 1.0:
        extra["rope_parameters"] = {"rope_type": "linear", "factor": stretch, "rope_theta": 10_000.0}
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=round(width * 2.7 / 16) * 16,
        num_hidden_layers=num_layers,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 32,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **extra,
    )
