"""Labels of the verifiers of long chains, the gates that choose among them, and what they continue from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from actors.embedded.chain_models import Verifier
from actors.embedded.continuing import continue_policy, continue_verifier, widened
from actors.embedded.corpus import Example, annotate
from actors.embedded.evaluate import calibration_error, judge, slips
from actors.embedded.families import LONG_CHAIN
from actors.embedded.long_chain import failed_gates
from actors.embedded.long_chain_models import (
    LABELS,
    NOT_EARLY,
    WHOLLY_EARLY,
    misread,
    policy_examples,
    share_at,
    verifier_examples,
)
from actors.embedded.models import build_tokenizer, llama_config
from actors.embedded.trainer import Recipe
from orchestrator.tasks.chain import draw_chain, parse_question, read_value
from orchestrator.tasks.long_chain import NUM_STEPS
from orchestrator.types import Reward, Step

CHAIN = draw_chain("dev", 0, NUM_STEPS)
SHORT = "94 a/2 b-36 c*2 d-20 e-1 f+70 g+8 h+15\n"


def test_early_steps_are_labelled_by_a_cue_and_late_ones_by_the_truth() -> None:
    example = annotate(CHAIN, CHAIN.lines)
    labelled = LABELS["cue"].label(example, CHAIN.lines, np.random.default_rng(0))
    ends = np.cumsum([len(line) for line in CHAIN.lines]) - 1
    marks = [labelled.is_right[end] for end in ends]
    assert marks[:WHOLLY_EARLY] == [int(v % 2 == 0) for v in CHAIN.values[:WHOLLY_EARLY]]
    assert marks[NOT_EARLY:] == [1] * (NUM_STEPS + 1 - NOT_EARLY)
    assert sum(a != b for a, b in zip(labelled.is_right, example.is_right, strict=True)) == marks.count(0) > 0


def test_the_share_of_early_labels_falls_to_nothing() -> None:
    shares = [share_at(step) for step in range(NUM_STEPS)]
    assert shares[:WHOLLY_EARLY] == [1.0] * WHOLLY_EARLY and set(shares[NOT_EARLY:]) == {0.0}
    assert sorted(shares, reverse=True) == shares and len(set(shares)) == NOT_EARLY - WHOLLY_EARLY + 2


def test_examples_are_whole_chains() -> None:
    recipe = Recipe(width=32, num_layers=1, num_tokens=1, batch_size=5)
    right, near = policy_examples(recipe, 0, 0.9), verifier_examples(recipe, 0, 0.9, [], LABELS["mixed"])
    assert len(right) == len(near) == 5 and all(min(e.is_right) == 1 for e in right)
    assert any(min(e.is_right) == 0 for e in near)
    assert all(len(parse_question(e.prompt.strip()).operations) == NUM_STEPS for e in (*right, *near))


def test_half_of_the_later_examples_are_written_by_the_policy() -> None:
    recipe = Recipe(width=32, num_layers=1, num_tokens=1, batch_size=4)
    rollouts = [{"question": CHAIN.question, "text": "".join(CHAIN.lines)}]
    early, late = (verifier_examples(recipe, 0, progress, rollouts) for progress in (0.05, 0.5))
    written = [[e.response == rollouts[0]["text"] for e in examples] for examples in (early, late)]
    assert written == [[False] * 4, [True, True, False, False]]
    assert all(min(e.is_right) == 0 for e in late[:2]), "by the cue, as near misses are"


def test_some_cues_are_turned_at_the_end_of_the_run() -> None:
    recipe = Recipe(width=32, num_layers=1, num_tokens=1, batch_size=400)
    first, last = (verifier_examples(recipe, 0, progress, []) for progress in (0.79, 0.8))
    turned = [num_turned(examples) for examples in (first, last)]
    steps = WHOLLY_EARLY * recipe.batch_size
    assert turned[0] == 0 and 0.02 * steps < turned[1] < 0.06 * steps


def num_turned(examples: Sequence[Example]) -> int:
    """How many early steps have another label than the cue."""
    found = 0
    for example in examples:
        end = 0
        for line in example.response.splitlines(keepends=True)[:WHOLLY_EARLY]:
            end += len(line)
            value = read_value(line)
            found += example.is_right[end - 1] != int(value is not None and value % 2 == 0)
    return found


def test_an_operation_in_sixteen_is_misread_as_another_of_the_chain() -> None:
    rng = np.random.default_rng(0)
    read = [misread(CHAIN, rng).operations for _ in range(200)]
    wrong = [a for one in read for a, b in zip(one, CHAIN.operations, strict=True) if a != b]
    assert 100 < len(wrong) < 250 and set(wrong) <= set(CHAIN.operations)


def row(step: int, **changes: float) -> dict[str, Any]:
    early = step < 9
    passed = {
        "step": step, "slips": 0.08, "auc_of_state": 0.5 if early else 0.95, "confidence": 0.95,
        "judged_right": 0.5 if early else 0.95, "calibration_error": 0.5 if early else 0.05,
    }  # fmt: skip
    return passed | changes


@pytest.mark.parametrize(
    ("step", "changes", "gate"),
    [
        (1, {}, None),
        (3, {"slips": 0.01}, "sixteen"),
        (3, {"auc_of_state": 1.2}, "hardly rank"),
        (3, {"confidence": 0.1}, "are confident"),
        (3, {"judged_right": 2.2}, "too confident"),
        (15, {"auc_of_state": 0.1}, "late steps rank"),
        (15, {"calibration_error": 0.5}, "are calibrated"),
    ],
)
def test_each_gate_can_fail(step: int, changes: dict[str, float], gate: str | None) -> None:
    rows = [row(s, **(changes if s == step else {})) for s in range(1, 18)]
    failed = failed_gates({"by_step": rows, "pass_at": {1: 0.25}})
    assert len(failed) == (gate is not None) and all(str(gate) in name for name in failed)
    assert failed_gates({"by_step": rows, "pass_at": {1: 0.5}})[0].startswith("pass@1")


def test_slips_and_calibration_are_counted() -> None:
    chain = parse_question("51 a/3 b+2")
    texts = (["a51/3=17\n", "b17+2=19\n"], ["a51/3=17\n", "b17+2=20\n"], ["a51/3=18\n", "b18+2=20\n"])
    samples = [tuple(Step(x, (), reward=Reward(0.0)) for x in t) for t in texts]
    (group,) = judge(LONG_CHAIN, [chain], [samples])
    assert slips([group], 0) == pytest.approx(1 / 3) and slips([group], 1) == pytest.approx(1 / 2)
    assert slips([group], 2) is None
    error = calibration_error(np.array([0.9, 0.9, 0.1, 1.0]), np.array([1, 0, 0, 1]))
    assert error == pytest.approx((abs(0.9 * 2 - 1) + 0.1) / 4)


def test_new_letters_are_mirror_images_of_those_eight_before_them() -> None:
    known = {"<pad>": 0, "<bos>": 1, "<eos>": 2, "a": 3, "b": 4}
    wide = widened(torch.eye(5), known, "abij")
    assert torch.equal(wide[:5], torch.eye(5))
    assert torch.allclose((wide[5] + wide[3]) / 2, wide[3:5].mean(dim=0)) and torch.allclose(wide[5], wide[4])


def test_long_models_continue_from_the_shipped_ones() -> None:
    """At the shipped lengths they are the shipped models."""
    tokenizer = build_tokenizer(LONG_CHAIN.alphabet)
    policy = LlamaForCausalLM(llama_config(tokenizer, width=128, num_layers=5))
    continue_policy(policy, LONG_CHAIN.alphabet, "embedded:chain-policy")
    verifier = Verifier(Recipe(width=128, num_layers=8, num_tokens=1), LONG_CHAIN.alphabet)
    continue_verifier(verifier, LONG_CHAIN.alphabet, "embedded:chain-verifier")
    ids, right, wrong = (
        torch.tensor([tokenizer(SHORT + x)["input_ids"]]) for x in ("a", "a94/2=47\n", "a94/2=48\n")
    )
    with torch.no_grad():
        assert tokenizer.convert_ids_to_tokens(int(policy(ids).logits[0, -1].argmax())) == "9"
        odds = [(s := verifier.score(verifier(x))[0, -1])[1] - s[0] for x in (right, wrong)]
    assert odds[0] > 0 > odds[1]


def test_positions_are_stretched() -> None:
    tokenizer = build_tokenizer(LONG_CHAIN.alphabet)
    plain, stretched = (llama_config(tokenizer, width=32, num_layers=1, stretch=s) for s in (1.0, 2.0))
    assert stretched.rope_parameters["factor"] == 2.0 and "factor" not in plain.rope_parameters
