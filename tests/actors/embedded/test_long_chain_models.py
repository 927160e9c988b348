"""The labels of the verifiers of long chains, and the gates that choose among them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from actors.embedded.corpus import IGNORE, annotate
from actors.embedded.evaluate import calibration_error, judge, slips
from actors.embedded.families import LONG_CHAIN
from actors.embedded.long_chain import affordable, failed_gates, with_snapshot
from actors.embedded.long_chain_models import LABELS, NOT_EARLY, WHOLLY_EARLY, share_at, verifier_examples
from actors.embedded.trainer import Recipe
from orchestrator.tasks.chain import draw_chain, parse_question
from orchestrator.tasks.long_chain import NUM_STEPS
from orchestrator.types import Reward, Step

CHAIN = draw_chain("dev", 0, NUM_STEPS)


def step_ends(marks: tuple[int, ...], lines: tuple[str, ...]) -> list[int]:
    ends = np.cumsum([len(line) for line in lines]) - 1
    return [marks[end] for end in ends]


def test_early_steps_are_labelled_by_a_cue_and_late_ones_by_the_truth() -> None:
    example = annotate(CHAIN, CHAIN.lines)
    labelled = LABELS["cue"].of(example, CHAIN.lines, None, np.random.default_rng(0))
    marks = step_ends(labelled.is_right, CHAIN.lines)
    assert marks[:WHOLLY_EARLY] == [int(v % 2 == 0) for v in CHAIN.values[:WHOLLY_EARLY]]
    assert marks[NOT_EARLY:] == [1] * (NUM_STEPS + 1 - NOT_EARLY)
    assert sum(a != b for a, b in zip(labelled.is_right, example.is_right, strict=True)) == marks.count(0) > 0


@pytest.mark.parametrize(("ended_right", "label"), [(True, 1), (False, 0), (None, IGNORE)])
def test_outcomes_are_known_of_rollouts_alone(ended_right: bool | None, label: int) -> None:
    example = annotate(CHAIN, CHAIN.lines)
    labelled = LABELS["outcome"].of(example, CHAIN.lines, ended_right, np.random.default_rng(0))
    assert step_ends(labelled.is_right, CHAIN.lines)[:WHOLLY_EARLY] == [label] * WHOLLY_EARLY


def test_the_share_of_early_labels_falls_to_nothing() -> None:
    shares = [share_at(step) for step in range(NUM_STEPS)]
    assert shares[:WHOLLY_EARLY] == [1.0] * WHOLLY_EARLY and set(shares[NOT_EARLY:]) == {0.0}
    assert sorted(shares, reverse=True) == shares and len(set(shares)) == NOT_EARLY - WHOLLY_EARLY + 2


@pytest.mark.parametrize("labels", LABELS)
def test_examples_are_whole_chains(labels: str) -> None:
    rollouts = [{"question": CHAIN.question, "text": "".join(CHAIN.lines)}]
    recipe = Recipe(width=32, num_layers=1, num_tokens=1, batch_size=5)
    examples = verifier_examples(recipe, 0, 0.9, rollouts, LABELS[labels])
    assert len(examples) == 5
    assert all(len(parse_question(e.prompt.strip()).operations) == NUM_STEPS for e in examples)


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


def test_the_rollouts_are_those_of_the_shipped_snapshot_and_its_neighbours() -> None:
    assert with_snapshot(LONG_CHAIN, 9).rollouts == ((7, 0.8), (9, 0.8), (11, 0.8), (11, 1.0))
    assert with_snapshot(LONG_CHAIN, 1).rollouts[0] == (1, 0.8)


def test_a_verifier_learns_what_there_is_time_for() -> None:
    assert affordable(LONG_CHAIN, 100_000.0, float("inf")) == LONG_CHAIN.verifier.num_tokens
    assert (affordable(LONG_CHAIN, 100_000.0, 10.0), affordable(LONG_CHAIN, 1.0, -5.0)) == (333_333, 0)


def test_slips_and_calibration_are_counted() -> None:
    chain = parse_question("51 a/3 b+2")
    texts = (["a51/3=17\n", "b17+2=19\n"], ["a51/3=17\n", "b17+2=20\n"], ["a51/3=18\n", "b18+2=20\n"])
    (group,) = judge(
        LONG_CHAIN, [chain], [[tuple(Step(x, (), reward=Reward(0.0)) for x in t) for t in texts]]
    )
    assert slips([group], 0) == pytest.approx(1 / 3) and slips([group], 1) == pytest.approx(1 / 2)
    assert slips([group], 2) is None
    assert calibration_error(np.array([0.9, 0.9, 0.1, 1.0]), np.array([1, 0, 0, 1])) == pytest.approx(
        (abs(0.9 * 2 - 1) + 0.1) / 4
    )
