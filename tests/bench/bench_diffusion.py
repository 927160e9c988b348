"""Measure the effect of the diffusion engine's options: ``python -m tests.bench.bench_diffusion``.

Each configuration denoises the same problems, one path each at temperature 0, and is compared with the
published loop unchanged (one path at a time, no cache): paths and tokens per second, accuracy with the
difference paired by problem, and the share of equal canvas tokens. Then the collapse: how often the first
token that a path commits is an end of text, with the whole canvas as one block and with blocks.
``--data`` keeps the figures; bench_strategies writes them into docs/diffusion.md.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.diffusion_engine.config import DiffusionEngineConfig
from actors.diffusion_engine.decoding import Filled
from actors.diffusion_engine.engine import DiffusionEngine
from orchestrator.intervals import paired_interval
from orchestrator.protocols import GenerateRequest
from orchestrator.seeds import derive_seed
from orchestrator.storage.atomic import write_atomically
from orchestrator.tasks.twoway import TwoWayTask
from orchestrator.types import Denoising, Problem
from tests.actors.diffusion_models import masked_tokenizer
from tests.actors.diffusion_reference import generate
from tests.bench.measuring import commit
from tests.bench.pages import diffusion
from tests.bench.shapes import SHAPES, save_random
from tests.bench.stored import spread_out


@dataclass(frozen=True)
class Setting:
    """One way to denoise the problems."""

    name: str
    cache: str = "none"
    threshold: float | None = None
    invariant: bool | None = None
    early_stop: bool = False


SETTINGS = (
    Setting("engine"),
    Setting("engine, not batch-invariant", invariant=False),
    Setting("+ early stop", early_stop=True),
    Setting("+ prefix cache", cache="prefix"),
    Setting("+ dual cache", cache="dual"),
    Setting("+ threshold", threshold=0.9),
    Setting("+ prefix cache, threshold", cache="prefix", threshold=0.9),
    Setting("+ dual cache, threshold", cache="dual", threshold=0.9),
    Setting("all, not batch-invariant", "prefix", 0.9, False, True),
)


@dataclass(frozen=True)
class Outcome:
    """What a setting came to; ``correct`` is 0 or 1 a problem, ``canvases`` ``[problems, gen_length]``.

    ``is_text`` ``[problems, gen_length]`` leaves out what lies behind the end of the text.
    """

    name: str
    correct: Sequence[float]
    canvases: npt.NDArray[np.int64]
    is_text: npt.NDArray[np.bool_]
    passes: float
    seconds: float

    @property
    def num(self) -> int:
        return len(self.correct)


class Bench:
    """The problems, and the engine in each setting."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        if args.shape is not None:
            self._folder = TemporaryDirectory()
            args.model = str(save_random(Path(self._folder.name), SHAPES[args.shape], masked_tokenizer()))
        self.task = TwoWayTask(split=args.split)
        self.problems = list(self.task.problems(0, args.problems))

    def params(self, **changes: Any) -> Denoising:
        sizes = {"gen_length": self.args.gen_length, "num_steps": self.args.steps or self.args.gen_length}
        return Denoising(**{"block_length": self.args.block, **sizes, **changes})

    def requests(self, params: Denoising, problems: Sequence[Problem]) -> list[GenerateRequest]:
        return [
            GenerateRequest(
                p.id, p.question, self.task.instruction, (), params, derive_seed(p.id), self.task.delimiter,
                self.task.answer_marker, to_end=True,
            )
            for p in problems
        ]  # fmt: skip

    def engine(self, setting: Setting) -> DiffusionEngine:
        return DiffusionEngine(
            DiffusionEngineConfig(
                self.args.model,
                template=self.args.template,
                cache=setting.cache,  # type: ignore[arg-type]
                dtype=self.args.dtype,
                device=self.args.device,
                max_batch_size=self.args.batch,
                batch_invariant=setting.invariant,
            )
        )

    async def run(self, setting: Setting) -> Outcome:
        """Denoise all problems in one setting."""
        engine = self.engine(setting)
        params = self.params(threshold=setting.threshold, early_stop=setting.early_stop)
        await engine.fill(self.requests(params, self.problems[:2]))  # warm
        begun = time.perf_counter()
        filled = [f for f in await engine.fill(self.requests(params, self.problems)) if isinstance(f, Filled)]
        seconds = time.perf_counter() - begun
        assert len(filled) == len(self.problems), "some path failed"
        text = self.reader(engine)
        return Outcome(
            setting.name,
            [
                await self.grade(p, text(f.canvas.tokens.tolist()))
                for p, f in zip(self.problems, filled, strict=True)
            ],
            canvases := np.stack([f.canvas.tokens for f in filled]),
            is_text(canvases, engine.loaded.eos_ids),
            float(np.mean([f.usage.denoising_passes for f in filled])),
            seconds,
        )

    async def published(self) -> Outcome:
        """The loop as it was published."""
        engine = self.engine(Setting("", invariant=False))
        params, loaded = self.params(), engine.loaded
        text, canvases = self.reader(engine), []
        begun = time.perf_counter()
        for problem in self.problems:
            canvases.append(self.generate(loaded, params, problem))
        seconds = time.perf_counter() - begun
        correct = [await self.grade(p, text(c)) for p, c in zip(self.problems, canvases, strict=True)]
        tokens = np.array(canvases)
        return Outcome(
            "published loop", correct, tokens, is_text(tokens, loaded.eos_ids), params.num_steps, seconds
        )

    def generate(self, loaded: Any, params: Denoising, problem: Problem) -> list[int]:
        prompt = loaded.tokenizer(self.args.template.format(question=problem.question))["input_ids"]
        assert params.block_length is not None
        canvas, _ = generate(
            loaded.model,
            prompt,
            gen_length=params.gen_length,
            block_length=params.block_length,
            steps=params.num_steps,
            temperature=0.0,
            cfg_scale=0.0,
            remasking="low_confidence",
            mask_id=loaded.mask_id,
            noise=lambda block, step: (None, None),  # type: ignore[arg-type, return-value]
            counts=lambda masked, steps: [masked // steps + (s < masked % steps) for s in range(steps)],
            shift=loaded.layout.logit_shift,
        )
        return canvas

    def reader(self, engine: DiffusionEngine) -> Callable[[list[int]], str]:
        """From a canvas to its text."""
        tokenizer, ends = engine.loaded.tokenizer, engine.loaded.eos_ids

        def text(tokens: list[int]) -> str:
            length = next((i for i, t in enumerate(tokens) if t in ends), len(tokens))
            return str(tokenizer.decode(tokens[:length], skip_special_tokens=True))

        return text

    async def grade(self, problem: Problem, text: str) -> float:
        return float(await self.task.grade(self.task.extract(text), problem.answer))

    async def collapse(self) -> list[tuple[str, float, float]]:
        """By block length: how often a path first commits an end of text, and how often it is right."""
        engine = self.engine(Setting(""))
        text, rows = self.reader(engine), []
        for block in [None, *self.args.blocks]:
            params = self.params(block_length=block, temperature=self.args.temperature)
            filled = [
                f for f in await engine.fill(self.requests(params, self.problems)) if isinstance(f, Filled)
            ]
            first = [int(f.canvas.tokens[int(np.argmin(f.canvas.passes))]) for f in filled]
            right = [
                await self.grade(p, text(f.canvas.tokens.tolist()))
                for p, f in zip(self.problems, filled, strict=True)
            ]
            name = "the whole canvas" if block is None else f"blocks of {block}"
            rows.append(
                (name, float(np.mean([t in engine.loaded.eos_ids for t in first])), float(np.mean(right)))
            )
        await engine.close()
        return rows


def is_text(canvases: npt.NDArray[np.int64], eos_ids: frozenset[int]) -> npt.NDArray[np.bool_]:
    """Up to the first end of text, that one included."""
    ends = np.isin(canvases, list(eos_ids))
    return np.cumsum(ends, axis=1) - ends == 0


def row(outcome: Outcome, reference: Outcome) -> list[str]:
    """A line of the table."""
    pairs = ([[c] for c in o.correct] for o in (outcome, reference))
    difference, low, high = paired_interval(*pairs)
    rate, same = outcome.num / outcome.seconds, (outcome.canvases == reference.canvases)[reference.is_text]
    return [
        outcome.name,
        f"{rate:,.1f}",
        f"{rate * outcome.canvases.shape[1]:,.0f}",
        f"{rate * reference.seconds / reference.num:.1f}x",
        f"{outcome.passes:.1f}",
        f"{np.mean(outcome.correct):.3f}",
        f"{difference:+.3f} [{low:+.3f}, {high:+.3f}]",
        f"{same.mean():.1%}",
    ]


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded:twoway-diffusion")
    parser.add_argument("--shape", choices=SHAPES, help="random weights of this size instead of a model")
    parser.add_argument("--template", default="{question}\n")
    parser.add_argument("--problems", type=int, default=1000)
    parser.add_argument("--split", default="test")
    parser.add_argument("--gen-length", type=int, default=24)
    parser.add_argument(
        "--steps", type=int, default=None, help="passes a canvas; as many as positions by default"
    )
    parser.add_argument("--block", type=int, default=4)
    parser.add_argument("--blocks", type=int, nargs="+", default=[12, 6, 4, 2], help="for the collapse")
    parser.add_argument("--temperature", type=float, default=0.9, help="for the collapse")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--data", type=Path, help="a folder to keep the figures in")
    return parser.parse_args(given)


def defaults() -> argparse.Namespace:
    """The shipped model on its task."""
    return arguments([])


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """The cells of both tables, and what they are of."""
    bench = Bench(args)
    reference = await bench.published()
    rows = [row(outcome, reference) for outcome in [reference, *[await bench.run(s) for s in SETTINGS]]]
    collapse = [
        [schedule, f"{share:.1%}", f"{accuracy:.3f}"] for schedule, share, accuracy in await bench.collapse()
    ]
    size = f"canvas of {args.gen_length}, blocks of {args.block}"
    return {
        "commit": commit(),
        "of": f"{args.problems} problems ({args.split}), one path each at temperature 0, {size}",
        "temperature": args.temperature,
        "speed": rows,
        "collapse": collapse,
    }


def write(args: argparse.Namespace, folder: Path) -> None:
    """Measure, and write FOLDER/diffusion.json."""
    figures = asyncio.run(measure(args))
    print(diffusion(figures))
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "diffusion.json", spread_out(figures, 2) + "\n")


def main() -> None:
    args = arguments()
    if args.data is not None:
        write(args, args.data)
    else:
        print(diffusion(asyncio.run(measure(args))))


if __name__ == "__main__":
    main()
