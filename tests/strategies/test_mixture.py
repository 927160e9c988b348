"""The mixture: its bound by hand, its limit cases, its prior, and how a draft reaches a nested strategy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from msgspec import UNSET

from orchestrator.config.build import build_node
from orchestrator.errors import ConfigError
from orchestrator.prompts.template import Template
from orchestrator.protocols import (
    OVERFLOW,
    Completion,
    EngineBase,
    Failure,
    GenerateRequest,
    ModelInfo,
    ScoreReply,
)
from orchestrator.search.asking import Ledger
from orchestrator.search.session import Session
from orchestrator.search.strategy import Strategy
from orchestrator.testing import PROBLEM, FakeTask, FakeVerifier, World
from orchestrator.types import (
    AttemptRecord,
    Finish,
    Prompt,
    RoleRecord,
    Sampling,
    Solution,
    Step,
    Trajectory,
    TrialRecord,
    Usage,
)
from strategies import (
    AStar,
    BeamSearch,
    BestOfN,
    ComputeOptimal,
    Greedy,
    Mixture,
    MixtureArm,
    Pipeline,
    Refine,
    SelfConsistency,
    TreeOfThoughts,
)
from strategies.mixture import cut
from strategies.parts import bandit
from strategies.parts.answering import Answering
from strategies.parts.plan import Plan
from tests.laws import assert_sound
from tests.toy import sampling

SHOW = Template("{question}\nbest {answer}\nsaid {notes}\nscore {score}\nlist {constraints}")
ASK = Template("{question}\n{constraints}\n{methods}\nHow suitable?")


@pytest.mark.parametrize(
    ("arm", "num_trials", "bound"),
    [
        (bandit.Arm(), 0, 0.5 + 0.05),
        (bandit.Arm(1.0), 0, 1.0 + 0.05),
        (bandit.Arm(0.0), 1, math.sqrt(2 * math.log(2)) + 0.05),
        (bandit.Arm(0.5, 0.9, 2), 1, 0.45 + math.sqrt(math.log(2)) + 0.25 + 0.1 / 3),
        (bandit.Arm(0.5, 0.9, 2, 1), 1, 0.45 + math.sqrt(math.log(2)) + 0.25 + 0.1 / 3 + 0.05),
        (bandit.Arm(0.2, 1.5, 4, 2), 5, 0.375 + math.sqrt(math.log(6) / 2) + 0.2 / 6 + 0.02 + 0.05),
        (bandit.Arm(0.0), 10**6, 5.0 + 0.05),
    ],
)
def test_the_bound_against_a_hand_table(arm: bandit.Arm, num_trials: int, bound: float) -> None:
    assert arm.bound(num_trials, bandit.Weights()) == pytest.approx(bound, abs=1e-12)


def test_which_arm_is_chosen() -> None:
    """The prior decides first, then what has been tried less, and a tie goes to the first."""
    arms, weights = [bandit.Arm(0.5), bandit.Arm(0.7), bandit.Arm(0.7)], bandit.Weights()
    chosen = list[int]()
    for score in (0.3, 0.9, 0.0, 0.0):
        best, bound = bandit.choose(arms, weights, range(len(arms)))
        assert bound == max(arm.bound(len(chosen), weights) for arm in arms)
        chosen.append(best)
        arms[best] = arms[best].played(score, is_better=score > 0.5)
    assert chosen == [1, 2, 2, 0]
    assert bandit.choose(arms, weights, {0, 1})[0] == bandit.choose(arms[:2], weights, range(2))[0]
    assert arms[2] == bandit.Arm(0.7, 0.9, 3, 1)


class Reviser(EngineBase):
    """Writes ``=0`` for the question, one more than a prompt shows, and ``said`` when it is asked."""

    def __init__(self, said: str = '{"a": 0.1, "b": 0.9}') -> None:
        self.said, self.requests = said, list[GenerateRequest]()

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(batch_invariant=True, special=("<|end|>",))

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        self.requests += requests
        return [self.reply(request.question) for request in requests]

    def reply(self, question: str) -> Completion:
        shown = question.partition("best =")[2]
        text = self.said if question.endswith("suitable?") else f"={int(shown[0]) + 1 if shown else 0}<|end|>"
        step = Step(text, tuple(map(ord, text)), finish=Finish.EOS)
        return Completion((step,), Usage(generated_tokens=len(text)))


def counted(_: str, steps: Sequence[str]) -> float:
    return int(steps[-1][1]) / 10


def arms_of(*strategies: Strategy) -> dict[str, MixtureArm]:
    return {
        name: MixtureArm(strategy, f"method {name}")
        for name, strategy in zip("abc", strategies, strict=False)
    }


def session_of(engine: EngineBase, **policies: EngineBase) -> Session:
    verifier = FakeVerifier(reward=counted)
    return Session(Ledger(PROBLEM, engine, verifier, FakeTask(), policies=policies))


def trials_of(solution: Solution) -> list[TrialRecord]:
    return [record for record in solution.history if isinstance(record, TrialRecord)]


@pytest.mark.parametrize("arm", [BestOfN(3), TreeOfThoughts(4, 7, sampling()), SelfConsistency(3)])
async def test_one_arm_and_no_threshold_repeat_it(arm: Strategy) -> None:
    mixture = Mixture(arms_of(arm), 64, trials=3, threshold=1.5)
    for seed in range(3):
        found = await World().solve(mixture, seed)
        session = World().session(seed)
        (first,) = await session.generate([Trajectory()], mixture.sampling, to_end=True)
        (first,) = await session.score([first])
        runs, answers, scores = [], [first], [first.reward.value if first.reward else 0.0]
        for number in range(1, 4):
            branch = session.fork(f"trial {number}")
            runs.append(await arm.solve(branch))
            assert runs[-1].answer_index is not None
            answers += await branch.score([runs[-1].trajectories[runs[-1].answer_index]])
            session.meet([session])
            scores.append(answers[-1].reward.value if answers[-1].reward and answers[-1].finished else 0.0)
        assert found.usage == session.usage
        assert [record.score for record in trials_of(found)] == scores[1:]
        texts = [first.text, *(t.text for run in runs for t in run.trajectories)]
        assert [t.text for t in found.trajectories] == texts
        best = max(range(4), key=lambda i: (answers[i].finished, scores[i], -i))
        assert found.answer_index is not None
        assert found.trajectories[found.answer_index] == answers[best]


@pytest.mark.parametrize(
    ("threshold", "num_trials"), [(0.0, 0), (0.05, 1), (0.1, 1), (0.3, 3), (0.31, 4), (2.0, 5)]
)
async def test_the_first_trial_that_reaches_the_threshold_ends_it(threshold: float, num_trials: int) -> None:
    mixture = Mixture(arms_of(BestOfN(2)), 64, threshold=threshold, prompt=SHOW)
    solution = await mixture.solve(session_of(Reviser()))
    scores = [record.score for record in trials_of(solution)]
    assert scores == pytest.approx([i / 10 for i in range(1, num_trials + 1)])
    assert len(solution.trajectories) == 1 + 2 * num_trials
    assert_sound(solution)


async def test_a_trial_sees_the_best_draft_and_what_was_said_of_it() -> None:
    engine = Reviser()
    solution = await Mixture(arms_of(BestOfN(2)), 64, trials=2, prompt=SHOW).solve(session_of(engine))
    assert [r.question for r in engine.requests[1::2]] == [
        "abca\nbest =0\nsaid reward 0.00\nscore 0.00\nlist ",
        "abca\nbest =1\nsaid reward 0.10\nscore 0.10\nlist ",
    ]
    assert [(r.draft, r.num_removed) for r in trials_of(solution)] == [(0, 1), (1, 1)]
    assert {t.prompt and t.prompt.role for t in solution.trajectories} == {None, "revise"}


async def test_a_worse_trial_leaves_the_best_draft() -> None:
    class Worse(Reviser):
        def reply(self, question: str) -> Completion:
            return super().reply("best =4" if question == PROBLEM.question else "best =1")

    solution = await Mixture(arms_of(BestOfN(2)), 64, trials=2, prompt=SHOW).solve(session_of(Worse()))
    assert [(r.score, r.draft) for r in trials_of(solution)] == [(0.2, 0), (0.2, 0)]
    assert solution.answer_index == 0


PRIORS = [
    ('{"a": 0.1, "b": 0.9}', "b", True),
    ("I like b.", "a", False),
    ('{"b": 0.6}', "b", True),
    ("{}", "a", True),
]


@pytest.mark.parametrize(("said", "arm", "parsed"), PRIORS)
async def test_one_call_gives_the_prior(said: str, arm: str, parsed: bool) -> None:
    engine = Reviser(said)
    session = session_of(engine)
    solution = await Mixture(arms_of(BestOfN(1), Greedy()), 64, trials=2, prior=ASK).solve(session)
    (asked,) = (r for r in engine.requests if r.question.endswith("suitable?"))
    assert asked.question == "abca\n\na: method a\nb: method b\nHow suitable?"
    (record,) = (r for r in solution.history if isinstance(r, RoleRecord))
    assert (record.role, record.text, record.parsed, record.tokens) == ("select", said, parsed, len(said))
    assert trials_of(solution)[0].arm == arm
    assert session._ledger.account.by_role["select"].generated_tokens == len(said)


async def test_the_prior_is_asked_of_its_policy_and_only_for_a_choice() -> None:
    engine, other = Reviser(), Reviser()
    mixture = Mixture(arms_of(BestOfN(1), Greedy()), 64, prior=ASK, policy="judge")
    solution = await mixture.solve(session_of(engine, judge=other))
    assert [r.question[-9:] for r in other.requests] == ["suitable?"]
    assert not any(r.question.endswith("suitable?") for r in engine.requests)
    assert [r.policy for r in solution.history if isinstance(r, RoleRecord)] == ["judge"]
    for few in (replace(mixture, arms=arms_of(Greedy())), replace(mixture, threshold=0.0)):
        await few.solve(session_of(engine, judge=other))
        assert len(other.requests) == 1


@pytest.mark.parametrize(
    ("num_samples", "sizes"), [(1, []), (2, [1]), (6, [3, 2]), (7, [3, 3]), (99, [3] * 5)]
)
async def test_a_trial_is_cut_to_what_is_left(num_samples: int, sizes: list[int]) -> None:
    engine = Reviser()
    solution = await Mixture(arms_of(BestOfN(3)), num_samples, threshold=2.0).solve(session_of(engine))
    assert len(solution.trajectories) == 1 + sum(sizes) == len(engine.requests)
    assert len(trials_of(solution)) == len(sizes)


REVISE = Template("{question}\nbest {answer}")
FIXED: Sequence[Any] = [[{"generate": {"samples": 3}}], [{"select": {}}]]
SHARED: Sequence[Any] = [[{"generate": {}}, {"generate": {}}], [{"select": {}}]]


@pytest.mark.parametrize(
    ("arm", "most", "fitted"),
    [
        (Greedy(), 4, (Greedy(), 1)),
        (BestOfN(3), 4, (BestOfN(3), 3)),
        (BestOfN(8), 4, (BestOfN(4), 4)),
        (BeamSearch(8, num_subtrees=3), 4, (BeamSearch(4, num_subtrees=3), 4)),
        (BeamSearch(8, num_subtrees=3), 2, None),
        (Pipeline(8, FIXED), 3, (Pipeline(8, FIXED), 3)),
        (Pipeline(8, FIXED), 2, None),
        (Pipeline(8, SHARED), 5, (Pipeline(5, SHARED), 4)),
        (Pipeline(8, SHARED), 1, None),
        (Refine(8, prompt=REVISE), 4, (Refine(4, prompt=REVISE), 4)),
        (Refine(8, iterations=2, width=2, prompt=REVISE), 3, None),
        (Refine(9, 1, 2, chains=None, prompt=REVISE), 5, (Refine(5, 1, 2, chains=None, prompt=REVISE), 4)),
        (ComputeOptimal(Sampling(), BestOfN(3)), 3, (ComputeOptimal(Sampling(), BestOfN(3)), 3)),
        (ComputeOptimal(Sampling(), BestOfN(3)), 2, None),
    ],
)
def test_an_arm_is_cut_to_the_greatest_budget_that_fits(
    arm: Strategy, most: int, fitted: tuple[Strategy, int] | None
) -> None:
    assert cut(arm, most) == fitted


@pytest.mark.parametrize("num_samples", [5, 10, 12])
@pytest.mark.parametrize(
    "arm",
    [
        BeamSearch(8, 7, sampling(), num_subtrees=4),
        Pipeline(8, SHARED, sampling(max_tokens=32)),
        Pipeline(8, FIXED, sampling(max_tokens=32)),
        Refine(8, iterations=1, width=4, sampling=sampling(max_tokens=32)),
        ComputeOptimal(sampling(max_tokens=32), BestOfN(4, sampling(max_tokens=32))),
        ComputeOptimal(
            sampling(max_tokens=32),
            Greedy(32),
            Plan((2.0,), (0, 1), (Greedy(32), BestOfN(2, sampling(max_tokens=32))), 2.0, probes=2),
            probes=2,
        ),
    ],
    ids=["beams", "shared", "fixed", "refine", "compute_optimal", "plan"],
)
async def test_all_trials_together_draw_n_answers_at_most(arm: Strategy, num_samples: int) -> None:
    """Each arm has a trial at the least, and ends where what is left does not do for another."""
    world = World()
    mixture = Mixture(arms_of(arm), num_samples, threshold=1.5, sampling=sampling(max_tokens=32))
    solution = await world.solve(mixture)
    assert trials_of(solution)
    begun = [r for r in world.engine.requests if not r.token_ids]
    assert len(solution.trajectories) <= len(begun) <= num_samples


@pytest.mark.parametrize(("num_samples", "played"), [(9, "aba"), (8, "abb"), (7, "abb"), (6, "ab")])
async def test_an_arm_that_needs_more_than_is_left_is_passed_over(num_samples: int, played: str) -> None:
    """Of 3 and of 2 answers, the last of which may be cut to 1; rewards are equal, so that they alternate."""
    arms = arms_of(BeamSearch(3, num_subtrees=3), BestOfN(2))
    solution = await World(reward=lambda *_: 0.5).solve(Mixture(arms, num_samples, trials=3, threshold=2.0))
    assert "".join(record.arm for record in trials_of(solution)) == played


async def test_an_arm_that_draws_more_than_it_declares_is_charged_for_it() -> None:
    """As a particle cascade may, whose answers are short then."""

    @dataclass(frozen=True)
    class Twice(BestOfN):
        async def solve(self, session: Session) -> Solution:
            return await replace(BestOfN(), num_samples=2 * self.num_samples).solve(session)

    solution = await World().solve(Mixture(arms_of(Twice(2)), 6, threshold=2.0))
    assert len(trials_of(solution)) == 2 and len(solution.trajectories) == 1 + 4 + 2


async def test_attempts_of_an_arm_are_numbered_among_all_candidates() -> None:
    arm = Refine(2, iterations=2, prompt=Template("{question}\nbest {answer}"))
    solution = await Mixture(arms_of(arm), 64, trials=2, threshold=2.0).solve(session_of(Reviser()))
    attempts = [(r.candidate, r.read) for r in solution.history if isinstance(r, AttemptRecord)]
    assert attempts == [(1, ()), (2, (1,)), (3, ()), (4, (3,))]


async def test_a_prompted_session_prompts_forks_and_likelihoods_and_generates_nothing_ahead() -> None:
    world = World()
    session = Answering(Prompt("bbaa", role="revise")).within(world.session())
    branch = session.fork("x")
    (text,) = await branch.generate([Trajectory()], sampling())
    session.meet([session, branch])
    assert text.prompt == Prompt("bbaa", role="revise")
    assert (await branch.generate([text], sampling()))[0].prompt == text.prompt
    await branch.loglik(Trajectory(), text.steps)
    branch.expect([sampling()], samples=[7])
    assert {r.question for r in world.engine.requests} == {"bbaa"}


NODE: Mapping[str, Any] = {
    "_target_": "strategies.Mixture",
    "arms": {"a": {"_target_": "strategies.MixtureArm", "strategy": {"_target_": "strategies.BestOfN"}}},
}


def arm_with(**knobs: Any) -> dict[str, Any]:
    arm = NODE["arms"]["a"]
    return {**NODE, "arms": {"a": {**arm, "strategy": {**arm["strategy"], **knobs}}}}


def arm_of(name: str, **knobs: Any) -> dict[str, Any]:
    strategy = {"_target_": f"strategies.{name}", **knobs}
    return {**NODE, "num_samples": 2, "arms": {"a": {**NODE["arms"]["a"], "strategy": strategy}}}


REVISE_NODE = {"_target_": "orchestrator.Template", "text": REVISE.text}


def test_an_arm_whose_answers_nothing_bounds_is_refused() -> None:
    @dataclass(frozen=True)
    class Unbounded:
        readouts: tuple[str, ...] = ()

        async def solve(self, session: Session) -> Solution:
            raise NotImplementedError

    for arm in (Unbounded(), ComputeOptimal(Sampling(), Unbounded())):
        with pytest.raises(
            ConfigError, match=r"^strategy\.arms\.a\.strategy=.*: must declare how many answers"
        ):
            Mixture(arms_of(arm))


def test_arms_are_built_from_a_configuration() -> None:
    assert build_node(arm_with(num_samples=5), "strategy") == Mixture(
        {"a": MixtureArm(BestOfN(5))}, sampling=Sampling()
    )


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (arm_with(num_sample=3), r"strategy\.arms\.a\.strategy\.num_sample=3: unknown key"),
        ({**NODE, "arms": {}}, r"strategy\.arms=\{\}: must hold one arm or more"),
        (
            arm_of("BeamSearch", num_beams=8, num_subtrees=2),
            r"strategy\.arms\.a\.strategy=BeamSearch: draws more answers than the 1 that num_samples=2",
        ),
        (
            arm_of("Refine", iterations=2, width=2, prompt=REVISE_NODE),
            r"strategy\.arms\.a\.strategy=Refine: draws more",
        ),
        ({**NODE, "threshold": -1.0}, r"strategy\.threshold=-1\.0: must be a number of 0 or more"),
        (
            {**NODE, "prompt": {"_target_": "orchestrator.Template", "text": "{question} {answers}"}},
            r"strategy\.prompt=\{answers\}: must be one of",
        ),
        (
            {**NODE, "prior": {"_target_": "orchestrator.Template", "text": "{question}"}},
            r"strategy\.prior=.*must hold \{methods\}",
        ),
    ],
)
def test_settings_that_do_not_fit(node: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_node(node, "strategy")


def test_what_it_asks_for_depends_on_its_arms() -> None:
    plain = Mixture(arms_of(BestOfN(2), SelfConsistency(2)))
    assert (plain.prompts, plain.whole_answers, plain.readouts) == (False, True, ("per_step", "whole"))
    assert replace(plain, prior=ASK).prompts and replace(plain, prompt=SHOW).prompts
    assert not replace(plain, prior=ASK, arms=arms_of(BestOfN(2))).prompts
    stepwise = Mixture(arms_of(TreeOfThoughts(), BestOfN(aggregation="model")))
    assert (stepwise.whole_answers, stepwise.readouts) == (False, ("whole",))


async def test_reasons_reach_the_next_prompt() -> None:
    class Says(FakeVerifier):
        async def score(self, requests: Any) -> Any:
            from orchestrator.protocols import Reasons

            replies = await super().score(requests)
            return [
                replace(r, reasons=(Reasons("Line 1 is wrong."),))
                for r in replies
                if isinstance(r, ScoreReply)
            ]

    engine = Reviser()
    session = Session(Ledger(PROBLEM, engine, Says(reward=counted), FakeTask()))
    await Mixture(arms_of(BestOfN(1)), 2, prompt=SHOW).solve(session)
    assert "said Line 1 is wrong.\n" in engine.requests[-1].question


@pytest.mark.parametrize("limit", [*range(5, 60, 4)])
async def test_an_arm_ends_where_a_limit_withholds_its_texts(limit: int) -> None:
    """A text without steps has the prompt when it comes back, and is as withheld as any other."""
    mixture = Mixture(arms_of(AStar(4, 7, sampling())), 16, trials=3, threshold=1.5, prompt=SHOW)
    solution = await World().solve(mixture, generated_tokens=limit)
    assert all(t.steps for t in solution.trajectories)


async def test_a_prompt_without_room_leaves_the_question() -> None:
    class Small(Reviser):
        async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
            replies = await super().generate(requests)
            full = [r.room is not UNSET and "best" in r.question for r in requests]
            return [
                Failure(OVERFLOW, "no room") if f else reply for f, reply in zip(full, replies, strict=True)
            ]

    solution = await Mixture(arms_of(BestOfN(2)), 64, trials=1, prompt=SHOW).solve(session_of(Small()))
    assert [(r.draft, r.num_dropped) for r in trials_of(solution)] == [(0, 2)]
    assert {t.prompt for t in solution.trajectories} == {None}


async def test_an_answer_in_words_that_repeats_the_draft_is_an_answer() -> None:
    """A question that holds the line is no statement of it, but a prompt quotes it as one."""
    world = World()
    branch = Answering(Prompt("abca", role="revise")).within(world.session())
    await branch.generate([Trajectory()], sampling())
    (request,) = world.engine.requests
    quoting = replace(request, question="An earlier solution:\n=abca\n")
    assert quoting.answered_by("=abca\n")
    assert not replace(quoting, quotes=False).answered_by("=abca\n")
