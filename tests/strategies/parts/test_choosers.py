"""Selection by likeness (minimum Bayes risk) and by a checklist: limit cases, evidence, hostile replies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.errors import ConfigError
from orchestrator.prompts.template import Template
from orchestrator.protocols import Completion, EngineBase, Failure, GenerateRequest, ModelInfo
from orchestrator.testing import World, check_strategy
from orchestrator.types import Finish, RoleRecord, Sampling, Step, Trajectory, Usage
from strategies import BestOfN, Checklist, Mbr, ParticleFilter, Pipeline, Refine, SelfConsistency
from strategies.components.templates import PipelineTemplates
from strategies.parts.chooser import Chooser, Offered
from strategies.parts.mbr import most_alike
from strategies.parts.selection import reads_rewards, select
from strategies.parts.similarity import TextUtility, similarities
from strategies.parts.voting import argmax, vote

LIST = Template("{question}: what must hold?", instruction="")
PICK = Template("{answers}\nBy: {notes}\nNumber:", instruction="")
OTHER = Template("{question} in another language")
UTILITIES: tuple[TextUtility, ...] = ("f1", "chrf")
TEXTS = st.text("ab c.", max_size=12)


def text_of(text: str) -> Trajectory:
    return Trajectory((Step(text, tuple(map(ord, text)) or (0,), finish=Finish.EOS),))


def offered(
    keys: Sequence[str | None], scores: Sequence[float], log_weights: Sequence[float] = ()
) -> Offered:
    texts = [text_of(str(key)) for key in keys]
    return Offered(texts, keys, scores, log_weights or [0.0] * len(keys))


CANDIDATES = st.lists(
    st.tuples(st.sampled_from(["7", "8", "9", None]), st.sampled_from([-1.0, 0.0, 2.0])),
    min_size=1,
    max_size=9,
)


@example(pairs=[("7", 0.0), ("8", 2.0), ("8", 0.0), ("7", 2.0)], log_weights=[0.0] * 9, weighted=False)
@given(CANDIDATES, st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=9, max_size=9), st.booleans())
async def test_by_answers_it_is_the_vote_ties_included(
    pairs: list[tuple[str | None, float]], log_weights: list[float], weighted: bool
) -> None:
    keys, scores = [key for key, _ in pairs], [score for _, score in pairs]
    given = offered(keys, scores, log_weights[: len(pairs)])
    chosen = await Mbr("answer", weighted=weighted).choose(World().session(), given)
    shares = Mbr("answer", weighted=weighted)._weights(given)
    winner = vote(keys, scores, shares if weighted else None)
    assert chosen.index == (argmax(scores) if winner is None else winner)


@given(TEXTS, TEXTS)
def test_likeness_is_symmetric_and_whole_for_equal_texts(a: str, b: str) -> None:
    for utility in UTILITIES:
        ((there, same),) = similarities([a], [b, a], utility)
        ((back,),) = similarities([b], [a], utility)
        assert there == pytest.approx(back, abs=1e-12)
        assert 0.0 <= there <= 1.0 == same


@pytest.mark.parametrize(
    ("utility", "a", "b", "value"),
    [
        ("f1", "one two", "two three three", 2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3)),
        ("f1", "Two, one", "one two!", 1.0),
        ("f1", "", "one", 0.0),
        # Lengths 1 and 2: precisions 1 and 1, recalls 2/3 and 1/2; "ab" has no sequence of 3.
        ("chrf", "ab", "a bc", 2 * (7 / 12) / (1 + 7 / 12)),
        ("chrf", "ab", "cd", 0.0),
        ("chrf", " ", "cd", 0.0),
    ],
)
def test_likeness_by_hand(utility: TextUtility, a: str, b: str, value: float) -> None:
    assert similarities([a], [b], utility) == [[pytest.approx(value)]]


def test_of_equal_sums_all_are_kept() -> None:
    assert most_alike([[0.1 + 0.2], [0.3], [0.2]], [1]) == [0, 1]
    assert most_alike([[0.0, 0.0]] * 2, [1, 1]) == [0, 1]


async def test_texts_without_an_answer_are_chosen_by_likeness() -> None:
    """A majority has nothing to count there, and takes the best reward, or the first."""
    texts = [text_of(t) for t in ("zebra", "3 + 4 is 7", "so 3 + 4 is 7", "3 + 4 is 8")]
    session, even = World().session(), (0.0,) * 4
    assert await select(session, texts, even, "majority", "last") == 0
    for rule in ("mbr", Mbr("f1"), Mbr("chrf")):
        assert await select(session, texts, even, rule, "last") == 1
    assert await select(session, [], (), "mbr", "last") is None


@dataclass
class Scripted(EngineBase):
    """Samples that differ by their seed; to a prompt, what ``says`` gives for its text."""

    says: Callable[[str], str]
    requests: list[GenerateRequest] = field(default_factory=list)

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(batch_invariant=True, special=("<|end|>",))

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        self.requests += requests
        return [self._reply(request) for request in requests]

    def _reply(self, request: GenerateRequest) -> Completion:
        own = request.question == "abca"
        text = f"={'abc'[request.seed % 3]}\n" if own else self.says(request.question)
        step = Step(text, tuple(map(ord, text)) or (0,), finish=Finish.EOS)
        return Completion((step,), Usage(generated_tokens=max(1, len(text))))

    @property
    def roles(self) -> list[str]:
        return [r.question for r in self.requests if r.question != "abca"]


def world(says: Callable[[str], str]) -> tuple[World, Scripted]:
    engine = Scripted(says)
    return World(engine=engine), engine  # type: ignore[arg-type]


def _always(answer: str, _prompt: str) -> str:
    return answer


def said_in(history: Sequence[Any]) -> list[RoleRecord]:
    return [record for record in history if isinstance(record, RoleRecord)]


EVIDENCE = Mbr("answer", evidence=3, evidence_prompt=OTHER, sampling=Sampling(max_tokens=9))


async def test_evidence_votes_and_cannot_win() -> None:
    for answer, index in (("=8\n", 1), ("=7\n", 0), ("=9\n", 0), ("none", 0)):
        texts = [text_of("=7\n"), text_of("=8\n")]
        chosen = await EVIDENCE.choose(
            world(partial(_always, answer))[0].session(), Offered(texts, ["7", "8"], [0.0, 0.0], [0.0, 0.0])
        )
        assert chosen.index == index and len(chosen.said) == 3


@pytest.mark.parametrize("utility", ["answer", "chrf"])
async def test_evidence_of_no_weight_changes_nothing(utility: Any) -> None:
    for seed in range(8):
        how = {"num_samples": 5, "temperatures": "hedged"}
        silent = Mbr(utility, evidence=3, evidence_weight=0.0, evidence_prompt=OTHER)
        plain = await world(lambda _: "=c\n")[0].solve(SelfConsistency(**how, selection=Mbr(utility)), seed)  # type: ignore[arg-type]
        other = await world(lambda _: "=c\n")[0].solve(SelfConsistency(**how, selection=silent), seed)  # type: ignore[arg-type]
        assert (plain.answer_index, plain.trajectories) == (other.answer_index, other.trajectories)
        assert [r.role for r in said_in(other.history)] == ["evidence"] * 3 and not said_in(plain.history)


@pytest.mark.parametrize("chooser", [Mbr(), EVIDENCE, Checklist(LIST, PICK)])
async def test_one_draft_is_returned_without_a_call(chooser: Chooser) -> None:
    one, engine = world(str)
    assert (await chooser.choose(one.session(), offered([None], [0.0]))).index == 0
    assert not engine.requests


@pytest.mark.parametrize(
    ("reply", "index", "parsed"),
    [
        ("1", 1, True),  # the prompt lists the greatest reward first
        ("Number 2 is best, not 1", 2, True),
        ("0 9 3", 0, True),
        ("none", 1, False),
        ("[7]", 1, False),
        ("", 1, False),
        ("{answers} <|end|>", 1, False),
    ],
)
async def test_a_checklist_picks_or_else_the_vote(reply: str, index: int, parsed: bool) -> None:
    """The vote is for the second: two of three have its answer, and it has the greater reward."""
    asked, engine = world(lambda prompt: reply if prompt.endswith("Number:") else "- it is <|end|>right")
    chosen = await Checklist(LIST, PICK).choose(asked.session(), offered(["7", "8", "8"], [0.0, 2.0, 1.0]))
    assert chosen.index == index
    assert engine.roles == ["abca: what must hold?", "[1] 8\n\n[2] 8\n\n[3] 7\nBy: - it is right\nNumber:"]
    assert [(r.role, r.parsed, r.num_removed) for r in chosen.said] == [
        ("checklist", True, 0),
        ("pick", parsed, 1),
    ]


async def test_without_a_checklist_the_vote_decides() -> None:
    """An empty one, or one that a limit withheld, needs no second call."""
    empty, engine = world(lambda _: " \n")
    three = offered(["7", "8", "8"], [0.0, 2.0, 1.0])
    chosen = await Checklist(LIST, PICK).choose(empty.session(), three)
    assert (chosen.index, len(engine.roles), chosen.said[0].parsed) == (1, 1, False)
    strategy = SelfConsistency(4, Sampling(max_tokens=4), selection=Checklist(LIST, PICK))
    withheld = await world(str)[0].solve(strategy, generated_tokens=12)
    assert withheld.answer_index is not None
    assert [(r.text, r.parsed) for r in said_in(withheld.history)] == [("", False)]


@pytest.mark.parametrize(
    "strategy",
    [
        SelfConsistency(6, selection=Checklist(LIST, PICK)),
        BestOfN(6, selection=Checklist(LIST, PICK)),
        Refine(width=6, iterations=1, within=Checklist(LIST, PICK)),
        Refine(width=1, chains=6, iterations=1, within="last", across=Checklist(LIST, PICK)),
        ParticleFilter(6, sampling=Sampling(), selection=Checklist(LIST, PICK)),
    ],
)
async def test_it_works_wherever_an_answer_is_selected(strategy: Any) -> None:
    """The last one is picked; the calls are recorded and counted by their roles."""
    asked, _ = world(lambda prompt: "6" if prompt.endswith("Number:") else "right")
    session = asked.session()
    solution = await strategy.solve(session)
    assert solution.answer_index == 5
    assert [(r.role, r.tokens) for r in said_in(solution.history)] == [("checklist", 5), ("pick", 1)]
    assert {role: u.generated_tokens for role, u in session._ledger.account.by_role.items()} == {
        "checklist": 5,
        "pick": 1,
    }
    assert solution.usage.generated_tokens == 6 * 3 + 6


async def test_a_pipeline_selects_by_a_checklist_or_by_likeness() -> None:
    """As self-consistency does over the same samples; the record of a reply has its layer."""
    samples: list[Any] = [[{"generate": {"samples": 6}}]]
    templates = PipelineTemplates(checklist=LIST, pick=PICK)
    for by, other in (("mbr", "mbr"), ("checklist", Checklist(LIST, PICK))):
        asked = world(lambda prompt: "6" if prompt.endswith("Number:") else "right")[0]
        pipeline = Pipeline(6, [*samples, [{"select": {"by": by}}]], templates=templates)
        found = await asked.solve(pipeline, seed=2)
        plain = await world(lambda prompt: "6" if prompt.endswith("Number:") else "right")[0].solve(
            SelfConsistency(6, selection=cast("Any", other)), seed=2
        )
        assert (found.answer_index, found.trajectories) == (plain.answer_index, plain.trajectories)
        assert {record.layer for record in said_in(found.history)} <= {2}
        assert len(said_in(found.history)) == len(said_in(plain.history)) == (2 if by == "checklist" else 0)
        assert pipeline.prompts == (by == "checklist")
    with pytest.raises(ConfigError, match=r"prompts@strategy\.templates\.pick=pick"):
        Pipeline(
            6, [*samples, [{"select": {"by": "checklist"}}]], templates=PipelineTemplates(checklist=LIST)
        )


@pytest.mark.parametrize(
    "chooser",
    [
        Checklist(Template("{question}\nlist"), Template("{question}\n{answers}"), Sampling(max_tokens=14)),
        Mbr(evidence=2, evidence_prompt=Template("{question}\nin French"), sampling=Sampling(max_tokens=14)),
    ],
)
async def test_it_keeps_the_laws(chooser: Chooser) -> None:
    strategy = SelfConsistency(8, Sampling(max_tokens=14), selection=chooser)
    await check_strategy(strategy, budget=8, sample_tokens=14)


async def test_likeness_needs_no_verifier() -> None:
    alone = World(verifier=None)
    for strategy in (
        SelfConsistency(5, selection="mbr"),
        Refine(width=5, iterations=1, within="mbr", across=Mbr("answer")),
    ):
        assert strategy.readouts == () and not getattr(strategy, "prompts", False)
        assert (await alone.solve(strategy)).answer_index is not None
    assert [reads_rewards(how) for how in ("argmax", "majority", "mbr", Mbr())] == [True, False, False, False]


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: Mbr(cast("Any", "bleu")), "must be one of answer, f1, chrf"),
        (lambda: Mbr(evidence=3), "strategy.selection.evidence_prompt=null: must be a template for evidence"),
        (lambda: Mbr(evidence_prompt=Template("{x}")), "{x}: must be one of {question}"),
        (lambda: Checklist(Template("what?"), PICK), "must hold {question}"),
        (lambda: Checklist(LIST, Template("{answer}")), "did you mean 'answers'"),
        (
            lambda: SelfConsistency(8, wave_size=2, selection="mbr"),
            "strategy.wave_size=2: must be 0 with a selection and stop.rule=decided",
        ),
        (
            lambda: BestOfN(8, selection=cast("Any", "mbrr")),
            "must be one of argmax, sample, mbr; did you mean 'mbr'",
        ),
    ],
)
def test_a_mistake_is_named(make: Callable[[], object], line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        make()
    assert line in str(refused.value)
