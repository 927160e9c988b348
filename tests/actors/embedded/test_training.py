"""The training script: it learns, and a cut run ends as an uncut one."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer, LlamaForCausalLM

from actors.embedded.chain_models import (
    ALPHABET,
    Verifier,
    policy_examples,
    policy_loss,
    start_from_policy,
    verifier_examples,
    verifier_loss,
)
from actors.embedded.corpus import collate, collating
from actors.embedded.evaluate import auc, failed_gates
from actors.embedded.export import as_token_classifier, save_model
from actors.embedded.families import CHAIN
from actors.embedded.models import build_tokenizer, llama_config
from actors.embedded.muon import Muon, orthogonalise
from actors.embedded.train import stages_of
from actors.embedded.trainer import Recipe, Trainer, learning_rate

RECIPE = Recipe(width=32, num_layers=1, num_tokens=6_000, batch_size=8)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def make_trainer(folder: Path, recipe: Recipe = RECIPE) -> Trainer:
    torch.manual_seed(recipe.seed)
    tokenizer = build_tokenizer(ALPHABET)
    model = LlamaForCausalLM(llama_config(tokenizer, width=recipe.width, num_layers=recipe.num_layers))
    batches = collating(tokenizer, lambda i, p: policy_examples(recipe, i, p))
    return Trainer(model, recipe, folder, batches, policy_loss)


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in trainer.model.state_dict().items()}


def test_a_cut_run_ends_as_an_uncut_one(tmp_path: Path) -> None:
    whole = make_trainer(tmp_path / "whole")
    list(whole.run())
    cut = make_trainer(tmp_path / "cut")
    (tmp_path / "cut").mkdir()
    for _ in range(5):
        cut.step()
    cut.save()
    resumed = make_trainer(tmp_path / "cut")
    list(resumed.run())
    assert resumed.index == whole.index > 5
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), name


def test_training_learns(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, Recipe(width=32, num_layers=1, num_tokens=100_000, batch_size=16))
    first = trainer.step()["loss"]
    list(trainer.run())
    assert trainer.step()["loss"] < first - 0.8


def test_a_later_snapshot_is_shipped_as_the_base(tmp_path: Path) -> None:
    assert CHAIN.base_snapshot is not None and CHAIN.base_snapshot > CHAIN.shipped_snapshot
    assert "export-base" not in stages_of("countdown", 1.0)
    stages = stages_of("chain", 0.001)  # a step of training
    stages["policy"](tmp_path, tmp_path)
    later = tmp_path / "policy" / f"snapshot-{CHAIN.base_snapshot:03d}"
    (tmp_path / "policy" / "last").rename(later)
    stages["export-base"](tmp_path, tmp_path)
    trained = LlamaForCausalLM.from_pretrained(later)
    shipped = LlamaForCausalLM.from_pretrained(tmp_path / "chain-base", dtype=torch.float32)
    for name, weight in trained.state_dict().items():
        assert torch.allclose(weight, shipped.state_dict()[name], atol=2e-3), name
    assert AutoTokenizer.from_pretrained(tmp_path / "chain-base").get_vocab()["#"] > 0


def test_the_verifier_starts_as_the_policy_and_exports_as_transformers_own_class(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(ALPHABET)
    recipe = Recipe(width=32, num_layers=2, num_tokens=1, batch_size=4)
    policy = LlamaForCausalLM(llama_config(tokenizer, width=32, num_layers=1)).eval()
    verifier = Verifier(recipe).eval()
    start_from_policy(verifier, policy)
    ids = torch.tensor([tokenizer("51 a/3\na51/3=17\n")["input_ids"]])
    with torch.no_grad():
        assert torch.allclose(verifier.lm_head(verifier(ids)), policy(ids).logits, atol=1e-5)
    save_model(as_token_classifier(verifier.model, verifier.score), tokenizer, tmp_path)
    loaded = AutoModelForTokenClassification.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.no_grad():
        logits, exact = loaded(ids).logits, verifier.score(verifier(ids))
    assert torch.allclose(logits, exact, atol=5e-3)
    assert AutoTokenizer.from_pretrained(tmp_path)("51")["input_ids"] == tokenizer("51")["input_ids"]


def test_every_head_of_the_verifier_gets_a_loss() -> None:
    tokenizer = build_tokenizer(ALPHABET)
    recipe = Recipe(width=32, num_layers=1, num_tokens=1, batch_size=4)
    model = Verifier(recipe)
    rollouts = [{"question": "51 a/3 b+2", "text": "a51/3=17\nb17+2=18\n#18\n"}]
    for progress in (0.0, 0.9):
        examples = verifier_examples(recipe, 0, progress, rollouts)
        assert len(examples) == 4
        loss, figures = verifier_loss(model, collate(examples, tokenizer.get_vocab(), (0, 1, 2)))
        assert set(figures) == {"lm", "dense", "step", "local", "copy", "expected"}
        assert torch.isfinite(loss)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 8, 24), (2, 24, 8)])
def test_orthogonalise_evens_the_singular_values(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(*shape)))
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_muon_descends() -> None:
    torch.manual_seed(0)
    target, weight = torch.randn(8, 8), torch.nn.Parameter(torch.zeros(8, 8))
    optimizer = Muon([weight], lr=0.05)
    losses = []
    for _ in range(120):
        loss = (weight - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_learning_rate_falls_to_a_floor() -> None:
    recipe = Recipe(width=32, num_layers=1, num_tokens=1, decay_from=0.5)
    assert [learning_rate(recipe, p) for p in (0.0, 0.5, 0.75)] == [1.0, 1.0, 0.5]
    assert learning_rate(recipe, 1.0) == 0.02


def test_auc_counts_ties_half() -> None:
    assert auc([1.0, 2.0, 3.0, 3.0], [False, False, True, True]) == 1.0
    assert auc([1.0, 1.0], [False, True]) == 0.5
    assert auc([2.0, 1.0], [False, True]) == 0.0


def test_gates_name_what_failed() -> None:
    good = {"within_problem_auc": 0.9, "best_of": {1: 0.2, 2: 0.3}}
    assert failed_gates(good) == []
    assert "below 0.8" in failed_gates({**good, "within_problem_auc": 0.7})[0]
    assert "does not rise" in failed_gates({**good, "best_of": {1: 0.3, 2: 0.2}})[0]
