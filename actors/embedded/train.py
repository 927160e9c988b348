"""Train the shipped models of a task: ``python -m actors.embedded.train --work DIR [--task countdown]``.

An interrupted stage resumes. The stages are ``policy`` (with snapshots: one is shipped, and the verifier
starts from the last one), ``rollouts`` (solutions by several snapshots, from which the verifier learns),
``verifier``, ``export`` (into ``--weights``) and, where the task ships it, ``export-base`` (a later snapshot,
as ``NAME-base``). A task with a masked-diffusion model has ``diffusion`` and ``export``. Without a stage, all
of them run in order.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, LlamaForTokenClassification

from actors.checkpoints import WEIGHTS
from actors.embedded import chain_options
from actors.embedded.chain_models import Verifier, policy_loss, start_from_policy, verifier_loss
from actors.embedded.continuing import continue_policy, continue_verifier
from actors.embedded.corpus import Example, collating
from actors.embedded.diffusion import DiffusionFamily, diffusion_loss, masking
from actors.embedded.export import as_token_classifier, save_model
from actors.embedded.families import DIFFUSION_FAMILIES, FAMILIES
from actors.embedded.family import Family
from actors.embedded.models import build_tokenizer, llama_config
from actors.embedded.solutions import sample_solutions
from actors.embedded.trainer import Recipe, Trainer, console
from actors.transformers_engine.config import TransformersEngineConfig
from actors.transformers_engine.engine import TransformersEngine

DIFFUSION_SNAPSHOT_EVERY = 500_000
NUM_ROLLOUTS_EACH = 4
FIRST_ROLLOUT_PROBLEM = 20_000_000
NUM_OPTION_PROBLEMS = 2_500


def snapshot(work: Path, index: int) -> Path:
    return work / "policy" / f"snapshot-{index:03d}"


def train_policy(family: Family, work: Path, device: str = "cpu") -> None:
    """Train a causal model on right solutions, with snapshots on the way."""
    recipe = family.policy
    torch.manual_seed(recipe.seed)
    tokenizer = build_tokenizer(family.alphabet)
    model = LlamaForCausalLM(
        llama_config(tokenizer, width=recipe.width, num_layers=recipe.num_layers, stretch=recipe.stretch)
    )
    if family.start is not None:
        continue_policy(model, family.alphabet, family.start[0])
    torch.nn.Module.to(model, device)  # after its weights are drawn: they are the same on every device
    trainer = Trainer(
        model,
        recipe,
        work / "policy",
        collating(tokenizer, lambda index, progress: family.policy_examples(recipe, index, progress)),
        policy_loss,
        snapshot_every=family.snapshot_every,
    )
    for tokens in trainer.run():
        folder = snapshot(work, tokens // family.snapshot_every)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    model.save_pretrained(work / "policy" / "last")


def sampler(folder: Path) -> TransformersEngine:
    """Return an engine of a snapshot; a card takes many rows at once."""
    most = 1024 if torch.cuda.is_available() else 128
    config = TransformersEngineConfig(str(folder), template="{question}\n", max_batch_size=most)
    return TransformersEngine(config)


async def write_rollouts(family: Family, work: Path) -> None:
    """Write solutions by several snapshots, one JSON line each."""
    lines = []
    for i, (index, temperature) in enumerate(family.rollouts):
        engine = sampler(snapshot(work, index))
        problems = list(family.draw("train", FIRST_ROLLOUT_PROBLEM + i * 10_000, family.num_rollout_problems))
        groups = await sample_solutions(
            engine, problems, NUM_ROLLOUTS_EACH, temperature, max_tokens=family.max_tokens
        )
        await engine.close()
        for problem, samples in zip(problems, groups, strict=True):
            for steps in samples:
                text = "".join(step.text for step in steps)
                lines.append(json.dumps({"question": problem.question, "text": text}) + "\n")
        console.print(f"{len(lines):,} rollouts")
    (work / "rollouts.tmp").write_text("".join(lines))
    os.replace(work / "rollouts.tmp", work / "rollouts.jsonl")


def train_verifier(family: Family, work: Path, device: str = "cpu") -> None:
    """Train right-or-wrong at every character, starting from the layers of the longest-trained policy."""
    recipe, tokenizer = family.verifier, build_tokenizer(family.alphabet)
    torch.manual_seed(recipe.seed + 1)
    model = Verifier(recipe, family.alphabet)
    if family.start is None:
        start_from_policy(model, LlamaForCausalLM.from_pretrained(work / "policy" / "last"))
    else:
        continue_verifier(model, family.alphabet, family.start[1])
    model.to(device)
    rollouts = [json.loads(line) for line in (work / "rollouts.jsonl").read_text().splitlines()]

    def examples(index: int, progress: float) -> list[Example]:
        return family.verifier_examples(recipe, index, progress, rollouts)

    trainer = Trainer(model, recipe, work / "verifier", collating(tokenizer, examples), verifier_loss)
    for _ in trainer.run():
        pass
    model.cpu()
    backbone = LlamaForCausalLM(model.model.config)  # with its language-model head, for a control
    backbone.model.load_state_dict(model.model.state_dict())
    backbone.lm_head.load_state_dict(model.lm_head.state_dict())
    save_model(backbone, tokenizer, work / "verifier" / "backbone")
    classifier = as_token_classifier(model.model, model.score)
    save_model(classifier, tokenizer, work / "verifier" / "last")


def export(family: Family, work: Path, weights: Path) -> None:
    """Write the shipped folders, without their cards."""
    tokenizer = build_tokenizer(family.alphabet)
    policy = LlamaForCausalLM.from_pretrained(snapshot(work, family.shipped_snapshot))
    save_model(policy, tokenizer, weights / f"{family.name}-policy")
    for file in (work / "verifier" / "last").iterdir():
        target = weights / f"{family.name}-verifier" / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())


def export_base(family: Family, work: Path, weights: Path) -> None:
    """Write the later snapshot that is shipped too."""
    assert family.base_snapshot is not None
    base = LlamaForCausalLM.from_pretrained(snapshot(work, family.base_snapshot))
    save_model(base, build_tokenizer(family.alphabet), weights / f"{family.name}-base")


def train_diffusion(family: DiffusionFamily, work: Path) -> None:
    """Train a masked-diffusion model, with a snapshot every DIFFUSION_SNAPSHOT_EVERY tokens."""
    first = family.recipes[0]
    torch.manual_seed(first.seed)
    tokenizer = build_tokenizer(family.alphabet, masks=True)
    model = LlamaForCausalLM(llama_config(tokenizer, width=first.width, num_layers=first.num_layers))
    for i, recipe in enumerate(family.recipes):
        folder = work / f"diffusion-{i}"
        trainer = Trainer(
            model,
            recipe,
            folder,
            masking(family, recipe, tokenizer),
            diffusion_loss,
            snapshot_every=DIFFUSION_SNAPSHOT_EVERY,
        )
        for tokens in trainer.run():
            model.save_pretrained(folder / f"snapshot-{tokens // DIFFUSION_SNAPSHOT_EVERY:03d}")
    model.save_pretrained(work / "diffusion")


def export_diffusion(family: DiffusionFamily, work: Path, weights: Path) -> None:
    """Write the shipped folder, without its card."""
    model = LlamaForCausalLM.from_pretrained(work / "diffusion")
    tokenizer = build_tokenizer(family.alphabet, masks=True)
    save_model(model, tokenizer, weights / f"{family.name}-diffusion")


async def write_option_rollouts(family: Family, work: Path, weights: Path, num_problems: int) -> None:
    """Write groups of solutions by the shipped policy, one problem a JSON line."""
    config = TransformersEngineConfig(
        str(weights / f"{family.name}-policy"), template="{question}\n", max_batch_size=1024
    )
    engine, lines = config.build(), list[str]()
    for i, temperature in enumerate((0.8, 1.0)):
        start = chain_options.FIRST_PROBLEM + i * num_problems
        problems = list(family.draw("train", start, num_problems))
        groups = await sample_solutions(engine, problems, chain_options.GROUP, temperature)
        for problem, samples in zip(problems, groups, strict=True):
            texts = ["".join(step.text for step in steps) for steps in samples]
            lines.append(json.dumps({"question": problem.question, "texts": texts}) + "\n")
        console.print(f"{len(lines):,} problems")
    await engine.close()
    (work / "option_rollouts.tmp").write_text("".join(lines))
    os.replace(work / "option_rollouts.tmp", work / "option_rollouts.jsonl")


def train_options(family: Family, recipe: Recipe, work: Path, weights: Path) -> None:
    """Train the policy's copy with two option tokens, on a card where there is one, and write its folder."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(recipe.seed + 2)
    tokenizer = chain_options.option_tokenizer(family.alphabet)
    policy = LlamaForCausalLM.from_pretrained(weights / f"{family.name}-policy", dtype=torch.float32)
    judge = LlamaForTokenClassification.from_pretrained(
        weights / f"{family.name}-verifier", dtype=torch.float32
    )
    model = chain_options.Optioned(recipe, tokenizer)
    chain_options.start_from(model, policy)
    lines = [json.loads(line) for line in (work / "option_rollouts.jsonl").read_text().splitlines()]
    rollouts, questions = [line["texts"] for line in lines], [line["question"] for line in lines]

    def batches(index: int, progress: float) -> chain_options.Ranked:
        examples, num_own = chain_options.attempts(recipe, index, progress, rollouts, questions)
        return chain_options.ranked(examples, num_own, tokenizer, device)

    for fixed in (policy, judge):
        torch.nn.Module.to(fixed, device)
    loss = chain_options.OptionLoss(policy, judge)
    for _ in Trainer(model.to(device), recipe, work / "options", batches, loss).run():
        pass
    save_model(model.policy.cpu(), tokenizer, weights / f"{family.name}-options")


def scaled(family: Family, scale: float) -> Family:
    """Return the family with the share ``scale`` of its recipes' tokens."""
    policy, verifier = (
        replace(r, num_tokens=round(r.num_tokens * scale)) for r in (family.policy, family.verifier)
    )
    return replace(family, policy=policy, verifier=verifier)


def stages_of(task: str, scale: float, device: str = "cpu") -> dict[str, Callable[[Path, Path], None]]:
    """Return the stages of a task, in order; each takes the work folder and the folder of the weights."""
    if task in DIFFUSION_FAMILIES:
        diffusion = DIFFUSION_FAMILIES[task]
        recipes = (replace(r, num_tokens=round(r.num_tokens * scale)) for r in diffusion.recipes)
        diffusion = replace(diffusion, recipes=tuple(recipes))
        return {
            "diffusion": lambda work, _: train_diffusion(diffusion, work),
            "export": lambda work, weights: export_diffusion(diffusion, work, weights),
        }
    family = scaled(FAMILIES[task], scale)
    stages: dict[str, Callable[[Path, Path], None]] = {
        "policy": lambda work, _: train_policy(family, work, device),
        "rollouts": lambda work, _: asyncio.run(write_rollouts(family, work)),
        "verifier": lambda work, _: train_verifier(family, work, device),
        "export": lambda work, weights: export(family, work, weights),
    }
    if family.base_snapshot is not None:
        stages["export-base"] = lambda work, weights: export_base(family, work, weights)
    if family.name != "chain":
        return stages
    recipe = replace(chain_options.RECIPE, num_tokens=round(chain_options.RECIPE.num_tokens * scale))
    num_problems = max(1, round(NUM_OPTION_PROBLEMS * scale))
    return stages | {
        "option_rollouts": lambda work, weights: asyncio.run(
            write_option_rollouts(family, work, weights, num_problems)
        ),
        "options": lambda work, weights: train_options(family, recipe, work, weights),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="default: all of the task's")
    parser.add_argument("--task", choices=sorted({*FAMILIES, *DIFFUSION_FAMILIES}), default="chain")
    parser.add_argument("--work", type=Path, required=True, help="checkpoints, snapshots and rollouts")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where export writes")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu", help="trains policy and verifier there: cpu, cuda")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the recipes' tokens, for a trial")
    args = parser.parse_args()
    stages = stages_of(args.task, args.scale, args.device)
    if unknown := set(args.stages) - set(stages):
        parser.error(f"unknown stage {unknown.pop()!r}; stages of {args.task} are {', '.join(stages)}")
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    for stage in args.stages or stages:
        console.print(f"{stage}:")
        stages[stage](args.work, args.weights)


if __name__ == "__main__":
    main()
