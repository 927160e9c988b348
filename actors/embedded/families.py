"""The tasks that have shipped models, by name."""

from __future__ import annotations

from functools import partial

from actors.embedded import (
    chain_models,
    corpus,
    countdown_corpus,
    countdown_models,
    long_chain_models,
    twoway_models,
)
from actors.embedded.diffusion import DiffusionFamily
from actors.embedded.family import Family
from orchestrator.tasks.chain import draw_chains
from orchestrator.tasks.countdown import draw_puzzles
from orchestrator.tasks.long_chain import NUM_STEPS
from orchestrator.tasks.twoway import TwoWayTask

CHAIN = Family(
    name="chain",
    alphabet=chain_models.ALPHABET,
    policy=chain_models.POLICY,
    verifier=chain_models.VERIFIER,
    policy_examples=chain_models.policy_examples,
    verifier_examples=chain_models.verifier_examples,
    draw=draw_chains,
    are_right=corpus.are_right,
    is_right=corpus.is_right,
    answer=corpus.stated_answer,
    shipped_snapshot=10,
    rollouts=((8, 0.8), (9, 0.8), (9, 1.0), (11, 1.0)),
    num_rollout_problems=800,
    base_snapshot=15,
)
COUNTDOWN = Family(
    name="countdown",
    alphabet=countdown_models.ALPHABET,
    policy=countdown_models.POLICY,
    verifier=countdown_models.VERIFIER,
    policy_examples=countdown_models.policy_examples,
    verifier_examples=countdown_models.verifier_examples,
    draw=draw_puzzles,
    are_right=countdown_corpus.are_right,
    is_right=countdown_corpus.is_right,
    answer=countdown_corpus.stated_answer,
    shipped_snapshot=8,
    rollouts=((8, 0.8),),
    num_rollout_problems=300,
)
LONG_CHAIN = Family(
    name="long_chain",
    alphabet=long_chain_models.ALPHABET,
    policy=long_chain_models.POLICY,
    verifier=long_chain_models.VERIFIER,
    policy_examples=long_chain_models.policy_examples,
    verifier_examples=long_chain_models.verifier_examples,
    draw=partial(draw_chains, num_steps=NUM_STEPS),
    are_right=corpus.are_right,
    is_right=corpus.is_right,
    answer=corpus.stated_answer,
    shipped_snapshot=7,
    rollouts=((6, 0.8), (7, 0.8), (7, 1.0), (8, 0.8)),
    num_rollout_problems=400,
    max_tokens=long_chain_models.MAX_TOKENS,
    start=("embedded:chain-base", "embedded:chain-verifier"),
    snapshot_every=20_000,
)
FAMILIES = {family.name: family for family in (CHAIN, COUNTDOWN, LONG_CHAIN)}

TWOWAY = DiffusionFamily(
    name="twoway",
    alphabet=twoway_models.ALPHABET,
    recipes=(twoway_models.DIFFUSION, twoway_models.POLISH, twoway_models.FINISH),
    solved=twoway_models.solved_walks,
    task=TwoWayTask,
    kind="asks",
    schedules=twoway_models.SCHEDULES,
)
DIFFUSION_FAMILIES = {family.name: family for family in (TWOWAY,)}
