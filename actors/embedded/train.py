"""Train the shipped models of the chain task: ``python -m actors.embedded.train --work DIR``.

Stages, each of which goes on where it was cut: ``policy`` (with snapshots; one of them is shipped, the last
one is where the verifier starts), ``rollouts`` (solutions by several snapshots, for the verifier to learn
from), ``verifier``, and ``export`` (into ``--weights``). Without a stage, all of them in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from actors.embedded.chain_models import (
    ALPHABET,
    POLICY,
    VERIFIER,
    Verifier,
    policy_examples,
    policy_loss,
    start_from_policy,
    verifier_examples,
    verifier_loss,
)
from actors.embedded.corpus import Example
from actors.embedded.export import as_token_classifier, save_model
from actors.embedded.models import build_tokenizer, llama_config
from actors.embedded.solutions import sample_solutions
from actors.embedded.trainer import Recipe, Trainer, console
from actors.loading import WEIGHTS
from actors.transformers_engine import TransformersEngine
from orchestrator.tasks.chain import draw_chains

STAGES = ("policy", "rollouts", "verifier", "export")
SNAPSHOT_EVERY = 200_000
# In snapshots: the shipped policy is under-trained on purpose, which leaves a search room; chosen on
# development problems by its pass@1 and pass@64.
SHIPPED_SNAPSHOT = 10
# (snapshot, temperature): the shipped policy and its neighbours, so that their mistakes are known.
ROLLOUTS = ((8, 0.8), (9, 0.8), (9, 1.0), (11, 1.0))
NUM_ROLLOUT_CHAINS, NUM_ROLLOUTS_EACH = 800, 4
FIRST_ROLLOUT_CHAIN = 20_000_000


def snapshot(work: Path, index: int) -> Path:
    return work / "policy" / f"snapshot-{index:03d}"


def train_policy(work: Path, recipe: Recipe) -> None:
    """A causal model on right chains, with a snapshot every SNAPSHOT_EVERY tokens."""
    torch.manual_seed(recipe.seed)
    tokenizer = build_tokenizer(ALPHABET)
    model = LlamaForCausalLM(llama_config(tokenizer, width=recipe.width, num_layers=recipe.num_layers))
    trainer = Trainer(
        model,
        recipe,
        work / "policy",
        lambda index, progress: policy_examples(recipe, index, progress),
        policy_loss,
        tokenizer,
        snapshot_every=SNAPSHOT_EVERY,
    )
    for tokens in trainer.run():
        folder = snapshot(work, tokens // SNAPSHOT_EVERY)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    model.save_pretrained(work / "policy" / "last")


async def write_rollouts(work: Path) -> None:
    """Solutions by several snapshots, one JSON line each."""
    lines = []
    for i, (index, temperature) in enumerate(ROLLOUTS):
        engine = TransformersEngine(str(snapshot(work, index)), template="{question}\n")
        chains = list(draw_chains("train", FIRST_ROLLOUT_CHAIN + i * 10_000, NUM_ROLLOUT_CHAINS))
        groups = await sample_solutions(engine, chains, NUM_ROLLOUTS_EACH, temperature)
        await engine.close()
        for chain, samples in zip(chains, groups, strict=True):
            for steps in samples:
                text = "".join(step.text for step in steps)
                lines.append(json.dumps({"question": chain.question, "text": text}) + "\n")
        console.print(f"{len(lines):,} rollouts")
    (work / "rollouts.tmp").write_text("".join(lines))
    os.replace(work / "rollouts.tmp", work / "rollouts.jsonl")


def train_verifier(work: Path, recipe: Recipe) -> None:
    """Right-or-wrong at every character, from the longest-trained policy's layers on."""
    torch.manual_seed(recipe.seed + 1)
    model = Verifier(recipe)
    start_from_policy(model, LlamaForCausalLM.from_pretrained(work / "policy" / "last"))
    rollouts = [json.loads(line) for line in (work / "rollouts.jsonl").read_text().splitlines()]

    def examples(index: int, progress: float) -> list[Example]:
        return verifier_examples(recipe, index, progress, rollouts)

    trainer = Trainer(model, recipe, work / "verifier", examples, verifier_loss, build_tokenizer(ALPHABET))
    for _ in trainer.run():
        pass
    backbone = LlamaForCausalLM(model.model.config)  # with its language-model head, for a control
    backbone.model.load_state_dict(model.model.state_dict())
    backbone.lm_head.load_state_dict(model.lm_head.state_dict())
    save_model(backbone, build_tokenizer(ALPHABET), work / "verifier" / "backbone")
    classifier = as_token_classifier(model.model, model.score)
    save_model(classifier, build_tokenizer(ALPHABET), work / "verifier" / "last")


def export(work: Path, weights: Path) -> None:
    """The shipped folders, without their cards."""
    tokenizer = build_tokenizer(ALPHABET)
    policy = LlamaForCausalLM.from_pretrained(snapshot(work, SHIPPED_SNAPSHOT))
    save_model(policy, tokenizer, weights / "chain-policy")
    for file in (work / "verifier" / "last").iterdir():
        target = weights / "chain-verifier" / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)}; default: all")
    parser.add_argument("--work", type=Path, required=True, help="checkpoints, snapshots and rollouts")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where export writes")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--scale", type=float, default=1.0, help="share of the recipes' tokens, for a trial")
    args = parser.parse_args()
    if unknown := set(args.stages) - set(STAGES):
        parser.error(f"unknown stage {unknown.pop()!r}; stages are {', '.join(STAGES)}")
    torch.set_num_threads(args.threads)
    policy, verifier = (replace(r, num_tokens=round(r.num_tokens * args.scale)) for r in (POLICY, VERIFIER))
    for stage in args.stages or STAGES:
        console.print(f"{stage}:")
        if stage == "policy":
            train_policy(args.work, policy)
        elif stage == "rollouts":
            asyncio.run(write_rollouts(args.work))
        elif stage == "verifier":
            train_verifier(args.work, verifier)
        else:
            export(args.work, args.weights)


if __name__ == "__main__":
    main()
