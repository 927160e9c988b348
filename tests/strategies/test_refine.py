"""The refine loop: its limit cases, its closed forms on a scripted reviser, and what its prompts show."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConfigError, EngineError
from orchestrator.prompts.template import Template, without
from orchestrator.protocols import (
    OVERFLOW,
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
from orchestrator.search.strategy import knows_answers
from orchestrator.storage.journal import Journal
from orchestrator.testing import FakeTask, FakeVerifier, World
from orchestrator.types import (
    AttemptRecord,
    Finish,
    Reward,
    RoleRecord,
    Sampling,
    Solution,
    Step,
    Trajectory,
    Usage,
)
from strategies import BestOfN, Refine, RefineStop
from strategies.parts.attempts import Chain, carried
from tests.strategies.hostile_replies import MARKS, REPLIES, Hostile
from tests.toy import PROBLEM, Table, sampling

SHOW_ALL = Template("{question}\n{attempts}\n{notes}")
CRITIQUE = Template("{question}\n{answer}\nErrors?", instruction="")


class Reviser(EngineBase):
    """Right with ``first``; a wrong attempt becomes right with ``f``, a right one wrong with ``b``.

    A critique states that there is no error where the answer is right.
    """

    def __init__(self, first: float, f: float, b: float, special: tuple[str, ...] = ()) -> None:
        self.first, self.f, self.b, self.special = first, f, b, special
        self.requests: list[GenerateRequest] = []

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(batch_invariant=True, special=self.special, takes_history=True)

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        self.requests += requests
        return [self.reply(request) for request in requests]

    def reply(self, request: GenerateRequest) -> Completion:
        draw, shown = random.Random(request.seed).random(), request.question
        was_right = shown.rfind("=r") > shown.rfind("=w")
        if request.question.endswith("Errors?"):
            text = "No error." if was_right else "Step 1 is wrong."
        elif "=" not in shown:
            text = "=r\n" if draw < self.first else "=w\n"
        else:
            text = "=r\n" if draw < (1 - self.b if was_right else self.f) else "=w\n"
        step = Step(text, tuple(map(ord, text)), finish=Finish.EOS)
        return Completion((step,), Usage(generated_tokens=len(text)))


async def solve(strategy: Refine, engine: Reviser, seed: int = 0, **limits: Any) -> Solution:
    world = World(engine=engine, reward=lambda _, steps: 1.0 if steps[-1].startswith("=r") else 0.0)  # type: ignore[arg-type]
    return await world.solve(strategy, seed, **limits)


def attempts_of(solution: Solution) -> list[AttemptRecord]:
    return [record for record in solution.history if isinstance(record, AttemptRecord)]


@pytest.mark.parametrize(("width", "chains"), [(8, 1), (1, 8), (2, 4)])
async def test_one_iteration_is_best_of_n(width: int, chains: int) -> None:
    for seed in range(5):
        refined = await World().solve(Refine(width=width, chains=chains, iterations=1), seed)
        sampled = await World().solve(BestOfN(num_samples=8), seed)
        assert replace(refined, history=()) == sampled


def share_right(solution: Solution) -> dict[int, list[bool]]:
    by_iteration = defaultdict(list)
    for record in attempts_of(solution):
        text = solution.trajectories[record.candidate].text
        by_iteration[record.iteration].append(text == "=r\n")
    return by_iteration


async def test_accuracy_by_iteration_is_the_chains_closed_form() -> None:
    """A two-state chain: pi + (a - pi)(1 - f - b)^(i - 1), pi = f / (f + b)."""
    first, f, b, num_chains = 0.3, 0.4, 0.15, 400
    strategy = Refine(chains=num_chains, iterations=4, prompt=SHOW_ALL, carry="last", within="last")
    by_iteration = share_right(await solve(strategy, Reviser(first, f, b)))
    stays = f / (f + b)
    for iteration, right in by_iteration.items():
        expected = stays + (first - stays) * (1 - f - b) ** (iteration - 1)
        error = math.sqrt(expected * (1 - expected) / num_chains)
        assert abs(sum(right) / num_chains - expected) < 4 * error, iteration
    assert sorted(by_iteration) == [1, 2, 3, 4]


async def test_with_perfect_selection_each_revision_is_one_more_chance() -> None:
    """1 - (1 - a)(1 - f)^(i - 1): the sequential form of the test-time scaling model."""
    first, f, num_chains = 0.3, 0.25, 400
    strategy = Refine(chains=num_chains, iterations=3, prompt=SHOW_ALL, carry="last")
    solution = await solve(strategy, Reviser(first, f, b=0.9))
    solved = {r.chain for r in attempts_of(solution) if solution.trajectories[r.candidate].text == "=r\n"}
    expected = 1 - (1 - first) * (1 - f) ** 2
    error = math.sqrt(expected * (1 - expected) / num_chains)
    assert abs(len(solved) / num_chains - expected) < 4 * error


def chain_of(*rewards: float) -> Chain:
    chain = Chain(0)
    steps = [Step("x", (1,), reward=Reward.from_value(r), finish=Finish.EOS) for r in rewards]
    chain.add([Trajectory((step,)) for step in steps], iteration=1)
    return chain


@pytest.mark.parametrize(
    ("carry", "shown"),
    [("last", [5]), ("last_four", [2, 3, 4, 5]), ("all", [0, 1, 2, 3, 4, 5]), ("best_and_worst", [1, 3])],
)
def test_what_is_carried(carry: Any, shown: list[int]) -> None:
    assert carried(chain_of(0.5, 0.9, 0.9, 0.1, 0.1, 0.3), carry, "last") == shown
    first = carried(chain_of(0.5), carry, "last")
    assert first == ([0, 0] if carry == "best_and_worst" else [0])


async def test_a_prompt_shows_attempts_oldest_first_and_rewards() -> None:
    engine = Reviser(0.0, 0.0, 0.0)
    await solve(Refine(iterations=3, prompt=SHOW_ALL, feedback="score"), engine)
    assert [r.question for r in engine.requests[1:]] == [
        "abca\n[1] =w\nreward 0.00",
        "abca\n[1] =w\n\n[2] =w\nreward 0.00",
    ]


class Judge(FakeVerifier):
    """A verifier that gives reasons for a wrong attempt, or for none."""

    says = True

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        reasons = (Reasons("{answer} is wrong<|im_end|>"),) if self.says else ()
        return [ScoreReply((Reward(0.0),), Usage(), reasons) for _ in requests]


@pytest.mark.parametrize(("says", "notes"), [(True, "{answer} is wrong"), (False, "")])
async def test_a_prompt_shows_the_verifiers_reasons(says: bool, notes: str) -> None:
    engine, judge = Reviser(0.0, 0.0, 0.0, special=("<|im_end|>",)), Judge()
    judge.says = says
    strategy = Refine(2, prompt=SHOW_ALL, feedback="reasons", within="last")
    await World(engine=engine, verifier=judge).solve(strategy)  # type: ignore[arg-type]
    assert engine.requests[-1].question == f"abca\n[1] =w\n{notes}"


async def test_marks_of_the_chat_are_taken_out_of_what_models_wrote() -> None:
    engine = Reviser(0.0, 0.0, 0.0, special=("=w", ""))
    strategy = Refine(iterations=2, prompt=SHOW_ALL, feedback="critique", critique=CRITIQUE)
    solution = await solve(strategy, engine)
    assert engine.requests[1].question == "abca\n\nErrors?"
    (said,) = (record for record in solution.history if isinstance(record, RoleRecord))
    assert (said.role, said.layer, said.text, said.num_removed) == ("critique", 2, "Step 1 is wrong.", 1)


@pytest.mark.parametrize(
    ("stop", "num_attempts"),
    [
        (RefineStop(), [4, 4]),
        (RefineStop("no_error"), [1, 4]),
        (RefineStop("threshold"), [1, 4]),
        (RefineStop("threshold", 1.5), [4, 4]),
    ],
)
async def test_when_a_chain_ends(stop: RefineStop, num_attempts: list[int]) -> None:
    for first, number in zip([1.0, 0.0], num_attempts, strict=True):
        strategy = Refine(4, prompt=SHOW_ALL, feedback="critique", critique=CRITIQUE, stop=stop)
        solution = await solve(strategy, Reviser(first, 0.0, 0.0))
        assert len(solution.trajectories) == number


@pytest.mark.parametrize("level", [0.75, 0.9, 0.95, 0.975])
async def test_an_attempt_whose_reward_is_the_level_ends_its_chain(level: float) -> None:
    strategy = Refine(6, prompt=SHOW_ALL, stop=RefineStop("threshold", level), sampling=sampling())
    solution = await World(reward=lambda _, steps: level).solve(strategy)
    assert len(solution.trajectories) == 1


async def test_a_text_without_an_end_does_not_end_a_chain() -> None:
    """It is no answer, whatever its reward."""
    language = Table({}, {"a" * 40 + "\n": 0.5, "=1\n": 0.5})
    world = World(language, lambda _, steps: 0.95)
    strategy = Refine(4, prompt=SHOW_ALL, stop=RefineStop("threshold"), sampling=sampling())
    firsts = set()
    for seed in range(8):
        solution = await world.solve(strategy, seed)
        firsts.add(solution.trajectories[0].finished)
        *before, last = [t.finished for t in solution.trajectories]
        assert not any(before)
        assert last or len(solution.trajectories) == 4
    assert firsts == {True, False}


async def test_a_critique_is_beside_the_budget_and_counted_by_its_role() -> None:
    engine = Reviser(0.0, 0.0, 0.0)
    world = World(engine=engine, reward=lambda _, __: 0.5)  # type: ignore[arg-type]
    session = world.session()
    solution = await Refine(3, prompt=SHOW_ALL, feedback="critique", critique=CRITIQUE).solve(session)
    assert len(solution.trajectories) == 3
    by_role = session._ledger.account.by_role
    assert {role: usage.generated_tokens for role, usage in by_role.items()} == {"critique": 32, "revise": 6}
    critiques = [r for r in engine.requests if r.question.endswith("Errors?")]
    assert {(r.instruction, r.answer_marker, r.to_end) for r in critiques} == {("", None, True)}
    assert solution.usage.generated_tokens == 32 + 3 * 3


@pytest.mark.parametrize("num_samples", range(1, 12))
async def test_the_last_iteration_has_what_is_left(num_samples: int) -> None:
    strategy = Refine(num_samples, width=2, chains=2, prompt=SHOW_ALL)
    solution = await solve(strategy, Reviser(0.2, 0.2, 0.2))
    assert len(solution.trajectories) == num_samples
    assert sorted(r.candidate for r in attempts_of(solution)) == list(range(num_samples))
    assert all(max(r.read, default=-1) < r.candidate for r in attempts_of(solution))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"iterations": 2}, "strategy.prompt=null: must be a template"),
        ({"iterations": 1, "feedback": "critique"}, "strategy.critique=null"),
        ({"prompt": Template("{question} {best}")}, "must be one of .*"),
        ({"prompt": Template("{answer}")}, r"must hold \{question\}"),
        ({"prompt": SHOW_ALL, "stop": RefineStop("no_error")}, "needs strategy.feedback=critique"),
        ({"prompt": SHOW_ALL, "width": 0}, "strategy.width=0"),
    ],
)
def test_settings_that_do_not_fit(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Refine(**knobs)
    with pytest.raises(ConfigError, match=r"strategy\.stop\.at=0\.5: needs"):
        RefineStop("no_error", 0.5)


class Narrow(Reviser):
    """A reviser whose context holds ``context`` characters."""

    def __init__(self, context: int, special: tuple[str, ...] = ()) -> None:
        super().__init__(0.0, 0.0, 0.0, special)
        self.context = context

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        replies = await super().generate(requests)
        return [self.refusal(q) or reply for q, reply in zip(requests, replies, strict=True)]

    def refusal(self, request: GenerateRequest) -> Failure | None:
        num = sum(len(turn.text) for turn in request.history) + len(request.question)
        return Failure(OVERFLOW, "too long") if num + request.least_room > self.context else None


SHORT = Sampling(max_tokens=4)
BOTH = Template("{question}\n{best}\n{worst}\n{worst_score}")


async def test_attempts_without_room_are_dropped_and_counted() -> None:
    """The prompt and what may be generated fit: 'abca', 4 tokens and 9 or 7 characters an attempt."""
    engine = Narrow(context=len("abca\n[1] =w\n\n[2] =w\n") + 4)
    solution = await solve(Refine(4, sampling=SHORT, prompt=SHOW_ALL, carry="all"), engine)
    read = [(r.read, r.num_dropped) for r in attempts_of(solution)]
    assert read == [((), 0), ((0,), 0), ((0, 1), 0), ((1, 2), 1)]
    assert engine.requests[-1].question == "abca\n[1] =w\n\n[2] =w\n"


async def test_the_worst_is_dropped_before_the_best() -> None:
    engine = Narrow(context=len("abca\n=w\n\nnone") + 3)
    strategy = Refine(
        2,
        sampling=SHORT,
        carry="best_and_worst",
        prompt=BOTH,
    )
    solution = await solve(strategy, engine)
    assert [(r.read, r.num_dropped) for r in attempts_of(solution)] == [((), 0), ((0,), 1)]
    assert engine.requests[-1].question == "abca\n=w\n\nnone"


async def test_a_prompt_that_never_fits_ends_the_chain_and_leaves_a_record() -> None:
    solution = await solve(Refine(4, prompt=SHOW_ALL), Narrow(context=5))
    (said,) = (record for record in solution.history if isinstance(record, RoleRecord))
    assert (said.role, said.layer, said.parsed, said.text, said.num_dropped) == ("revise", 2, False, "", 1)
    assert len(solution.trajectories) == 1


async def test_a_critique_without_room_says_nothing() -> None:
    engine = Narrow(context=len("abca\n[1] =w\n") + 1)
    long = Template("{question}\n{answer}\nName each of the errors.\nErrors?")
    strategy = Refine(2, prompt=SHOW_ALL, feedback="critique", critique=long)
    solution = await solve(strategy, engine)
    (said,) = (record for record in solution.history if isinstance(record, RoleRecord))
    assert (said.role, said.parsed, said.num_dropped) == ("critique", False, 1)
    assert engine.requests[-1].question == "abca\n[1] =w\n"


async def test_without_room_for_the_question_the_problem_fails() -> None:
    with pytest.raises(EngineError, match="ContextOverflow: too long"):
        await solve(Refine(4, prompt=SHOW_ALL), Narrow(context=3))


async def resumed(strategy: Refine, path: Path, engine: Reviser) -> Solution:
    """Search with the journal at ``path``, as a process that starts again does."""
    verifier = FakeVerifier(lambda _, steps: 1.0 if steps[-1].startswith("=r") else 0.0)
    ledger = Ledger(PROBLEM, engine, verifier, FakeTask(), journal=Journal(path))
    return await strategy.solve(Session(ledger))


async def test_a_run_that_was_killed_between_a_critique_and_its_revision_ends_as_if_it_was_not(
    tmp_path: Path,
) -> None:
    """After each line that may have been the last one; attempts that had no room are dropped again."""
    strategy = Refine(
        3,
        sampling=SHORT,
        prompt=SHOW_ALL,
        carry="all",
        feedback="critique",
        critique=CRITIQUE,
        critique_sampling=Sampling(max_tokens=17),
    )
    context, path = len("abca\n[1] =w\nStep 1 is wrong.") + 4, tmp_path / "whole.jsonl"
    whole = await resumed(strategy, path, Narrow(context))
    assert [r.num_dropped for r in attempts_of(whole)] == [0, 0, 1]
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 9  # three attempts and their rewards, two critiques, a prompt without room
    for num in range(len(lines) + 1):
        cut, engine = tmp_path / f"{num}.jsonl", Narrow(context)
        cut.write_bytes(b"".join(lines[:num]))
        assert await resumed(strategy, cut, engine) == whole
        assert cut.read_bytes().count(b"\n") == len(lines)
        assert len(engine.requests) <= 6 - num // 2


RETRY = Template("Wrong ({number}). {notes}")
HINT = Template("{question}\n{attempts}\nHint?", instruction="")


def hinted(**knobs: Any) -> Refine:
    settings = {"carry": "conversation", "feedback": "hint", "within": "last", "stop": RefineStop("oracle")}
    return Refine(3, prompt=RETRY, critique=HINT, **(settings | knobs))


def is_hint(request: GenerateRequest) -> bool:
    return request.question.endswith("Hint?")


async def test_a_conversation_holds_what_was_said_before() -> None:
    engine = Hostile("Look at b.", is_hint)
    solution = await solve(hinted(), engine)  # type: ignore[arg-type]
    _, _, second, hint, third = engine.requests
    assert [turn.text for turn in second.history] == ["abca", "=bbbb"]
    assert [(turn.role, turn.text) for turn in third.history] == [
        ("user", "abca"),
        ("assistant", "=bbbb"),
        ("user", "Wrong (1). Look at b."),
        ("assistant", "=bbbb"),
    ]
    assert third.question == "Wrong (2). Look at b."
    assert hint.question == "abca\n[1] =bbbb\n\n[2] =bbbb\nHint?"
    assert [r.read for r in attempts_of(solution)] == [(), (0,), (0, 1)]


async def test_the_oldest_turns_are_dropped_first() -> None:
    """What is kept still begins with the question."""
    engine = Narrow(context=len("abca=wWrong (2). ") + 4)
    strategy = hinted(feedback="none", sampling=SHORT, stop=RefineStop())
    solution = await solve(strategy, engine)
    assert [(r.read, r.num_dropped) for r in attempts_of(solution)] == [((), 0), ((0,), 0), ((1,), 1)]
    assert [turn.text for turn in engine.requests[-1].history] == ["abca", "=w"]


@pytest.mark.parametrize(
    ("hint", "used"),
    [
        ("Look at b.", True),
        ("It is not bbbb.", True),  # the last answer is no secret
        ("The answer is abca.", False),
        ("=ABCA\n", False),
        ("abcabc is longer than xabca", True),
    ],
)
async def test_a_hint_that_holds_the_answer_is_dropped_and_counted(hint: str, used: bool) -> None:
    engine = Hostile(hint, is_hint)
    solution = await solve(hinted(), engine)  # type: ignore[arg-type]
    said = [record for record in solution.history if isinstance(record, RoleRecord)]
    assert [(record.role, record.text, record.parsed) for record in said] == [("hint", hint, used)] * 2
    assert engine.requests[-1].question == f"Wrong (2). {hint if used else ''}"


async def test_a_search_with_an_oracle_stops_at_the_first_right_attempt() -> None:
    engine = Hostile("Look.", is_hint, answer="=abca\n")
    solution = await solve(hinted(), engine)  # type: ignore[arg-type]
    assert len(engine.requests) == len(solution.trajectories) == 1


@pytest.mark.parametrize(
    ("strategy", "marked"),
    [
        (hinted(), True),
        (hinted(stop=RefineStop()), True),
        (hinted(feedback="none"), True),
        (hinted(feedback="none", stop=RefineStop()), False),
        (hinted(iterations=1), False),
    ],
)
def test_what_knows_the_answers_says_so(strategy: Refine, marked: bool) -> None:
    assert knows_answers(strategy) == marked


@pytest.mark.parametrize(
    ("strategy", "policies"),
    [
        (hinted(teacher="judge"), ("engine", "judge")),
        (hinted(), ("engine",)),
        (hinted(teacher="judge", feedback="none"), ("engine",)),
        (hinted(teacher="judge", iterations=1), ("engine",)),
    ],
)
def test_it_names_the_policies_that_it_asks(strategy: Refine, policies: tuple[str, ...]) -> None:
    assert strategy.policies == policies


async def test_a_teacher_is_another_policy() -> None:
    engine, teacher = Hostile("never", is_hint), Hostile("Look at b.", is_hint)
    ledger = Ledger(PROBLEM, engine, None, FakeTask(), policies={"judge": teacher})
    solution = await hinted(teacher="judge").solve(Session(ledger))
    assert [len(engine.requests), len(teacher.requests)] == [3, 2]
    said = [record for record in solution.history if isinstance(record, RoleRecord)]
    assert {(record.policy, record.text) for record in said} == {("judge", "Look at b.")}


def is_critique(request: GenerateRequest) -> bool:
    return request.question.endswith("Errors?")


@pytest.mark.parametrize("name", REPLIES)
async def test_whatever_a_critic_says_the_budget_is_spent_on_attempts(name: str) -> None:
    engine = Hostile(REPLIES[name], is_critique)
    strategy = Refine(
        3, prompt=SHOW_ALL, feedback="critique", critique=CRITIQUE, critique_sampling=Sampling(max_tokens=99)
    )
    solution = await solve(strategy, engine)  # type: ignore[arg-type]
    said = [record for record in solution.history if isinstance(record, RoleRecord)]
    text = REPLIES[name][:99]
    assert [(r.text, r.parsed) for r in said] == [(text, name not in ("empty", "blank"))] * 2
    assert len(solution.trajectories) == 3
    quoted = without(text, MARKS)[0]
    assert engine.requests[-1].question == f"abca\n[1] =bbbb\n\n[2] =bbbb\n{quoted}"


@pytest.mark.parametrize("name", REPLIES)
async def test_whatever_an_attempt_says_it_is_shown_as_text(name: str) -> None:
    engine = Hostile(REPLIES[name], lambda _: True)
    solution = await solve(Refine(2, prompt=SHOW_ALL, sampling=Sampling(max_tokens=99)), engine)  # type: ignore[arg-type]
    quoted = without(REPLIES[name][:99].strip(), MARKS)[0]
    assert engine.requests[-1].question == f"abca\n[1] {quoted}\n"
    assert len(solution.trajectories) == 2
