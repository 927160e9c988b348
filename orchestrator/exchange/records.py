"""What all formats share: questions with their samples, and how they are made of result lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.storage.result_lines import in_recorded_order, trajectory_of
from orchestrator.storage.results import stream_results
from orchestrator.storage.run_files import RESULTS
from orchestrator.stored.repeating import NEEDED
from orchestrator.types import Reward, Trajectory


def value_of(reward: Reward) -> float:
    """Return the value from which the reward was made, so that files keep their last digits.

    Log-odds give a value up to rounding: of the floats around it, the first that has the same log-odds
    counts, a short one before others.
    """
    value = reward.value
    short = (float(f"{value:.{digits}g}") for digits in (12, 15))
    near = (value, math.nextafter(value, 0.0), math.nextafter(value, 1.0))
    same = (x for x in (*short, *near) if Reward.from_value(x).log_odds == reward.log_odds)
    return next(same, value)


@dataclass(frozen=True, slots=True)
class Sample:
    """One generated text, in steps, with what a format says of it; None, or 0 tokens, where it says nothing.

    ``rewards`` holds one entry a step. ``answer`` counts where ``has_answer``: None is then a text of which
    the tool has read no answer. ``group`` is the first sample of the question with an equivalent answer.
    """

    steps: tuple[str, ...]
    rewards: tuple[Reward | None, ...]
    num_tokens: int = 0
    answer: str | None = None
    has_answer: bool = False
    correct: bool | None = None
    finished: bool = True
    logprob: float | None = None
    group: int | None = None

    @property
    def text(self) -> str:
        return "".join(self.steps)

    @property
    def values(self) -> list[float]:
        """The rewards that are known, as values in [0, 1]."""
        return [value_of(reward) for reward in self.rewards if reward is not None]

    @property
    def trajectory(self) -> Trajectory:
        return trajectory_of(
            {
                "text": self.text,
                "step_lengths": [len(step) for step in self.steps],
                "step_log_odds": [None if r is None else r.log_odds for r in self.rewards],
                "num_tokens": self.num_tokens,
                "logprob": self.logprob,
                "finished": self.finished,
            }
        )


@dataclass(frozen=True, slots=True)
class Question:
    """A problem with its samples in the order in which they were drawn.

    ``columns`` are figures of the tool itself, by name, which an import compares with its own, and ``scores``
    the numbers that they are made of, one a sample, with every digit of the file; ``place`` is where the
    question is in the file, for a person.
    """

    id: str
    question: str
    reference: str
    samples: tuple[Sample, ...]
    columns: Mapping[str, str] = field(default_factory=dict)
    scores: tuple[float, ...] = ()
    place: str = ""


def read_questions(folder: Path) -> list[Question]:
    """Return the questions of a run directory. Raises ConfigError if it has none, or lines without steps."""
    if not (folder / RESULTS).is_file():
        raise ConfigError("RUN", folder, f"has no {RESULTS}: it must be the directory of one run")
    questions = [question_of(line, folder) for line in stream_results(folder)]
    if not questions:
        raise ConfigError("RUN", folder, f"has no problem in its {RESULTS}")
    return questions


def question_of(line: Mapping[str, Any], folder: Path) -> Question:
    """Return the question of a result line."""
    if "answer_index" not in line or any(name not in c for c in line["candidates"] for name in NEEDED):
        raise ConfigError("RUN", folder, "was written by an older version, which did not store steps")
    samples = tuple(map(_sample_of, in_recorded_order(line) if line["candidates"] else ()))
    return Question(line["problem_id"], line["question"], line["reference"], samples)


def _sample_of(candidate: Mapping[str, Any]) -> Sample:
    text = candidate["text"]
    bounds = pairwise(accumulate(candidate["step_lengths"], initial=0))
    return Sample(
        steps=tuple(text[a:b] for a, b in bounds),
        rewards=tuple(None if x is None else Reward(float(x)) for x in candidate["step_log_odds"]),
        num_tokens=candidate["num_tokens"],
        answer=candidate["answer"],
        has_answer=True,
        correct=candidate["correct"],
        finished=candidate["finished"],
        logprob=candidate["logprob"],
        group=candidate.get("group"),
    )


def groups_of(samples: Sequence[Sample]) -> list[str]:
    """Return a name for each sample that samples with equivalent answers share; empty without an answer.

    Where the run has not recorded which are equivalent, equal texts are.
    """
    return [
        "" if s.answer is None else s.answer if s.group is None else samples[s.group].answer or ""
        for s in samples
    ]


def split(text: str, delimiter: str) -> list[str]:
    """Return the steps of a text, each with the delimiter that ends it; one empty step of an empty text."""
    pieces = text.split(delimiter) if delimiter else [text]
    steps = [piece + delimiter for piece in pieces[:-1]]
    return [*steps, pieces[-1]] if pieces[-1] or not steps else steps


def fitted(
    text: str, values: Sequence[float], delimiter: str, *, whole: bool
) -> tuple[tuple[str, ...], tuple[Reward | None, ...]]:
    """Return the steps of a text, and the reward of each.

    ``whole`` says that a single value rewards the whole text. Where a text has more steps than values, its
    last steps are one; where it has fewer, empty steps follow. Raises VerifierError outside [0, 1].
    """
    steps, rewards = split(text, delimiter), [Reward.from_value(value) for value in values]
    if not rewards or whole:
        return tuple(steps), (*[None] * (len(steps) - len(rewards)), *rewards)
    joined = [*steps[: len(rewards) - 1], "".join(steps[len(rewards) - 1 :])]
    return tuple(joined + [""] * (len(rewards) - len(joined))), tuple(rewards)
