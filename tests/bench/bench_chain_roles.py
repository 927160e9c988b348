"""A reviser for the chain task, trained and measured: ``python -m tests.bench.bench_chain_roles --work DIR``.

The fifth trial of docs/roles.md ("The refine loop"). It starts from ``chain-base`` and learns from wrong
rollouts of the shipped policy (``python -m actors.embedded.train option_rollouts --work DIR`` writes them).
The shipped verifier marks the first line that it doubts; the target is the right solution. The stages are
``attempts`` (marks), ``train`` (resumes; ``--seconds`` limits it) and ``measure``: f against a fresh sample
of the same model on the problems that its first attempt missed, on development problems. Each sample is
its problem's first attempt once, and the other samples are the fresh ones. ``--variant continued`` is the
control: ``chain-base``, untrained, continues after the lines before the doubted one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from transformers import LlamaForCausalLM

from actors.checkpoints import resolve_model
from actors.embedded.chain_models import ALPHABET, policy_loss
from actors.embedded.corpus import Example, annotate, collating, is_right, split_lines
from actors.embedded.export import save_model
from actors.embedded.families import CHAIN
from actors.embedded.models import build_tokenizer
from actors.embedded.solutions import sample_solutions, score_solutions
from actors.embedded.trainer import Recipe, Trainer, console
from actors.transformers_engine.config import TransformersEngineConfig, TransformersVerifierConfig
from orchestrator.storage.atomic import write_atomically
from orchestrator.tasks.chain import draw_chains, parse_question
from orchestrator.types import Step
from tests.bench.revising import ATTEMPTS, CONTINUED, cut, first_doubted, of_others, rates, revision

BASE = "embedded:chain-base"
RECIPE = Recipe(
    width=128,
    num_layers=5,
    num_tokens=1_400_000,
    batch_size=32,
    matrix_lr=0.008,
    other_lr=1.5e-3,
    decay_from=0.1,
)
SHARE_PLAIN = 0.25
"""Of the rows: problems without an attempt, so that fresh samples stay as good."""
FIRST_PLAIN = 60_000_000
MAX_ATTEMPT = 110
"""Characters; with a question and a solution that is what the context holds."""
TEMPERATURE = 0.8
CHECK_EVERY = 10_000
AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt in place of a problem's question."""

    question: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt at a problem, and its first line that the verifier doubts."""

    question: str
    lines: Sequence[str]
    doubted: int | None


async def doubts(questions: Sequence[str], attempts: Sequence[Sequence[str]], device: str) -> list[Attempt]:
    """Return the attempts with the shipped verifier's doubts."""
    verifier, found = TransformersVerifierConfig("embedded:chain-verifier", device=device).build(), []
    rows = list(zip(questions, attempts, strict=True))
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        steps = [[tuple(Step(line, ()) for line in lines)] for _, lines in part]
        scored = await score_solutions(verifier, [Asked(question) for question, _ in part], steps)
        for (question, lines), (sample,) in zip(part, scored, strict=True):
            rewards = [step.reward.value for step in sample if step.reward is not None]
            found.append(Attempt(question, lines, first_doubted(rewards)))
    await verifier.close()
    return found


def wrong_attempts(rollouts: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each wrong solution of a file of rollouts with its question, each solution once."""
    for row in map(json.loads, rollouts.read_text().splitlines()):
        for text in dict.fromkeys(row["texts"]):
            lines = split_lines(text)
            if len(text) <= MAX_ATTEMPT and not is_right(parse_question(row["question"]), lines):
                yield row["question"], lines


def write_attempts(rollouts: Path, work: Path, device: str) -> None:
    """Write the wrong rollouts with their doubts, one JSON line each; nothing where that has been done."""
    if (work / "attempts.jsonl").exists():
        return
    questions, attempts = zip(*wrong_attempts(rollouts), strict=True)
    rows = asyncio.run(doubts(questions, attempts, device))
    write_atomically(work / "attempts.jsonl", "".join(json.dumps(asdict(row)) + "\n" for row in rows))
    console.print(f"{len(rows):,} attempts, {fmean(row.doubted is None for row in rows):.3f} without a doubt")


def examples(
    recipe: Recipe, variant: str, attempts: Sequence[Attempt], index: int, progress: float
) -> list[Example]:
    """Return the rows of a step: right solutions, after an attempt in all but a quarter of them."""
    del progress
    rng = np.random.default_rng([recipe.seed, 3, index])
    num_plain = round(recipe.batch_size * SHARE_PLAIN)
    plain = draw_chains("train", FIRST_PLAIN + index * num_plain, num_plain)
    rows = [annotate(chain, chain.lines) for chain in plain]
    for i in rng.integers(len(attempts), size=recipe.batch_size - num_plain):
        attempt = attempts[i]
        chain = parse_question(attempt.question)
        prompt = revision(variant, attempt.question, attempt.lines, attempt.doubted) + "\n"
        rows.append(replace(annotate(chain, chain.lines), prompt=prompt))
    return rows


def train(variant: str, recipe: Recipe, work: Path, seconds: float, device: str) -> None:
    """Train to the recipe's end or for so many seconds in all, and write the model's folder."""
    attempts = [Attempt(**json.loads(line)) for line in (work / "attempts.jsonl").read_text().splitlines()]
    tokenizer = build_tokenizer(ALPHABET)
    model = LlamaForCausalLM.from_pretrained(resolve_model(BASE), dtype=torch.float32)
    torch.nn.Module.to(model, device)
    batches = collating(tokenizer, partial(examples, recipe, variant, attempts))
    trainer = Trainer(model, recipe, work / variant, batches, policy_loss, snapshot_every=CHECK_EVERY)
    for _ in trainer.run():
        if trainer.seconds > seconds:
            trainer.save()
            break
    console.print(f"{variant}: {trainer.tokens:,} tokens in {trainer.seconds:.0f} s")
    save_model(model.cpu(), tokenizer, work / variant / "model")


async def measure(
    model: str, variant: str, problems: Sequence[Any], num: int, device: str, shown: str = "own"
) -> dict[str, Any]:
    """Return f, b and what fresh samples reach, from ``num`` attempts at each problem.

    With ``shown="other"`` a revision reads a wrong attempt at another problem.
    """
    engine = TransformersEngineConfig(model, template="{question}\n", device=device).build()
    drawn = await sample_solutions(engine, problems, num, TEMPERATURE)
    texts = [[step.text for step in steps] for group in drawn for steps in group]
    attempts = await doubts([p.question for p in problems for _ in range(num)], texts, device)
    chains = [problem for problem in problems for _ in range(num)]
    before = [is_right(chain, lines) for chain, lines in zip(chains, texts, strict=True)]
    order = list(range(len(attempts)))
    if shown == "other":
        order = of_others([a.question for a in attempts], [not right for right in before])
    asked = [
        Asked(revision(variant, a.question, attempts[i].lines, attempts[i].doubted))
        for a, i in zip(attempts, order, strict=True)
    ]
    replies = await sample_solutions(engine, asked, 1, TEMPERATURE)
    await engine.close()
    heads = [cut(a.lines, a.doubted) if variant == CONTINUED else "" for a in attempts]
    revised = [
        split_lines(head + "".join(step.text for step in reply))
        for head, (reply,) in zip(heads, replies, strict=True)
    ]
    after = [is_right(chain, lines) for chain, lines in zip(chains, revised, strict=True)]
    copied = [a == b for a, b, right in zip(texts, revised, before, strict=True) if not right]
    shape = (len(problems), num)
    return {
        "copied": fmean(copied),
        "undoubted": fmean(a.doubted is None for a, right in zip(attempts, before, strict=True) if not right),
        **rates(np.array(before).reshape(shape), np.array(after).reshape(shape)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="attempts, train, measure; default: all")
    parser.add_argument("--work", type=Path, required=True, help="attempts, checkpoints and models")
    parser.add_argument("--rollouts", type=Path, help="default: option_rollouts.jsonl in the work folder")
    parser.add_argument("--variant", choices=[*ATTEMPTS, CONTINUED], default="cut")
    parser.add_argument("--tokens", type=int, default=RECIPE.num_tokens, help="of the training")
    parser.add_argument("--seconds", type=float, default=900, help="limit of the training, in all")
    parser.add_argument("--split", choices=["dev", "test"], default="dev")
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="of the problems")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument(
        "--shown", choices=["own", "other"], default="own", help="the attempt that a revision reads"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    stages, trained = args.stages or ["attempts", "train", "measure"], args.variant != CONTINUED
    if "attempts" in stages and trained:
        write_attempts(args.rollouts or args.work / "option_rollouts.jsonl", args.work, args.device)
    if "train" in stages and trained:
        recipe = replace(RECIPE, num_tokens=args.tokens)
        train(args.variant, recipe, args.work, args.seconds, args.device)
    if "measure" in stages:
        model = str(args.work / args.variant / "model") if trained else BASE
        problems = list(CHAIN.draw(args.split, args.first, args.problems))
        found = asyncio.run(measure(model, args.variant, problems, args.samples, args.device, args.shown))
        print(json.dumps({"variant": args.variant, "split": args.split, "shown": args.shown, **found}))


if __name__ == "__main__":
    main()
