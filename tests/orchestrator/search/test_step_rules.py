"""Searches whose steps do not end at the delimiter: what travels, what resumes, what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from orchestrator.errors import ConfigError
from orchestrator.protocols import Completion, Failure, GenerateRequest, ModelInfo, ScoreReply
from orchestrator.search.controller import Controller
from orchestrator.search.requests import generate_requests, lock, mark_answer
from orchestrator.steps.rule import StepRule
from orchestrator.storage.journal import Journals
from orchestrator.storage.journal_lines import Record, digest_of, read_record, write_record
from orchestrator.storage.run_directory import differing_keys
from orchestrator.testing import PROBLEM, FakeEngine, FakeTask, FakeVerifier, World
from orchestrator.types import Carried, Finish, Reward, Sampling, Step, Trajectory, Usage
from strategies import BestOfN, ParticleFilter
from tests.toy import sampling

TOKENS, MARKERS = StepRule("tokens", 4), StepRule("markers", markers=["b", "="])
RULES = [TOKENS, MARKERS, StepRule("hybrid", 5, "c|="), StepRule("hybrid", 4)]


def filtered() -> ParticleFilter:
    return ParticleFilter(
        num_particles=4, max_steps=12, sampling=sampling(max_tokens=40), weighting="absolute", tempering=1.0,
        resampling="systematic", ess_threshold=1.0, selection="argmax", aggregation="last",
    )  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("sampler", ["step", "stream"])
async def test_a_text_by_steps_is_one_text(rule: StepRule, sampler: Any) -> None:
    """With a stream it is that of one request; else nothing of it is drawn twice."""
    world = World(task=FakeTask(step=rule), engine=FakeEngine(sampler=sampler))
    session, params = world.session(seed=5), Sampling(1.0, 1.0, 40)
    (text,) = await session.generate([Trajectory()], params)
    while text.active:
        (text,) = await session.generate([text], params)
    assert text.finished and text.text == "".join(map(chr, text.token_ids)).rstrip("\0")
    assert session.usage.generated_tokens == text.num_tokens
    if sampler == "stream":
        (whole,) = await world.session(seed=5).generate([Trajectory()], params, to_end=True)
        assert [(s.text, s.token_ids, s.finish) for s in text.steps] == [
            (s.text, s.token_ids, s.finish) for s in whole.steps
        ]


async def test_a_reward_leaves_what_a_step_carries_on() -> None:
    world = World(task=FakeTask(step=MARKERS))
    session, (text,) = world.session(seed=5), (Trajectory(),)
    while text.active:
        (text,) = await session.score(await session.generate([text], Sampling(1.0, 1.0, 40)))
    assert any(isinstance(request.carried, Carried) for request in world.engine.requests)
    assert session.usage.generated_tokens == text.num_tokens


@pytest.mark.parametrize("rule", RULES)
async def test_an_answer_is_never_cut_in_two(rule: StepRule) -> None:
    """A step may end within an answer's line: the search ends once the line has."""
    world = World(task=FakeTask(step=rule))
    solution = await world.solve(BestOfN(num_samples=8, sampling=sampling(max_tokens=60), aggregation="last"))
    answers = [
        world.task.extract(t.text) for t in solution.trajectories if t.steps[-1].finish is Finish.ANSWER
    ]
    assert answers and all(len(answer or "") == len(PROBLEM.question) for answer in answers)


def request_of(task: FakeTask, *steps: Step) -> GenerateRequest:
    (made,) = generate_requests(PROBLEM, task, [Trajectory(steps)], [sampling()], [7], False)
    return made


def test_requests_of_other_tasks_are_what_they_were() -> None:
    """Journals of earlier releases hold their digests."""
    plain = request_of(FakeTask(), Step("a\n", (97, 10)))
    assert (plain.step, plain.carried, plain.before) == (UNSET, UNSET, UNSET)
    assert digest_of([plain]) == "e7792e15a9da1d2ccc1c6e9cb6c72047"
    assert digest_of([request_of(FakeTask(step=TOKENS), Step("a\n", (97, 10)))]) != digest_of([plain])


def test_what_a_step_carries_on_travels_with_the_next_request() -> None:
    carried = Carried((98,), (-0.5,))
    made = request_of(FakeTask(step=MARKERS), Step("a\n", (97, 10), carried=carried))
    assert (made.step, made.carried, made.before) == (MARKERS, carried, "a\n")


def test_a_journal_holds_what_is_carried_on() -> None:
    step = Step("a", (97,), -1.0, None, Finish.STEP, Carried((98, 99), (-0.5, -float("inf"))))
    record = Record("c", "ab", 0.0, 1, 1, (Completion((Step("x", (1,)), step), Usage(3)),))
    assert read_record(write_record(record)) == record


@pytest.mark.parametrize("rule", [MARKERS, TOKENS])
async def test_a_search_resumes_in_the_middle(rule: StepRule, tmp_path: Path) -> None:
    task = FakeTask(step=rule)

    async def solved(engine: FakeEngine, run_dir: Path | None) -> Any:
        journals = None if run_dir is None else Journals(run_dir)
        try:
            return await Controller(filtered(), engine, FakeVerifier(), task, journals=journals).solve(
                PROBLEM
            )
        finally:
            if journals is not None:
                journals.close()

    whole, cut = FakeEngine(), Cut(after=3)
    expected = await solved(whole, None)
    assert (await solved(cut, tmp_path)).error is not None
    resumed = FakeEngine()
    result = await solved(resumed, tmp_path)
    assert result.candidates == expected.candidates and result.usage == expected.usage
    assert 0 < len(resumed.requests) < len(whole.requests)


class Cut(FakeEngine):
    """An engine that fails after a few calls."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        self.after -= 1
        replies = await super().generate(requests)
        return replies if self.after >= 0 else [Failure("RuntimeError", "cut") for _ in replies]


class DelimiterAlone(FakeEngine):
    @property
    def info(self) -> ModelInfo:
        return replace(super().info, step_modes=("delimiter",))


def test_an_engine_that_does_not_know_the_mode_is_refused() -> None:
    engine = DelimiterAlone()
    Controller(filtered(), engine, FakeVerifier(), FakeTask())
    with pytest.raises(
        ConfigError, match=r"^task.step.mode=tokens: this engine ends steps by delimiter alone"
    ):
        Controller(filtered(), engine, FakeVerifier(), FakeTask(step=TOKENS))


def test_a_run_that_began_before_the_keys_may_be_resumed() -> None:
    step = {"mode": "delimiter", "tokens": None, "markers": None}
    before: dict[str, Any] = {"task": {"split": "test"}}
    assert differing_keys(before, {"task": {"split": "test", "step": step}}) == []
    other = {"task": {"split": "test", "step": {**step, "mode": "tokens", "tokens": 8}}}
    assert differing_keys(before, other) == ["task.step.mode", "task.step.tokens"]


def test_the_estimate_of_a_canvas_stays_with_the_step_that_answers() -> None:
    """What follows the answer is cut off, and counts in the estimate; so it does when the step is scored."""
    asked = replace(request_of(FakeTask()), answer_marker="#")
    reply = Completion((Step("#1\n", (1,)), Step("x", (2,), one_step_nll=0.5)), Usage())
    (step,) = mark_answer(asked, reply)
    assert (step.finish, step.one_step_nll) == (Finish.ANSWER, 0.5)
    scored = lock(Trajectory((step,)), ScoreReply((Reward(1.0),), Usage()))
    assert scored.one_step_nll == 0.5 and Trajectory().one_step_nll is None


@pytest.mark.parametrize(
    ("marker", "texts", "answered"),
    [
        ("\\boxed", ["So \\boxed{1", "2}. "], 1),
        ("\\boxed", ["So \\boxed{12", "}"], 1),
        ("####", ["#### 1", "2", "\n"], 2),
        ("####", ["x\n#### 12\n", "y"], 0),
        ("</answer>", ["<answer>1", "2</ans", "wer>"], 2),
        ("\\boxed", ["So \\boxed 1", "2"], None),
    ],
)
def test_an_answer_counts_once_nothing_can_be_added(
    marker: str, texts: list[str], answered: int | None
) -> None:
    asked = replace(request_of(FakeTask(step=TOKENS)), answer_marker=marker)
    reply = Completion(tuple(Step(text, (1,)) for text in texts), Usage())
    marked = [i for i, step in enumerate(mark_answer(asked, reply)) if step.finish is Finish.ANSWER]
    assert marked == ([] if answered is None else [answered])
