"""The published semi-autoregressive loop of LLaDA (github.com/ML-GSAI/LLaDA, generate.py), for parity alone.

Written again as plainly as it was published: one path, no padding, no cache. Differences: the random
numbers are arguments, the mask token itself is never drawn, and two more measures of confidence. With
``tempered`` confidences are taken after the temperature and ``top_p``, as in Dream's code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Noise = Callable[[int, int], tuple[Tensor, Tensor]]
"""From a block and a step to uniform numbers ``[gen, vocab]`` for tokens and ``[gen]`` for positions."""


def logits_of(model: Any, x: Tensor) -> Tensor:
    """``[rows, length, vocab]`` with attention that sees both ways."""
    mask = torch.zeros(len(x), 1, x.shape[1], x.shape[1], dtype=model.dtype, device=x.device)
    logits: Tensor = model(input_ids=x, attention_mask=mask, use_cache=False).logits
    return logits


def in_nucleus(logits: Tensor, temperature: float, top_p: float) -> Tensor:
    """Logits without those tokens of which the more probable ones alone have more than ``top_p`` (Dream)."""
    if top_p == 1:
        return logits
    p = torch.softmax(logits.double() / (temperature or 1.0), dim=-1)
    above = [(p * (p > p[..., i, None])).sum(dim=-1) for i in range(p.shape[-1])]
    return torch.where(torch.stack(above, dim=-1) > top_p, -torch.inf, logits)


@torch.inference_mode()
def generate(
    model: Any, prompt: Sequence[int], *, gen_length: int, block_length: int, steps: int, temperature: float,
    cfg_scale: float, remasking: str, mask_id: int, noise: Noise, counts: Any, shift: int = 0,
    tempered: bool = False, top_p: float = 1.0,
) -> tuple[list[int], float]:  # fmt: skip
    """The canvas, and the sum of log p of its tokens at the passes that committed them."""
    start, total = len(prompt), 0.0
    x = torch.full((1, start + gen_length), mask_id, device=model.device)
    x[0, :start] = torch.tensor(prompt, device=model.device)
    prompt_index = x != mask_id
    num_blocks = gen_length // block_length
    for block in range(num_blocks):
        end = start + (block + 1) * block_length
        for step, count in enumerate(counts(block_length, steps // num_blocks)):
            mask_index = x == mask_id
            if cfg_scale > 0:
                un_x = torch.where(prompt_index, mask_id, x)
                logits, un_logits = torch.chunk(logits_of(model, torch.cat([x, un_x])), 2)
                logits = un_logits + (cfg_scale + 1) * (logits - un_logits)
            else:
                logits = logits_of(model, x)
            if shift:
                logits = torch.cat([logits[:, :1], logits[:, :-1]], dim=1)
            logits[..., mask_id] = -torch.inf
            of_tokens, of_positions = noise(block, step)
            p = torch.softmax(logits.double(), dim=-1)
            logits = in_nucleus(logits, temperature, top_p)
            noisy = logits.clone()
            if temperature > 0:
                noisy[0, start:] = logits[0, start:].double().exp() / (-torch.log(of_tokens)) ** temperature
            x0, measured = noisy.argmax(dim=-1), p
            if tempered:
                measured = torch.softmax(logits.double() / (temperature or 1.0), dim=-1)
            if remasking == "low_confidence":
                x0_p = measured.gather(-1, x0[..., None])[..., 0]
            elif remasking == "topk_margin":
                x0_p = measured.topk(2, dim=-1).values.diff(dim=-1).neg()[..., 0]
            elif remasking == "entropy":
                x0_p = torch.special.entr(measured).sum(dim=-1).neg()
            else:
                x0_p = torch.cat([torch.zeros(start, dtype=torch.float64), of_positions])[None]
            x0_p[:, end:] = -torch.inf
            confidence = torch.where(mask_index, x0_p, -torch.inf)
            select = torch.topk(confidence[0], k=count).indices
            x[0, select] = x0[0, select]
            total += float(p[0, select, x0[0, select]].log().sum())
    return x[0, start:].tolist(), total
