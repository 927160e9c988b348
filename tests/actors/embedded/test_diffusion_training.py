"""Training a masked-diffusion model: what is masked and weighted, what it learns from, and that it learns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from actors.embedded.diffusion import (
    MIN_RATIO,
    Canvases,
    Solved,
    diffusion_loss,
    encode,
    mask_canvases,
    masking,
    predict,
)
from actors.embedded.export import save_model
from actors.embedded.families import TWOWAY
from actors.embedded.models import MASK, build_tokenizer, llama_config
from actors.embedded.trainer import Recipe, Trainer
from actors.embedded.twoway_models import ALPHABET, DIFFUSION, FINISH, POLISH, num_moves_at, solved_walks
from orchestrator.tasks.drawn import BUCKETS
from orchestrator.tasks.draws import bucket
from orchestrator.tasks.twoway import NUM_MOVES, TwoWayTask
from tests.laws import assert_mean

TINY = Recipe(width=32, num_layers=1, num_tokens=25_000, batch_size=16)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def tiny_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    tokenizer = build_tokenizer(ALPHABET, masks=True)
    return LlamaForCausalLM(llama_config(tokenizer, width=32, num_layers=1)).eval()


def test_a_canvas_ends_with_end_of_text() -> None:
    tokenizer = build_tokenizer(ALPHABET, masks=True)
    ids = encode(tokenizer, Solved("Fc?\n", "FcG#G"), gen_length=8)
    assert tokenizer.decode(ids) == "<bos>Fc?\nFcG#G<eos><eos><eos>"


def test_only_canvas_tokens_are_masked_each_with_its_rows_chance() -> None:
    rows = np.arange(40)[None].repeat(4_000, axis=0)
    batch = mask_canvases(rows.tolist(), gen_length=30, mask_id=99, rng=np.random.default_rng(0))
    assert not batch.is_masked[:, :10].any()
    assert torch.equal(batch.token_ids == 99, batch.is_masked)
    assert torch.equal(batch.token_ids[~batch.is_masked], batch.targets[~batch.is_masked])
    assert float(batch.ratios.min()) >= MIN_RATIO and float(batch.ratios.max()) <= 1.0
    assert_mean(batch.ratios.tolist(), (1 + MIN_RATIO) / 2)
    assert_mean((batch.is_masked[:, 10:].float().mean(1) / batch.ratios).tolist(), 1.0)


def test_the_loss_weighs_a_masked_token_by_one_over_its_rows_chance() -> None:
    model = tiny_model()
    batch = Canvases(
        token_ids=torch.tensor([[1, 4, 5, 6], [1, 4, 5, 6]]),
        targets=torch.tensor([[1, 4, 7, 8], [1, 4, 9, 10]]),
        is_masked=torch.tensor([[False, False, True, True], [False, False, False, True]]),
        ratios=torch.tensor([0.5, 0.25]),
        gen_length=2,
    )
    nats = -predict(model, batch.token_ids).log_softmax(-1)
    by_hand = (nats[0, 2, 7] / 0.5 + nats[0, 3, 8] / 0.5 + nats[1, 3, 10] / 0.25) / (2 * 2)
    assert torch.allclose(diffusion_loss(model, batch)[0], by_hand)


def test_every_token_sees_every_other() -> None:
    model = tiny_model()
    one, other = torch.tensor([[1, 4, 5, 6]]), torch.tensor([[1, 4, 5, 7]])
    assert not torch.allclose(predict(model, one)[0, 0], predict(model, other)[0, 0])


def test_training_learns_and_repeats_itself(tmp_path: Path) -> None:
    tokenizer, losses = build_tokenizer(ALPHABET, masks=True), []
    for folder in ("a", "b"):
        trainer = Trainer(
            tiny_model().train(), TINY, tmp_path / folder, masking(TWOWAY, TINY, tokenizer), diffusion_loss
        )
        first = trainer.step()["loss"]
        list(trainer.run())
        losses.append(trainer.step()["loss"])
    assert losses[0] == losses[1] < first - 0.8


def test_batches_are_of_one_length_and_about_as_many_tokens() -> None:
    tokenizer, sizes = build_tokenizer(ALPHABET, masks=True), []
    batches = masking(TWOWAY, DIFFUSION, tokenizer)
    for index, progress in ((0, 0.0), (1, 0.03), (2, 0.1), (4, 0.9)):
        batch = batches(index, progress)
        sizes.append(batch.num_tokens)
        assert batch.gen_length == 4 * (num_moves_at(DIFFUSION, index, progress) + 1)
        assert torch.equal(batch.token_ids, batches(index, progress).token_ids)
    assert max(sizes) < 1.05 * min(sizes)


def test_the_curriculum_ends_with_whole_walks() -> None:
    assert {num_moves_at(DIFFUSION, i, 0.0) for i in range(10)} == {1}
    assert {num_moves_at(DIFFUSION, i, 0.1) for i in range(10)} == set(range(1, NUM_MOVES + 1))
    assert {num_moves_at(DIFFUSION, i, 1.0) for i in range(10)} == {NUM_MOVES}
    assert {num_moves_at(r, i, 0.0) for r in (POLISH, FINISH) for i in range(10)} == {NUM_MOVES}


def test_what_is_learnt_from_is_right_and_of_the_training_split() -> None:
    task, shown = TwoWayTask(), set()
    for index in range(20):
        solved, gen_length = solved_walks(POLISH, index, 0.5)
        for one in solved:
            question = one.prompt.removesuffix("\n")
            assert bucket(question) in BUCKETS["train"]
            assert task.extract(one.response) is not None and len(one.response) < gen_length
            if question.endswith("?"):
                shown.add(len(one.response))
    assert shown == {2, 5, 7, 9, 11, 13}  # the answer alone, or after one move to five


def test_recipes_differ_in_what_they_draw() -> None:
    first, second = (solved_walks(recipe, 0, 1.0)[0] for recipe in (DIFFUSION, POLISH))
    assert {one.prompt for one in first}.isdisjoint(one.prompt for one in second)


def test_an_exported_model_says_which_token_is_the_mask(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(ALPHABET, masks=True)
    save_model(tiny_model(), tokenizer, tmp_path)
    loaded = LlamaForCausalLM.from_pretrained(tmp_path)
    assert loaded.config.mask_token_id == tokenizer.mask_token_id == len(tokenizer) - 1
    assert AutoTokenizer.from_pretrained(tmp_path).mask_token == MASK
    assert build_tokenizer(ALPHABET).mask_token is None
