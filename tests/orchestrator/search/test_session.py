"""The session: limits to the token, seeds from names, rewards locked once, replies checked."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import EngineError, StrategyError, VerifierError
from orchestrator.protocols import Completion, Failure, GenerateRequest, ScoreReply, ScoreRequest
from orchestrator.search.account import Limits
from orchestrator.search.asking import Ledger
from orchestrator.search.session import Session
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier, TokenLatency
from orchestrator.types import Finish, Overhead, Problem, Reward, Sampling, Step, Trajectory, Usage

PROBLEM = Problem("p", "abca", "abca")
PARAMS = Sampling(max_tokens=16)


class Straight:
    """A language in which everybody says the same."""

    def __call__(self, question: str, prefix: str) -> dict[str, float]:
        return {"a\n": 1.0}


def make_ledger(**parts: object) -> Ledger:
    defaults: dict[str, object] = {"engine": FakeEngine(), "verifier": FakeVerifier(), "task": FakeTask()}
    return Ledger(PROBLEM, **(defaults | parts))  # type: ignore[arg-type]


def make_session(**parts: object) -> Session:
    return Session(make_ledger(**parts))


async def test_generate_extends_the_active_ones_in_order() -> None:
    session = make_session()
    ended = Trajectory((Step("=x\n", (1,), finish=Finish.ANSWER),))
    result = await session.generate([Trajectory(), ended, Trajectory()], PARAMS)
    assert [len(t.steps) for t in result] == [1, 1, 1]
    assert result[1] is ended


async def test_an_answer_is_marked_in_both_modes() -> None:
    session = make_session()
    whole = await session.generate([Trajectory()] * 8, replace(PARAMS, max_tokens=64), to_end=True)
    for t in whole:
        assert t.finished
        assert all(s.finish is Finish.STEP for s in t.steps[:-1])
    stepwise = [Trajectory()] * 8
    while any(t.active for t in stepwise):
        stepwise = await session.generate(stepwise, PARAMS)
    finishes = {t.steps[-1].finish for t in [*whole, *stepwise] if "=" in t.steps[-1].text}
    assert finishes == {Finish.ANSWER}


BOXED = FakeTask(answer_marker=r"\boxed", instruction=r"Put the answer in \boxed{N}.")


@pytest.mark.parametrize(
    "restated",
    [r"I put it in \boxed{N}.", r"In \boxed{}.", r"In $\boxed{\text{your answer}}$.", r"\boxed{", ""],
)
async def test_a_step_that_only_repeats_the_instruction_does_not_end_a_trajectory(restated: str) -> None:
    """In both modes; the step with the answer does, and nothing is generated after it."""
    texts = [f"{restated}\n", "9 eggs\n", "\\boxed{18}\n", "more\n"]

    def language(question: str, prefix: str) -> dict[str, float]:
        return {texts[prefix.count("\n")]: 1.0}

    session = make_session(engine=FakeEngine(language), task=BOXED)
    long = replace(PARAMS, max_tokens=200)
    (whole,) = await session.generate([Trajectory()], long, to_end=True)
    stepwise = [Trajectory()]
    while stepwise[0].active:
        stepwise = await session.generate(stepwise, long)
    for trajectory in (whole, *stepwise):
        assert [s.text for s in trajectory.steps] == texts[:3]
        assert [s.finish for s in trajectory.steps] == [Finish.STEP, Finish.STEP, Finish.ANSWER]


async def test_nothing_is_asked_for_what_cannot_be_extended() -> None:
    engine = FakeEngine()
    session = make_session(engine=engine)
    cut = Trajectory((Step("a", (97,), finish=Finish.LENGTH),))
    assert await session.generate([cut], PARAMS) == [cut]
    assert engine.requests == []


async def test_seeds_differ_by_row_call_scope_problem_and_run() -> None:
    engine = FakeEngine()
    session = make_session(engine=engine)
    await session.generate([Trajectory()] * 2, PARAMS)
    await session.generate([Trajectory()] * 2, PARAMS)
    await session.fork("a").generate([Trajectory()] * 2, PARAMS)
    await session.fork("b").generate([Trajectory()] * 2, PARAMS)
    await make_session(engine=engine, seed=1).generate([Trajectory()] * 2, PARAMS)
    other = Session(Ledger(replace(PROBLEM, id="q"), engine=engine, verifier=None, task=FakeTask()))
    await other.generate([Trajectory()] * 2, PARAMS)
    seeds = [r.seed for r in engine.requests]
    assert len(set(seeds)) == len(seeds) == 12


async def test_a_row_keeps_its_seed_when_others_have_ended() -> None:
    """The seed is the row's: resampling or finishing elsewhere must not shift it."""
    one, two = FakeEngine(), FakeEngine()
    ended = Trajectory((Step("=x\n", (1,), finish=Finish.ANSWER),))
    await make_session(engine=one).generate([Trajectory(), Trajectory()], PARAMS)
    await make_session(engine=two).generate([ended, Trajectory()], PARAMS)
    assert one.requests[1].seed == two.requests[0].seed


async def test_a_text_goes_on_under_its_seed_where_the_engine_samples_by_position() -> None:
    """Once, by the first that wants it; copies, and branches of a text that was left, have new seeds."""
    engine = FakeEngine(Straight(), sampler="stream")
    session = make_session(engine=engine)
    first = await session.generate([Trajectory()] * 3, PARAMS)
    assert len(set(first)) == 1  # they say the same, and are three texts
    second = await session.generate([first[0]] * 2, PARAMS)
    third = await session.generate([first[1], *[second[1]] * 3], PARAMS)
    seeds = [r.seed for r in engine.requests]
    assert seeds[3:5] == seeds[:2]
    assert seeds[6:8] == seeds[3:5]
    new = [seeds[5], seeds[8]]  # a text that the second call had left, and one copy too many
    assert len({*seeds[:3], *new}) == 5
    await session.fork("a").generate([third[3]], PARAMS)
    assert engine.requests[-1].seed not in seeds


async def test_whole_and_by_steps_are_one_text_where_the_engine_samples_by_position() -> None:
    long = replace(PARAMS, max_tokens=64)
    sessions = [make_session(engine=FakeEngine(sampler="stream"), seed=4) for _ in range(2)]
    whole = await sessions[0].generate([Trajectory()] * 8, long, to_end=True)
    stepwise = [Trajectory()] * 8
    while any(t.active for t in stepwise):
        stepwise = await sessions[1].generate(stepwise, long)
    assert stepwise == whole


async def test_a_problem_that_is_over_is_released_and_what_it_cost_in_vain_is_kept() -> None:
    engine = FakeEngine(in_vain={"p": Overhead(3, 4), "q": Overhead(5, 6)})
    ledger, again = make_ledger(engine=engine), make_ledger(engine=engine)
    assert ledger.overhead == Overhead()
    for each in (ledger, again):
        await each.release()
    assert (engine.released, ledger.overhead, again.overhead) == (["p", "p"], Overhead(3, 4), Overhead())


async def test_no_call_outlives_its_problem() -> None:
    """What a search has left behind is cancelled before the engine is asked what the problem has cost."""
    engine = FakeEngine(latency=TokenLatency(60.0))
    ledger = make_ledger(engine=engine)
    session = Session(ledger)
    left = [asyncio.create_task(session.fork(x).generate([Trajectory()], PARAMS)) for x in "ab"]
    while len(engine.requests) < 2:
        await asyncio.sleep(0)
    assert not engine.released
    await ledger.release()
    assert all(task.cancelled() for task in left)
    assert engine.released == ["p"]
    with pytest.raises(StrategyError, match="generate 2 was called after its search had ended"):
        await session.generate(await session.generate([], PARAMS) or [Trajectory()], PARAMS)
    assert len(engine.requests) == 2


async def test_forks_have_randomness_of_their_own_and_one_ledger() -> None:
    session = make_session()
    a, b, again = session.fork("a"), session.fork("b"), session.fork("a")
    assert a.rng.random() == again.rng.random() != b.rng.random()
    await a.generate([Trajectory()], PARAMS)
    await b.generate([Trajectory()], PARAMS)
    assert session.usage == a.usage == b.usage
    assert session.usage.generated_tokens > 0


async def test_the_reference_answer_never_reaches_the_engine() -> None:
    engine = FakeEngine()
    session = Session(
        Ledger(replace(PROBLEM, answer="SECRET"), engine=engine, verifier=None, task=FakeTask())
    )
    await session.generate([Trajectory()], PARAMS)
    assert "SECRET" not in repr(engine.requests)


@given(limit=st.integers(1, 120), rows=st.integers(1, 6), max_tokens=st.integers(1, 40))
async def test_the_token_limit_is_never_exceeded_and_nearly_used(
    limit: int, rows: int, max_tokens: int
) -> None:
    engine = FakeEngine()
    session = make_session(engine=engine, limits=Limits(generated_tokens=limit))
    trajectories = [Trajectory()] * rows
    while any(t.active for t in trajectories) and not session.exhausted:
        trajectories = await session.generate(trajectories, Sampling(max_tokens=max_tokens))
    assert engine.usage.generated_tokens == session.usage.generated_tokens <= limit
    if session.exhausted:
        assert session.stopped_by == "generated_tokens"
        assert session.usage.generated_tokens == limit


async def test_concurrent_forks_share_the_token_limit() -> None:
    engine = FakeEngine(latency=TokenLatency(0.001))
    session = make_session(engine=engine, limits=Limits(generated_tokens=20))

    async def work(branch: Session) -> None:
        trajectories = [Trajectory()] * 3
        while any(t.active for t in trajectories) and not branch.exhausted:
            trajectories = await branch.generate(trajectories, Sampling(max_tokens=8))

    await asyncio.wait_for(asyncio.gather(*(work(session.fork(str(i))) for i in range(4))), 20)
    assert engine.usage.generated_tokens == 20


async def test_reward_calls_are_withheld_past_the_limit() -> None:
    verifier = FakeVerifier()
    session = make_session(verifier=verifier, limits=Limits(reward_calls=3))
    trajectories = await session.generate([Trajectory()] * 5, PARAMS)
    scored = await session.score(trajectories)
    assert [t.reward is not None for t in scored] == [True, True, True, False, False]
    assert session.stopped_by == "reward_calls"
    assert session.usage.reward_calls == len(verifier.requests) == 3
    assert await session.score(trajectories) == trajectories


async def test_seconds_cancel_what_is_in_flight() -> None:
    engine = FakeEngine(latency=TokenLatency(5.0))
    session = make_session(engine=engine, limits=Limits(seconds=0.05))
    start = [Trajectory()] * 2
    assert await asyncio.wait_for(session.generate(start, PARAMS), 2) == start
    assert session.stopped_by == "seconds"
    num_asked = len(engine.requests)
    assert await session.generate(start, PARAMS) == start
    assert len(engine.requests) == num_asked


async def test_a_reward_is_locked_once_set() -> None:
    verifier = FakeVerifier()
    session = make_session(verifier=verifier)
    first = await session.score(await session.generate([Trajectory()], PARAMS))
    second = await session.score(await session.generate(first, PARAMS))
    assert second[0].steps[0].reward is first[0].steps[0].reward
    assert [r.num_locked for r in verifier.requests] == [0, 1]
    assert await session.score(second) == second
    assert len(verifier.requests) == 2


class WrongCount(FakeVerifier):
    """A verifier that returns one reward too many."""

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        return [ScoreReply((Reward(0.0),) * (len(r.steps) + 1), Usage()) for r in requests]


async def test_a_wrong_number_of_rewards_is_an_error_with_the_counts() -> None:
    session = make_session(verifier=WrongCount())
    with pytest.raises(VerifierError, match=r"1 new steps got 2 rewards \(per_step read-out\)"):
        await session.score(await session.generate([Trajectory()], PARAMS))


async def test_the_whole_readout_gives_one_reward_each_time() -> None:
    session = make_session(verifier=FakeVerifier(readout="whole"))
    t = await session.score(await session.generate([Trajectory()], Sampling(max_tokens=64), to_end=True))
    assert [s.reward is None for s in t[0].steps] == [True] * (len(t[0].steps) - 1) + [False]


async def test_no_verifier_is_said() -> None:
    session = make_session(verifier=None)
    with pytest.raises(VerifierError, match="verifier=none"):
        await session.score(await session.generate([Trajectory()], PARAMS))


@pytest.mark.parametrize(
    "engine", [FakeEngine(raise_on="abca"), FakeEngine(fail_on="abca"), FakeEngine(raise_once=True)]
)
async def test_an_engine_that_fails_ends_the_problem(engine: FakeEngine) -> None:
    with pytest.raises(EngineError, match="RuntimeError: this fake engine"):
        await make_session(engine=engine).generate([Trajectory()], PARAMS)


class TooLong(FakeEngine):
    """An engine that takes no notice of the token limit."""

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        return [Completion((Step("a" * 99, (97,) * 99),), Usage(generated_tokens=99)) for _ in requests]


class TooFew(FakeEngine):
    """An engine that loses replies."""

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        return []


@pytest.mark.parametrize(
    ("engine", "message"), [(TooLong(), "99 tokens; allowed are 16"), (TooFew(), "1 requests got 0 replies")]
)
async def test_an_engine_that_breaks_its_contract_is_found_out(engine: FakeEngine, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        await make_session(engine=engine).generate([Trajectory()], PARAMS)


async def test_params_a_row() -> None:
    engine = FakeEngine()
    session = make_session(engine=engine)
    await session.generate([Trajectory()] * 2, [Sampling(max_tokens=5), Sampling(max_tokens=6)])
    assert [r.params.max_tokens for r in engine.requests] == [5, 6]
    with pytest.raises(StrategyError, match="2 trajectories but 1 params"):
        await session.generate([Trajectory()] * 2, [PARAMS])


async def test_answers_and_likelihoods() -> None:
    session = make_session()
    done = await session.generate([Trajectory()] * 4, Sampling(max_tokens=64), to_end=True)
    keys = await session.answers([*done, Trajectory()])
    assert keys[-1] is None
    assert any(k is not None for k in keys)
    logprobs = await session.loglik(Trajectory(), done[0].steps)
    assert logprobs == pytest.approx([s.logprob for s in done[0].steps])
    assert all(math.isfinite(x) for x in logprobs)
