"""Steps of drawn tokens by drawn rules: in one go, by steps, and of whole texts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from orchestrator.protocols import LOOK_BACK, GenerateRequest
from orchestrator.splitting import StepSplitter
from orchestrator.steps.cutting import INCOMPLETE, split
from orchestrator.steps.rule import StepEnds, StepRule
from orchestrator.types import Finish, Sampling, Step

EOS = 0
# Tokens of several characters, of a delimiter and a half, and of parts of a character.
PIECES = [
    b"<eos>",
    b"a",
    b"b",
    b"Wait",
    b"Wa",
    b"it",
    b"\n",
    b"\n\n",
    b"\n\nWait",
    b".\n",
    b" ",
    b"\n\n\xc3",
] + [bytes([b]) for b in "é🙂".encode()]
RULES = st.one_of(
    st.just(StepRule()),
    st.integers(4, 9).map(lambda n: StepRule("tokens", n)),
    st.sampled_from([["Wait"], ["b", "\nWa"], ["é"], ["a", "it"], r"\n+Wa?|b", "[ab]+i"]).map(
        lambda m: StepRule("markers", markers=m)
    ),
    st.builds(
        lambda n, m: StepRule("hybrid", n, m), st.integers(4, 9), st.sampled_from([None, ["b"], "W.i"])
    ),
)
CHARACTERS = [
    st.sampled_from(range(1, 11)).map(lambda i: [i]),
    st.just([11, 13]),
    st.just([12, 13]),
    st.just([14, 15, 16, 17]),
]
TOKENS = st.lists(st.one_of(*CHARACTERS), min_size=1, max_size=16).map(
    lambda each: [i for ids in each for i in ids]
)


class Bytes:
    """A decoder of byte pieces."""

    eos_ids = frozenset({EOS})

    def text(self, token_ids: tuple[int, ...], context: tuple[int, ...]) -> str:
        return b"".join(PIECES[i] for i in token_ids if i != EOS).decode(errors="replace")

    def can_end(self, ends: StepEnds) -> Any:
        shown = [piece.decode(errors="replace") for piece in PIECES]
        return [
            i == EOS or any(ends.can_end_with(c) or c == INCOMPLETE for c in p) for i, p in enumerate(shown)
        ]


def request(rule: StepRule, limit: int, **other: Any) -> GenerateRequest:
    step = UNSET if rule.mode == "delimiter" else rule
    fields: dict[str, Any] = {"token_ids": (), "to_end": True} | other
    return GenerateRequest(
        home="p", question="q", instruction="", params=Sampling(1.0, 1.0, limit), seed=0, delimiter="\n\n",
        answer_marker=None, step=step, **fields,
    )  # fmt: skip


@dataclass
class Model:
    """A model whose text is known: it says ``tokens``, whatever it is asked for."""

    tokens: list[int]

    def says(self, asked: GenerateRequest) -> tuple[list[Step], int]:
        """The steps of a reply, and how many tokens were generated for it."""
        splitter, begun, limit = StepSplitter(asked, Bytes(), ()), asked.begun, asked.params.max_tokens
        generated, place = list(begun.token_ids), len(asked.token_ids)
        assert self.tokens[place : place + len(generated)] == generated
        done = splitter.replay(begun, limit=limit, room=1000)
        while not done:
            generated.append(self.tokens[place + len(generated)])
            num, at_limit = len(generated), len(generated) == limit
            logprobs = [float(i) for i in generated]
            if at_limit or splitter.looks_at(num, generated[-1]):
                done = splitter.advance(generated, logprobs, at_limit=at_limit)
        return splitter.steps, len(generated) - len(begun.token_ids)

    def by_steps(self, asked: GenerateRequest) -> tuple[list[Step], int]:
        steps, num = list[Step](), 0
        while not steps or steps[-1].finish is Finish.STEP:
            left = asked.params.max_tokens - sum(len(s.token_ids) for s in steps)
            if left == 0:
                steps[-1] = replace(steps[-1], finish=Finish.LENGTH)
                break
            now = replace(
                asked,
                to_end=False,
                params=Sampling(1.0, 1.0, left),
                token_ids=tuple(i for s in steps for i in s.token_ids),
                carried=(steps[-1].carried if steps else None) or UNSET,
                before="".join(s.text for s in steps)[-LOOK_BACK:] or UNSET,
            )
            (step,), made = self.says(now)
            steps, num = [*steps, step], num + made
        return [replace(step, carried=None) for step in steps], num


@given(rule=RULES, tokens=TOKENS, limit=st.integers(1, 40))
def test_the_laws_of_steps(rule: StepRule, tokens: list[int], limit: int) -> None:
    model = Model([*tokens, EOS])
    asked = request(rule, min(limit, len(model.tokens)))
    steps, num_made = model.says(asked)
    ids = [i for step in steps for i in step.token_ids]
    assert ids == model.tokens[: len(ids)] and len(ids) == num_made
    is_cut = steps[-1].finish is Finish.LENGTH
    assert len(ids) == (asked.params.max_tokens if is_cut else len(model.tokens)), "the limit alone truncates"
    assert all(step.finish is Finish.STEP for step in steps[:-1])
    assert all(step.token_ids for step in steps) and all(step.text for step in steps[:-1]), "no step is empty"
    assert all(len(step.token_ids) <= (rule.tokens or len(ids)) for step in steps)
    whole = Bytes().text(tuple(ids), ())
    texts = "".join(step.text for step in steps)
    assert texts == whole
    assert [s.logprob for s in steps] == [float(sum(s.token_ids)) for s in steps]
    found, num = model.by_steps(asked)
    assert [(s.text, s.token_ids, s.finish) for s in found] == [
        (s.text, s.token_ids, s.finish) for s in steps
    ]
    assert num == num_made, "nothing is generated twice"


@given(rule=RULES, tokens=st.lists(st.sampled_from([1, 2, 6, 10]), min_size=1, max_size=24))
def test_tokens_of_one_character_split_as_their_text_does(rule: StepRule, tokens: list[int]) -> None:
    """An end of text that follows a whole step is an empty one of its own."""
    steps, _ = Model([*tokens, EOS]).says(request(rule, 100))
    text = Bytes().text(tuple(tokens), ())
    most = rule.tokens or len(text)
    split_text = list(split(text, rule.ends("\n\n"), lambda t: min(len(t), most)))
    assert [step.text for step in steps if step.text] == split_text


@given(rule=RULES.filter(lambda rule: rule.mode == "markers"), text=st.text("abWit\né", max_size=30))
def test_a_marker_begins_each_step_but_the_first(rule: StepRule, text: str) -> None:
    ends = rule.ends("\n\n")
    steps = list(split(text, ends))
    assert "".join(steps) == text and all(steps)
    for step in steps[1:]:
        found = ends.marker_in(step, 0)
        assert found is not None and found[0] == 0


def test_the_beginning_of_the_next_step_is_carried_on() -> None:
    model = Model([1, 7, 3, 1, EOS])
    (step,), num = model.says(request(StepRule("markers", markers=["Wait"]), 20, to_end=False))
    assert (step.text, step.token_ids, num) == ("a\n\n", (1, 7), 3)
    assert step.carried is not None and step.carried.token_ids == (3,) and step.carried.logprobs == (3.0,)


def test_a_token_that_holds_the_beginning_of_a_marker_belongs_to_the_next_step() -> None:
    steps, _ = Model([1, 9, 3, EOS]).says(request(StepRule("markers", markers=["\nWait"]), 20))
    assert [s.text for s in steps] == ["a", ".\nWait"]


def test_an_answer_in_two_steps_ends_the_text_with_the_second() -> None:
    """And not with the first, which states another one."""
    rule = StepRule("tokens", 4)
    asked = replace(request(rule, 20), answer_marker="a")
    steps, _ = Model([2, 2, 1, 2, 2, 6, 1, 1, 1, 1, EOS]).says(asked)
    assert [s.text for s in steps] == ["bbab", "b\naa"]
