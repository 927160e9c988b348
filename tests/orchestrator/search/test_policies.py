"""Policies by name: seeds, token ids of another tokenizer, usage, the journal, and unknown names."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from msgspec import UNSET

from orchestrator.errors import EngineError, JournalError, StrategyError
from orchestrator.protocols import Completion, Failure, GenerateRequest, Loglik, LoglikRequest, ModelInfo
from orchestrator.search.asking import Ledger
from orchestrator.search.session import Session
from orchestrator.storage.journal import Journal
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier
from orchestrator.types import Carried, Overhead, Problem, Sampling, Step, Trajectory, Usage

PROBLEM = Problem("p", "abca", "abca")
PARAMS = Sampling(max_tokens=16)
START = [Trajectory()] * 3
SHIFT = 1000


@dataclass
class Shifted(FakeEngine):
    """A fake whose tokenizer has other ids: those of the characters, ``SHIFT`` higher."""

    tokenizer: str | None = "shifted"

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        plain = [replace(r, token_ids=tuple(i - SHIFT for i in r.token_ids)) for r in requests]
        return [
            replace(reply, steps=tuple(replace(s, token_ids=_up(s.token_ids)) for s in reply.steps))
            if isinstance(reply, Completion)
            else reply
            for reply in await super().generate(plain)
        ]

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]:
        plain = [replace(r, token_ids=_down(r.token_ids), steps=tuple(map(_down, r.steps))) for r in requests]
        return await super().loglik(plain)

    async def encode(self, texts: Sequence[str]) -> list[tuple[int, ...] | Failure]:
        return [_up(ids) for ids in await super().encode(texts) if isinstance(ids, tuple)]


def _up(token_ids: Sequence[int]) -> tuple[int, ...]:
    return tuple(i + SHIFT for i in token_ids)


def _down(token_ids: Sequence[int]) -> tuple[int, ...]:
    return tuple(i - SHIFT for i in token_ids)


def ledger_of(engine: FakeEngine, journal: Journal | None = None, **others: FakeEngine) -> Ledger:
    return Ledger(
        PROBLEM, engine, FakeVerifier(), FakeTask(), journal=journal or Journal(), policies=dict(others)
    )


def seeds_of(engine: FakeEngine) -> list[int]:
    return [request.seed for request in engine.requests]


async def alternate(session: Session, policies: Sequence[str]) -> list[Trajectory]:
    rows = START
    for policy in policies:
        rows = await session.generate(rows, PARAMS, policy=policy)
    return rows


@pytest.mark.parametrize("sampler", ["step", "stream"])
async def test_calls_to_one_policy_alone_have_the_seeds_of_a_run_with_it_as_its_engine(sampler: str) -> None:
    engine, draft = FakeEngine(sampler=sampler), FakeEngine(sampler=sampler)  # type: ignore[arg-type]
    alone = await alternate(Session(ledger_of(engine)), ["engine"] * 3)
    drafted = await alternate(Session(ledger_of(FakeEngine(), draft=draft)), ["draft"] * 3)
    assert seeds_of(draft) == seeds_of(engine)
    assert [t.text for t in drafted] == [t.text for t in alone]
    assert {s.policy for t in alone for s in t.steps} == {"engine"}
    assert {s.policy for t in drafted for s in t.steps} == {"draft"}


@pytest.mark.parametrize("samples", [None, [0, 1, 2]])
async def test_no_two_policies_draw_under_one_seed(samples: list[int] | None) -> None:
    engine, draft = FakeEngine(), FakeEngine()
    session = Session(ledger_of(engine, draft=draft))
    for policy in ("draft", "engine", "draft", "engine"):
        await session.generate(START, PARAMS, samples=samples, policy=policy)
    drawn = {name: set(seeds_of(fake)) for name, fake in (("draft", draft), ("engine", engine))}
    assert not drawn["draft"] & drawn["engine"]
    again = Session(ledger_of(only := FakeEngine()))
    await again.generate(START, PARAMS, samples=samples)
    assert set(seeds_of(only)) <= drawn["draft"]


async def test_later_lists_of_numbered_samples_are_by_policy() -> None:
    engine, draft = FakeEngine(), FakeEngine()
    session = Session(ledger_of(engine, draft=draft))
    await session.generate(START, PARAMS)
    for policy in ("draft", "engine"):
        await session.generate(START, PARAMS, samples=[0, 1, 2], policy=policy)
    assert len({*seeds_of(engine), *seeds_of(draft)}) == 9


async def test_a_text_belongs_to_the_policy_that_wrote_it() -> None:
    """Where engines sample by position, each continues its own text under its seed, and no other's."""
    engine, draft = FakeEngine(sampler="stream"), FakeEngine(sampler="stream")
    await alternate(Session(ledger_of(engine, draft=draft)), ["draft", "draft", "engine", "engine"])
    first, second = seeds_of(draft)[:3], seeds_of(draft)[3:]
    assert first == second
    assert seeds_of(engine)[:3] == seeds_of(engine)[3:]
    assert not set(first) & set(seeds_of(engine))


async def test_equal_tokenizers_pass_token_ids_as_they_are() -> None:
    engine, draft = FakeEngine(), FakeEngine()
    rows = await alternate(Session(ledger_of(engine, draft=draft)), ["draft", "engine"])
    assert not engine.encoded
    assert [r.token_ids for r in engine.requests] == [t.steps[0].token_ids for t in rows]


async def test_another_tokenizer_is_asked_once_for_the_ids_of_a_step() -> None:
    engine, draft = Shifted(), FakeEngine()
    session = Session(ledger_of(engine, draft=draft))
    rows = await session.score(await alternate(session, ["draft"]))
    for policy in ("engine", "draft", "engine", "engine"):
        rows = await session.score(await session.generate(rows, PARAMS, policy=policy))
    written = {s.text for t in rows for s in t.steps if s.policy == "draft"}
    asked = [text for texts in engine.encoded for text in texts]
    assert set(asked) == written
    assert len(asked) == len(set(asked))
    assert all(tuple(map(ord, t.steps[0].text)) == t.steps[0].token_ids for t in rows)  # it keeps its own
    texts = ["".join(s.text for s in t.steps[:4]) for t in rows]
    assert [r.token_ids for r in engine.requests[-3:]] == [tuple(map(ord, text)) for text in texts]


async def test_a_likelihood_under_another_policy_reads_the_same_text() -> None:
    engine = FakeEngine()
    session = Session(ledger_of(engine, judge=Shifted(), unread=FakeEngine(tokenizer=None)))
    (row,) = await session.generate([Trajectory()], PARAMS, to_end=True)
    prefix, steps = row.with_steps(row.steps[:1]), row.steps[1:]
    expected = await session.loglik(prefix, steps)
    assert await session.loglik(prefix, steps, policy="judge") == expected
    assert await session.loglik(prefix, steps, policy="unread") == expected


async def test_a_policy_without_token_ids_cannot_read_another_one() -> None:
    class Mute(FakeEngine):
        async def encode(self, texts: Sequence[str]) -> list[tuple[int, ...] | Failure]:
            return await super(FakeEngine, self).encode(texts)

    session = Session(ledger_of(FakeEngine(), judge=Mute(tokenizer=None)))
    with pytest.raises(EngineError, match=r"policy=judge: cannot read .*: Mute reports no token ids"):
        await alternate(session, ["engine", "judge"])


async def test_what_a_policy_has_carried_begins_no_step_of_another() -> None:
    engine, draft = FakeEngine(), FakeEngine()
    session = Session(ledger_of(engine, draft=draft))
    carried = Carried((98,), (-1.0,))
    rows = [Trajectory((Step("a\n", (97, 10), carried=carried, policy="draft"),))]
    for policy in ("draft", "engine"):
        await session.generate(rows, PARAMS, policy=policy)
    assert (draft.requests[0].carried, engine.requests[0].carried) == (carried, UNSET)


async def test_an_alias_is_one_engine_under_two_names() -> None:
    engine = FakeEngine(tokenizer=None)
    engine.in_vain["p"] = Overhead(speculated_tokens=3)
    ledger = ledger_of(engine, judge=engine, draft=(draft := FakeEngine()))
    await alternate(Session(ledger), ["engine", "judge", "engine"])
    assert not engine.encoded
    assert len(set(seeds_of(engine))) == 9
    await ledger.release()
    assert (engine.released, draft.released) == (["p"], ["p"])
    assert ledger.overhead.speculated_tokens == 3


async def test_usage_is_counted_by_policy_where_there_are_several() -> None:
    engine, draft = FakeEngine(), FakeEngine()
    ledger = ledger_of(engine, draft=draft)
    rows = await alternate(Session(ledger), ["draft", "engine"])
    await Session(ledger).loglik(Trajectory(), rows[0].steps, policy="draft")
    assert ledger.account.by_policy == {"draft": draft.usage, "engine": engine.usage}
    spent = replace(ledger.account.usage, sequential_tokens=0)
    assert spent == draft.usage + engine.usage
    alone = ledger_of(FakeEngine())
    await alternate(Session(alone), ["engine"])
    assert alone.account.by_policy == {}


async def test_no_prompt_quotes_the_special_strings_of_any_policy() -> None:
    class Marked(FakeEngine):
        @property
        def info(self) -> ModelInfo:
            return replace(super().info, special=("<a>", "<b>"))

    assert Session(ledger_of(FakeEngine(), judge=Marked(), other=Marked())).special == ("<a>", "<b>")


async def test_an_unknown_policy_is_one_line_that_names_what_there_is() -> None:
    session = Session(ledger_of(FakeEngine(), draft=FakeEngine()))
    with pytest.raises(StrategyError, match="policy='judge': this run has engine, draft"):
        await session.generate(START, PARAMS, policy="judge")
    with pytest.raises(StrategyError, match="policy='judge': this run has engine, draft"):
        await session.loglik(Trajectory(), [Step("a\n", (1,))], policy="judge")


async def test_the_journal_holds_which_policy_replied(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first = await alternate(
        Session(ledger_of(FakeEngine(), Journal(path), draft=FakeEngine())), ["draft", "engine"]
    )
    mute = FakeEngine(), FakeEngine()
    again = ledger_of(mute[0], Journal(path), draft=mute[1])
    assert await alternate(Session(again), ["draft", "engine"]) == first
    assert mute[0].requests == mute[1].requests == []
    assert again.account.by_policy["draft"].generated_tokens > 0
    with pytest.raises(JournalError, match="requests something else"):
        await alternate(Session(ledger_of(FakeEngine(), Journal(path), draft=FakeEngine())), ["engine"])


def test_usage_by_policy_starts_empty() -> None:
    assert ledger_of(FakeEngine()).account.by_policy.get("engine", Usage()) == Usage()
