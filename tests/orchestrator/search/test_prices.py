"""What a search costs, and ``limits.cost``: reserved before a call is sent, never exceeded."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.search.account import Account, Limits
from orchestrator.search.asking import Ledger
from orchestrator.search.prices import Bill, Price
from orchestrator.search.session import Session
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier
from orchestrator.types import Problem, Prompt, Sampling, Trajectory, Turn, Usage

PROBLEM = Problem("p", "abca", "abca")
PARAMS = Sampling(max_tokens=16)
PRICE = Price(generated=1e6, prompt=1e5, cached=1e4)  # 1 a generated token, .1 a read one, .01 a cached one


def ledger_of(limits: Limits, **prices: Price) -> Ledger:
    engine = FakeEngine()
    return Ledger(
        PROBLEM,
        engine,
        FakeVerifier(),
        FakeTask(),
        limits=limits,
        policies={"draft": FakeEngine()},
        prices=prices,
    )


def test_a_usage_costs_its_tokens() -> None:
    usage = Usage(generated_tokens=10, prompt_tokens=20, cached_tokens=5)
    assert PRICE.cost(usage) == pytest.approx(10 + 1.5 + 0.05)
    assert replace(PRICE, cached=None).cost(usage) == pytest.approx(12)
    assert PRICE.most_to_read(20) == pytest.approx(2)
    assert Price(cached=1e6).most_to_read(20) == pytest.approx(20)


async def test_the_cost_is_that_of_every_policy() -> None:
    ledger = ledger_of(Limits(), engine=PRICE, draft=Price(generated=21e6))
    session = Session(ledger)
    rows = await session.generate([Trajectory()] * 3, PARAMS, policy="draft")
    rows = await session.generate(rows, PARAMS)
    own, draft = ledger.account.by_policy["engine"], ledger.account.by_policy["draft"]
    assert ledger.account.cost == pytest.approx(PRICE.cost(own) + 21 * draft.generated_tokens)
    assert ledger.account.cost_left is None


@settings(max_examples=40)
@given(limit=st.floats(0.5, 200), calls=st.integers(1, 6), rows=st.integers(1, 5))
def test_a_limit_of_cost_is_never_exceeded(limit: float, calls: int, rows: int) -> None:
    """Whatever runs at once, with likelihoods between; what stopped it has its name."""

    async def search() -> Ledger:
        ledger = ledger_of(Limits(cost=limit), engine=PRICE)
        session = Session(ledger)

        async def branch(name: str) -> None:
            own = session.fork(name)
            grown = [Trajectory()] * rows
            for _ in range(calls):
                grown = await own.generate(grown, PARAMS)
                if grown[0].steps:
                    await own.loglik(Trajectory(), grown[0].steps)

        await asyncio.gather(*(branch(name) for name in "abc"))
        return ledger

    ledger = asyncio.run(search())
    assert ledger.account.cost <= limit * (1 + 1e-9)
    assert ledger.account.stopped_by in (None, "cost")
    assert ledger.account.cost_left == pytest.approx(limit - ledger.account.cost, abs=1e-6)


async def test_a_row_is_cut_to_what_is_left_and_the_next_call_withheld() -> None:
    session = Session(ledger := ledger_of(Limits(cost=4.5), engine=PRICE))
    (cut,) = await session.generate([Trajectory()], PARAMS, to_end=True)
    # .4 for the prompt's four bytes, and room for four tokens.
    assert (cut.num_tokens, cut.truncated, session.stopped_by) == (4, True, "cost")
    assert await session.generate([Trajectory()], PARAMS) == [Trajectory()]
    assert str((await session.loglik(Trajectory(), cut.steps))[0]) == "nan"
    free = await session.generate([Trajectory()], PARAMS, policy="draft")
    assert free[0].steps, "a policy without a price is not withheld"
    assert ledger.account.cost <= 4.5


async def test_a_call_without_a_price_goes_on_when_a_prompt_was_longer_than_reckoned() -> None:
    session = Session(ledger := ledger_of(Limits(cost=1.0), engine=PRICE))
    ledger.spend("engine", [Usage(prompt_tokens=100)])
    assert ledger.account.cost > 1
    assert (await session.generate([Trajectory()], PARAMS, policy="draft"))[0].steps
    assert await session.generate([Trajectory()], PARAMS) == [Trajectory()]


async def test_what_stopped_a_search_is_the_limit_that_withheld() -> None:
    both = Session(ledger_of(Limits(generated_tokens=2, cost=100.0), engine=PRICE))
    await both.generate([Trajectory()] * 2, PARAMS, to_end=True)
    assert both.stopped_by == "generated_tokens"


async def test_a_prompt_is_reckoned_by_its_bytes_until_a_reply_has_counted_it() -> None:
    prompt = Prompt("ab", "wörd", (Turn("user", "ab"),))
    ledger = ledger_of(Limits(cost=1000.0), engine=PRICE)
    asked = [Trajectory(prompt=prompt)]
    (bill,) = ledger.billing.of("engine", asked).prompts
    assert bill == pytest.approx(0.1 * (2 + 5 + 2))
    rows = await Session(ledger).generate(asked, PARAMS)
    (bill,) = ledger.billing.of("engine", rows).prompts
    assert bill == pytest.approx(0.1 * (len("ab\nab") + rows[0].num_tokens))  # it counts characters


async def test_nothing_runs_ahead_under_a_limit_of_cost() -> None:
    assert not ledger_of(Limits(cost=1.0), engine=PRICE).expect([PARAMS], [1])


async def test_a_call_waits_while_others_hold_the_rest() -> None:
    account = Account(Limits(cost=20.0), prices={"engine": PRICE})
    first = await account.reserve([PARAMS], Bill(1.0, [0.0]))
    waiting = asyncio.ensure_future(account.reserve_cost(5.0))
    await asyncio.sleep(0)
    assert not waiting.done()
    account.release(first)
    assert (await waiting) is not None
    with pytest.raises(TimeoutError):  # what is there waits for what is held
        await asyncio.wait_for(account.reserve_cost(16.0), 0.01)
