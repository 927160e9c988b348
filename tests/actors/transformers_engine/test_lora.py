"""LoRA adapters on the transformers engines: peft's texts and rewards, and the promises of a model alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from actors.checkpoints.adapters import find_adapter
from actors.transformers_engine.config import TransformersEngineConfig, TransformersVerifierConfig
from actors.transformers_engine.merging import merge
from orchestrator.errors import ConfigError
from orchestrator.protocols import ScoreReply, ScoreRequest
from orchestrator.testing import check_engine
from tests.actors.small_adapters import save_adapter
from tests.actors.small_models import ask, completed
from tests.actors.small_reward_models import save_math_shepherd, save_trl

QUESTION = "5 a+1"
STEPS = ("a5+1=6\n", "b6*2=12\n", "#12\n")


@pytest.fixture(scope="module")
def adapter(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    return save_adapter(folder, policy, rank_pattern={"k_proj": 6}, use_rslora=True)


async def greedy(config: TransformersEngineConfig) -> list[int]:
    engine = config.build()
    (reply,) = completed(await engine.generate([ask(temperature=0, to_end=True, max_tokens=40, marker=None)]))
    await engine.close()
    return [token for step in reply.steps for token in step.token_ids]


async def test_greedy_text_is_that_of_peft(policy: Path, adapter: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(policy)
    base = transformers.AutoModelForCausalLM.from_pretrained(policy)
    model = peft.PeftModel.from_pretrained(base, str(adapter)).eval()
    prompt = tokenizer(f"{QUESTION}\n", return_tensors="pt")["input_ids"]
    expected = model.generate(input_ids=prompt, max_new_tokens=40, do_sample=False)[0, prompt.shape[1] :]
    found = await greedy(TransformersEngineConfig(str(policy), lora=str(adapter)))
    assert found == expected.tolist()
    assert found != await greedy(TransformersEngineConfig(str(policy)))


@pytest.mark.slow
async def test_an_engine_with_an_adapter_keeps_every_promise(policy: Path, adapter: Path) -> None:
    engine = TransformersEngineConfig(str(policy), lora=str(adapter)).build()
    assert engine.info.batch_invariant
    await check_engine(engine, question=QUESTION, answer_marker="#", solution_tokens=60)
    await engine.close()


def test_the_sum_is_rounded_once(policy: Path, adapter: Path) -> None:
    models = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = transformers.AutoModelForCausalLM.from_pretrained(policy, dtype=torch.bfloat16).to(dtype)
        merge(find_adapter("engine", str(adapter)), str(policy), model)
        models[dtype] = model.state_dict()
    exact, rounded = models.values()
    assert exact.keys() == rounded.keys()
    assert all(torch.equal(exact[name].bfloat16(), rounded[name]) for name in exact)


async def rewards(config: TransformersVerifierConfig, question: str, steps: Sequence[str]) -> list[float]:
    """In one call, which must be that step by step, bit by bit."""
    verifier = config.build()
    (whole,) = await verifier.score([ScoreRequest("p", question, tuple(steps), 0)])
    singly = [
        (await verifier.score([ScoreRequest("q", question, tuple(steps[: n + 1]), n)]))[0]
        for n in range(len(steps))
    ]
    assert verifier.info.batch_invariant
    await verifier.close()
    assert isinstance(whole, ScoreReply)
    found = [reward.log_odds for reward in whole.rewards]
    assert [reply.rewards[0].log_odds for reply in singly] == found
    return found


async def test_a_head_that_was_trained_with_the_adapter_is_read_from_it(
    reward_model: Path, tmp_path: Path
) -> None:
    """As TRL saves it: peft keeps the head of a token classifier whole."""
    folder = save_adapter(
        tmp_path, reward_model, auto_class="AutoModelForTokenClassification", task_type="TOKEN_CLS"
    )
    tensors = load_file(folder / "adapter_model.safetensors")
    (head,) = (name for name in tensors if name.endswith("score.weight"))
    tensors[head] = tensors[head].flip(0)  # what training has done to it
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    base = transformers.AutoModelForTokenClassification.from_pretrained(reward_model)
    model = peft.PeftModel.from_pretrained(base, str(folder)).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(reward_model)
    ids = tokenizer(QUESTION + "\n" + "".join(STEPS))["input_ids"]
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0].double()
    ends = [i for i, token in enumerate(ids) if tokenizer.decode([token]) == "\n"][1:]
    expected = (logits[:, 1] - logits[:, 0])[ends].tolist()
    found = await rewards(TransformersVerifierConfig(str(reward_model), lora=str(folder)), QUESTION, STEPS)
    assert found == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ConfigError, match=r"brings whole modules \(modules_to_save: classifier, score\)"):
        TransformersEngineConfig(str(reward_model), lora=str(folder))


@pytest.mark.parametrize("kind", ["math_shepherd", "trl"])
async def test_rewards_are_those_of_the_model_that_peft_merges(kind: str, tmp_path: Path) -> None:
    """A language model whose logits are narrowed to two tokens, and a classifier whose head is the base's."""
    base, merged = tmp_path / "base", tmp_path / "merged"
    (save_math_shepherd if kind == "math_shepherd" else save_trl)(base)
    auto_class = "AutoModelForCausalLM" if kind == "math_shepherd" else "AutoModelForTokenClassification"
    targets = ("q_proj", "down_proj", "lm_head") if kind == "math_shepherd" else ("q_proj", "down_proj")
    folder = save_adapter(tmp_path / "adapter", base, auto_class=auto_class, targets=targets)
    model: Any = getattr(transformers, auto_class).from_pretrained(base)
    peft.PeftModel.from_pretrained(model, str(folder)).merge_and_unload().save_pretrained(merged)
    transformers.AutoTokenizer.from_pretrained(base).save_pretrained(merged)
    options = {"format": "lm_head" if kind == "math_shepherd" else "token_classification"}
    question, steps = "How many are there?", ("3 + 4 = 7.\n\n", "The answer is 7.\n\n")
    found = await rewards(TransformersVerifierConfig(str(base), lora=str(folder), **options), question, steps)
    expected = await rewards(TransformersVerifierConfig(str(merged), **options), question, steps)
    assert found == pytest.approx(expected, abs=1e-6)
    assert found != pytest.approx(
        await rewards(TransformersVerifierConfig(str(base), **options), question, steps), abs=1e-2
    )


def drop(name: str) -> Any:
    return lambda tensors: {k: v for k, v in tensors.items() if name not in k}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (drop("layers.1.mlp.up_proj.lora_B"), "it lacks .*layers.1.mlp.up_proj.lora_B"),
        (lambda t: {k.replace("layers.1", "layers.7"): v for k, v in t.items()}, "it has no layers.7"),
        (lambda t: {k: v[:3] if "k_proj.lora_A" in k else v for k, v in t.items()}, "cannot be merged"),
        (lambda t: t | {f"{next(iter(t))}.more": torch.zeros(1)}, "it changes also"),
    ],
)
def test_an_adapter_that_is_not_whole_is_refused(
    spoil: Any, reason: str, policy: Path, tmp_path: Path
) -> None:
    folder = save_adapter(tmp_path, policy)
    file = folder / "adapter_model.safetensors"
    save_file({k: v.contiguous() for k, v in spoil(load_file(file)).items()}, file, {"format": "pt"})
    model = transformers.AutoModelForCausalLM.from_pretrained(policy)
    with pytest.raises(ConfigError, match=reason) as caught:
        merge(find_adapter("engine", str(folder)), str(policy), model)
    assert "\n" not in str(caught.value)


def test_tied_embeddings_are_not_changed(policy: Path, tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(policy)
    folder = save_adapter(tmp_path, policy, targets=("embed_tokens", "lm_head"))
    merge(find_adapter("engine", str(folder)), str(policy), model)
    model.config.tie_word_embeddings = True
    with pytest.raises(ConfigError, match="shares with its head"):
        merge(find_adapter("engine", str(folder)), str(policy), model)
