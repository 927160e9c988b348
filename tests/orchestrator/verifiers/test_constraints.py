"""A judge by constraints: one list a problem, scores with reasons, and replies without a score."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backend import DirectBackend
from orchestrator.config.compatibility import check_prompts
from orchestrator.errors import ConfigError, VerifierError
from orchestrator.prompts.template import Template
from orchestrator.protocols import (
    Completion,
    EngineBase,
    Failure,
    GenerateRequest,
    ModelInfo,
    Reasons,
    ScoreReply,
    ScoreRequest,
)
from orchestrator.search.asking import Ledger
from orchestrator.search.session import Session
from orchestrator.storage.appending import OpenFiles
from orchestrator.storage.journal import Journal
from orchestrator.tasks.countdown import CountdownTask, Puzzle, draw_puzzle
from orchestrator.testing import PROBLEM, FakeEngine, FakeTask, check_verifier
from orchestrator.types import Finish, Problem, Sampling, Step, Trajectory, TrialRecord, Usage
from orchestrator.verifiers.constraints import ConstraintsVerifierConfig
from orchestrator.verifiers.countdown_constraints import CountdownConstraintsConfig, judge
from strategies import BestOfN, Greedy, Mixture, MixtureArm

LIST = Template("{question}\nList", instruction="")
SCORE = Template("{question}\n{constraints}\n{answer}\nScore", instruction="")


class Judge(EngineBase):
    """Lists ``Reach =.``, and says ``said`` of a text, or a score: its digest's, or one that is drawn."""

    def __init__(self, said: str | None = None, special: tuple[str, ...] = ()) -> None:
        self.said, self.special = said, special
        self.requests: list[GenerateRequest] = []

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(batch_invariant=True, special=self.special)

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        await asyncio.sleep(0)
        self.requests += requests
        return [self.reply(request) for request in requests]

    def reply(self, request: GenerateRequest) -> Completion:
        if request.question.endswith("List"):
            text = "Reach =."
        elif self.said is None:
            drawn = str(request.seed) if request.params.temperature > 0 else ""
            digest = hashlib.blake2b((request.question + drawn).encode(), digest_size=2).digest()
            text = f"It reaches it.\nScore: {int.from_bytes(digest, 'big') % 201 - 100}"
        else:
            text = self.said
        step = Step(text, tuple(map(ord, text)) or (0,), finish=Finish.EOS)
        return Completion((step,), Usage(generated_tokens=len(text), prompt_tokens=len(request.question)))

    def count(self, what: str) -> int:
        return sum(request.question.endswith(what) for request in self.requests)


def config_of(**knobs: Any) -> ConstraintsVerifierConfig:
    return ConstraintsVerifierConfig(LIST, SCORE, **knobs)


def session_of(judge: Judge, journal: Journal | None = None, seed: int = 0, **knobs: Any) -> Session:
    verifier = config_of(**knobs).open(DirectBackend(judge), FakeTask(), {})
    kept = {} if journal is None else {"journal": journal}
    return Session(Ledger(PROBLEM, FakeEngine(), verifier, FakeTask(), seed=seed, **kept))  # type: ignore[arg-type]


async def sampled(session: Session, num: int) -> list[Trajectory]:
    return await session.generate([Trajectory()] * num, Sampling(max_tokens=40), to_end=True)


async def test_the_list_is_made_once_for_all_branches_and_counted_once() -> None:
    judge = Judge("Right.\nScore: 60")
    session = session_of(judge)
    branches = [session.fork(name) for name in "abc"]
    texts = await asyncio.gather(*(sampled(branch, 2) for branch in branches))
    scored = await asyncio.gather(*(b.score(t) for b, t in zip(branches, texts, strict=True)))
    assert (judge.count("List"), judge.count("Score")) == (1, 6)
    assert judge.requests[1].question.startswith("abca\nReach =.\n")
    assert {(r.instruction, r.answer_marker, r.to_end) for r in judge.requests} == {("", None, True)}
    assert {round(t.reward.value, 9) for each in scored for t in each if t.reward} == {0.8}
    assert session.reasons(scored[0][0]) == Reasons("Right.\nScore: 60")
    assert await session.constraints() == "Reach =."
    spent = sum(len(judge.reply(r).steps[0].text) + len(r.question) for r in judge.requests)
    assert (session.usage.reward_calls, session.usage.reward_tokens) == (6, spent)
    by_role = session._ledger.account.by_role
    assert by_role.keys() == {"constraints", "score"}
    assert sum(usage.reward_tokens for usage in by_role.values()) == spent


async def test_a_verifier_without_constraints_lists_none() -> None:
    session = Session(Ledger(PROBLEM, FakeEngine(), None, FakeTask()))
    assert await session.constraints() == ""
    assert session.reasons(Trajectory()) is None


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("Score: 100", 1.0),
        ("Score: -100", 0.0),
        ("At first Score: 10, but then\nscore : +95.", 0.975),
        ("Score: 101", None),
        ("Score: 9.5", None),
        ("I like it.", None),
        ("", None),
        ("{score} {question}", None),
        ("Score:" * 10_000, None),
    ],
)
async def test_what_a_judgement_is_worth(said: str, value: float | None) -> None:
    request = ScoreRequest("p", "q", ("=1\n",), 0, constraints="Reach =.")
    for missing in (None, 0.5):
        verifier = config_of(missing=missing).open(DirectBackend(Judge(said)), FakeTask(), {})
        (reply,) = await verifier.score([request])
        if value is None and missing is None:
            assert isinstance(reply, Failure) and "states no score of -100 to 100" in reply.message
        else:
            assert isinstance(reply, ScoreReply)
            assert reply.rewards[0].value == pytest.approx(0.5 if value is None else value)
            assert reply.reasons == (Reasons(said, value is not None),)


async def test_a_judgement_without_a_score_ends_the_problem() -> None:
    session = session_of(Judge("Hello."))
    texts = await sampled(session, 1)
    with pytest.raises(VerifierError, match=r"of 6 characters states no score .* ends in 'Hello\.'"):
        await session.score(texts)


async def test_marks_of_the_chat_are_taken_out_of_what_models_wrote() -> None:
    judge = Judge("Score: 1", special=("=",))
    session = session_of(judge)
    await session.score(await sampled(session, 1))
    assert all("=" not in request.question for request in judge.requests)


async def test_an_engine_that_fails_fails_its_request_alone() -> None:
    engine = FakeEngine(fail_on="bad\nList")
    verifier = config_of().open(DirectBackend(engine), FakeTask(), {})
    (reply,) = await verifier.score([ScoreRequest("p", "bad", (), 0)])
    assert isinstance(reply, Failure)


async def solve(folder: Path, judge: Judge, seed: int = 0) -> Any:
    files = OpenFiles()
    journal = Journal(folder / "p.jsonl", files, patience=2.0)
    try:
        return await BestOfN(3).solve(session_of(judge, journal, seed))
    finally:
        files.close_all()


async def test_a_resumed_search_reads_the_list_and_the_reasons_again(tmp_path: Path) -> None:
    """Killed after each line: what the journal holds is requested no more."""
    first = Judge()
    solution = await solve(tmp_path, first)
    lines = (tmp_path / "p.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 3  # samples, list, scores
    for num, expected in enumerate([(1, 3), (1, 3), (0, 3), (0, 0)]):
        (tmp_path / "p.jsonl").write_bytes(b"".join(lines[:num]))
        again = Judge()
        assert await solve(tmp_path, again) == solution
        assert (again.count("List"), again.count("Score")) == expected


async def test_a_judge_that_draws_follows_the_runs_seed() -> None:
    seeds = []
    for seed in (1, 2):
        judge = Judge("Score: 5")
        session = session_of(judge, seed=seed, sampling=Sampling(0.7, max_tokens=9))
        await session.score([Trajectory((Step("=1\n", (1,), finish=Finish.ANSWER),))])
        seeds += [request.seed for request in judge.requests]
    assert len(set(seeds)) == 4


async def test_a_mixture_shows_the_list_and_the_reasons() -> None:
    class Policy(Judge):
        def reply(self, request: GenerateRequest) -> Completion:
            judges = request.question.endswith(("List", "Score"))
            return super().reply(request if judges else replace(request, question="List"))

    engine = Policy("Line 1 is wrong.\nScore: 20")
    verifier = config_of().open(DirectBackend(engine), FakeTask(), {})
    session = Session(Ledger(PROBLEM, engine, verifier, FakeTask()))
    arms = {"a": MixtureArm(BestOfN(1)), "b": MixtureArm(Greedy())}
    shown = Template("{question}|{answer}|{notes}|{constraints}")
    await Mixture(arms, 2, prompt=shown, prior=Template("{question}|{constraints}|{methods}")).solve(session)
    questions = [request.question for request in engine.requests]
    assert questions.count("abca|Reach =.|Line 1 is wrong.\nScore: 20|Reach =.") == 1
    assert questions.count("abca|Reach =.|a: A method.\nb: A method.") == 1
    assert engine.count("List") == 1
    assert session._ledger.account.by_role.keys() == {"constraints", "score", "select", "revise"}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("readout", ["per_step", "whole"])
async def test_it_keeps_the_laws_of_verifiers(readout: Any, temperature: float) -> None:
    config = config_of(readout=readout, sampling=Sampling(temperature))
    verifier = config.open(DirectBackend(Judge()), FakeTask(), {})
    await check_verifier(verifier, question="abca", steps=("a\n", "b\n", "c\n", "=abc\n"))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"prompt": Template("{question} {answer} {notes}")}, r"verifier.prompt=\{notes\}: must be one of"),
        ({"constraints": Template("List")}, r"verifier.constraints='List': must hold \{question\}"),
        ({"missing": 1.5}, "verifier.missing=1.5: must be a reward in"),
    ],
)
def test_settings_that_do_not_fit(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(config_of(), **knobs)


def test_a_policy_that_knows_28_characters_cannot_judge() -> None:
    names = {"strategy": "best_of_n", "engine": "embedded", "verifier": "constraints"}
    engine = CountdownConstraintsConfig()  # it knows one task alone, as such an engine does
    with pytest.raises(ConfigError, match="verifier=constraints: prompts the policy in words"):
        check_prompts(names, BestOfN(), engine, config_of())
    check_prompts(names, BestOfN(), engine, CountdownConstraintsConfig())


PUZZLE = Puzzle((3, 7, 11, 16), 15)
NUMBERS = "1. Each number once:"


@pytest.mark.parametrize(
    ("text", "score", "reasons"),
    [
        ("", 0, "not broken so far.\n2. The target: no answer yet."),
        ("16*3=48 7,11,48\n", 0, "not broken so far."),
        ("16*3=49 7,11,49\n", -100, "broken: line 1, 16*3=49 7,11,49, is wrong: 16*3 is 48."),
        ("16*4=64 7,11,64\n", -100, "uses 4, which is not left."),
        ("16*3=48 7,48\n", -100, "states wrong numbers as left: they are 7, 11, 48."),
        ("16*3=48 7,11,48\n48/0=1 7,11,1\n", -100, "uses 0, which is not left."),
        ("7-16=9 3,11,9\n", -100, "is wrong: 7-16 has no result that is allowed."),
        ("hello\n", -100, "broken: line 1 is no step."),
        ("#15\n", -50, "broken: 3, 7, 11, 16 are left, and the answer is 15.\n2. The target: met."),
        ("#14\n", -100, "2. The target: broken: the answer is 14."),
        ("11-7=4 3,16,4\n16-4=12 3,12\n12+3=15 15\n#15\n", 100, "met.\n2. The target: met."),
        ("11-7=4 3,16,4\n16-4=12 3,12\n12-3=9 9\n#9\n", -50, "met.\n2. The target: broken: the answer is 9."),
        ("11-7=4 3,16,4\n16-4=12 3,12\n12-3=9 9\n#15\n", -50, "broken: 9 are left, and the answer is 15."),
    ],
)
def test_the_constraints_of_countdown(text: str, score: int, reasons: str) -> None:
    found, said = judge(PUZZLE, text)
    assert found == score
    assert reasons in said and said.startswith(NUMBERS) and said.endswith(f"Score: {score}")


async def test_a_mixture_stops_at_the_first_solution_that_meets_them() -> None:
    """On Countdown, without a model: the policy writes these texts one after another."""
    puzzle = draw_puzzle("test", 0)
    wrong, right = f"#{puzzle.target}\n", "".join(puzzle.lines)
    texts = iter([wrong, wrong, wrong, wrong, right, wrong, wrong, wrong])

    class Policy(Judge):
        def reply(self, request: GenerateRequest) -> Completion:
            text = next(texts)
            return Completion((Step(text, tuple(map(ord, text)), finish=Finish.EOS),), Usage())

    task = CountdownTask()
    verifier = CountdownConstraintsConfig("whole").open(DirectBackend(FakeEngine()), task, {})
    problem = Problem("p", puzzle.question, puzzle.question)
    session = Session(Ledger(problem, Policy(), verifier, task))
    solution = await Mixture({"a": MixtureArm(BestOfN(2))}, 32).solve(session)
    scores = [(r.number, r.score) for r in solution.history if isinstance(r, TrialRecord)]
    assert scores == [(1, pytest.approx(0.25)), (2, 1.0)]
    assert solution.answer_index is not None
    assert solution.trajectories[solution.answer_index].text == right


def test_every_known_solution_meets_all_constraints() -> None:
    for index in range(200):
        puzzle = draw_puzzle("test", index)
        assert judge(puzzle, "".join(puzzle.lines))[0] == 100
        assert judge(puzzle, "".join(puzzle.lines[:-1]))[0] == 0


@pytest.mark.parametrize("readout", ["per_step", "whole"])
async def test_the_exact_verifier_keeps_the_laws_of_verifiers(readout: Any) -> None:
    verifier = CountdownConstraintsConfig(readout).open(DirectBackend(FakeEngine()), FakeTask(), {})
    steps = ("11-7=4 3,16,4\n", "16-4=12 3,12\n", "12+3=15 15\n", "#15\n")
    wrong = (*steps[:2], "12-3=9 9\n", "#9\n")
    question = PUZZLE.question
    await check_verifier(
        verifier, question=question, steps=steps, wrong=wrong, reads=False, empty_steps=False
    )
    (failed,) = await verifier.score([ScoreRequest("p", "?", ("a\n",), 0)])
    (listed,) = await verifier.score([ScoreRequest("p", question, (), 0)])
    assert failed == Failure("VerifierError", "'?' is no question of Countdown")
    assert isinstance(listed, ScoreReply)
    assert listed.reasons == (Reasons("1. Use each of 3, 7, 11, 16 exactly once.\n2. Reach 15."),)
