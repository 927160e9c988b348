"""Where steps end, with tokens of several characters and of parts of one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET
from transformers import AutoTokenizer

from actors.text.stepping import Detokenizer
from actors.transformers_engine.config import TransformersEngineConfig
from actors.transformers_engine.engine import TransformersEngine
from orchestrator.splitting import StepSplitter
from orchestrator.steps.rule import StepEnds, StepRule
from orchestrator.types import Finish, Sampling, Step
from tests.actors.small_models import ask, completed


@pytest.fixture(scope="module")
def tokenizer(bpe_policy: Path) -> Any:
    return AutoTokenizer.from_pretrained(bpe_policy)


@pytest.fixture(scope="module")
def detokenizer(tokenizer: Any) -> Detokenizer:
    return Detokenizer(tokenizer, len(tokenizer), frozenset({tokenizer.eos_token_id}))


def ids_of(tokenizer: Any, *pieces: str) -> list[int]:
    """The tokens of each piece for itself, which decides where they are cut."""
    return [i for piece in pieces for i in tokenizer(piece, add_special_tokens=False)["input_ids"]]


def cut(
    detokenizer: Detokenizer, generated: list[int], *, delimiter: str = "\n\n", **options: Any
) -> StepSplitter:
    """Feed tokens as the decoder does; the tokens that the table skips are not looked at."""
    splitter = StepSplitter(ask(delimiter=delimiter, **options), detokenizer, (1,))
    may_end = detokenizer.can_end(StepEnds(delimiter))
    for n in range(1, len(generated) + 1):
        at_limit = n == len(generated)
        looked_at = may_end[generated[n - 1]] or at_limit or splitter.held_back
        if looked_at and splitter.advance(generated[:n], [0.5] * n, at_limit=at_limit):
            break
    return splitter


def test_merged_delimiters_exist(tokenizer: Any) -> None:
    """The tokenizer does what these tests are about."""
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    assert any("ĊĊ" in t and t != "ĊĊ" for t in tokens)
    assert "Ã" in tokens and "Ċ" in tokens


def test_a_delimiter_across_tokens_ends_a_step(tokenizer: Any, detokenizer: Detokenizer) -> None:
    newline = tokenizer.convert_tokens_to_ids("Ċ")
    generated = [*ids_of(tokenizer, "x = 3,"), newline, newline, *ids_of(tokenizer, "more")]
    splitter = cut(detokenizer, generated)
    assert [(s.text, s.finish) for s in splitter.steps] == [("x = 3,\n\n", Finish.STEP)]
    assert splitter.steps[0].token_ids == tuple(generated[: -len(ids_of(tokenizer, "more"))])
    assert splitter.steps[0].logprob == 0.5 * len(splitter.steps[0].token_ids)


def test_a_delimiter_inside_a_token_ends_the_step_after_it(tokenizer: Any, detokenizer: Detokenizer) -> None:
    joined = next(
        i for i, t in enumerate(tokenizer.convert_ids_to_tokens(range(len(tokenizer)))) if t == "ĊĊso"
    )
    text = tokenizer.decode([joined])
    generated = [*ids_of(tokenizer, "x"), joined, *ids_of(tokenizer, "y")]
    splitter = cut(detokenizer, generated, to_end=True)
    assert [s.text for s in splitter.steps] == ["x" + text, "y"]
    assert "\n\n" in text and not text.endswith("\n\n")


def test_half_a_character_is_held_back(tokenizer: Any, detokenizer: Detokenizer) -> None:
    first, second = (tokenizer.convert_tokens_to_ids(t) for t in ("Ã", "©"))
    splitter = cut(
        detokenizer, [*ids_of(tokenizer, "caf"), first, second, *ids_of(tokenizer, "!")], delimiter="é"
    )
    assert [s.text for s in splitter.steps] == ["café"]
    cut_off = cut(detokenizer, [*ids_of(tokenizer, "caf"), first], delimiter="é")
    assert [(s.text, s.finish) for s in cut_off.steps] == [("caf\ufffd", Finish.LENGTH)]


def test_a_step_does_not_end_in_half_a_character(tokenizer: Any, detokenizer: Detokenizer) -> None:
    joined, rest = (tokenizer.convert_tokens_to_ids(t) for t in ("ĊĊÃ", "©"))
    assert joined is not None
    splitter = cut(detokenizer, [*ids_of(tokenizer, "x"), joined, rest, *ids_of(tokenizer, "y")], to_end=True)
    assert [s.text for s in splitter.steps] == ["x\n\né", "y"]
    invalid = cut(detokenizer, [*ids_of(tokenizer, "x"), joined, *ids_of(tokenizer, "y", "z")], to_end=True)
    assert [s.text for s in invalid.steps] == ["x\n\n\ufffdy", "z"]


def test_to_the_end_splits_and_stops_at_the_answer(tokenizer: Any, detokenizer: Detokenizer) -> None:
    generated = ids_of(tokenizer, "one.\n\n", "so x\n\n", "= 3\n\n", "x\n\n")
    splitter = cut(detokenizer, generated, to_end=True, marker="=")
    assert [s.text for s in splitter.steps] == ["one.\n\n", "so x\n\n", "= 3\n\n"]
    assert all(s.finish is Finish.STEP for s in splitter.steps)


def test_a_step_that_only_names_the_box_does_not_end_the_text(
    tokenizer: Any, detokenizer: Detokenizer
) -> None:
    texts = ["In \\boxed{}, then.\n\n", "x\n\n", "\\boxed{3}\n\n", "x\n\n"]
    splitter = cut(detokenizer, ids_of(tokenizer, *texts), to_end=True, marker="\\boxed")
    assert [s.text for s in splitter.steps] == texts[:3]
    assert all(s.finish is Finish.STEP for s in splitter.steps)


def test_end_of_text_is_kept_as_a_token_and_not_as_text(tokenizer: Any, detokenizer: Detokenizer) -> None:
    eos = tokenizer.eos_token_id
    splitter = cut(detokenizer, [*ids_of(tokenizer, "one.\n\n"), eos], to_end=True)
    assert [(s.text, s.finish) for s in splitter.steps] == [("one.\n\n", Finish.STEP), ("", Finish.EOS)]
    assert splitter.steps[1].token_ids == (eos,)
    splitter = cut(detokenizer, [*ids_of(tokenizer, "one"), eos], to_end=True)
    assert [(s.text, s.finish) for s in splitter.steps] == [("one", Finish.EOS)]


@pytest.mark.parametrize("delimiter", ["\n\n", "e", "th", " ", "é", ".\n"])
async def test_steps_of_a_byte_level_model_join_to_its_text(
    bpe_policy: Path, tokenizer: Any, delimiter: str
) -> None:
    engine = TransformersEngine(TransformersEngineConfig(str(bpe_policy)))
    requests = [
        ask(
            "the step",
            seed=s,
            to_end=s % 2 == 0,
            delimiter=delimiter,
            max_tokens=60,
            marker=None,
            temperature=1.2,
        )
        for s in range(30)
    ]
    for reply in completed(await engine.generate(requests)):
        token_ids = [i for step in reply.steps for i in step.token_ids]
        assert "".join(s.text for s in reply.steps) == tokenizer.decode(token_ids, skip_special_tokens=True)
        for step in reply.steps:
            if step.finish is Finish.STEP:
                assert delimiter in step.text
                shorter = tokenizer.decode(step.token_ids[:-1], skip_special_tokens=True)
                assert delimiter not in shorter or shorter.endswith("\ufffd"), "it ended as soon as it could"
            if step.finish is Finish.LENGTH and len(reply.steps) == 1:
                assert len(step.token_ids) == 60
    await engine.close()


@pytest.mark.parametrize(
    "rule",
    [
        StepRule("tokens", 4),
        StepRule("markers", markers=["th", "é"]),
        StepRule("hybrid", 6, r"e[a-z]|\n\n"),
        StepRule("hybrid", 5),
    ],
)
async def test_steps_by_a_rule_join_to_the_text_of_a_byte_level_model(
    bpe_policy: Path, tokenizer: Any, rule: StepRule
) -> None:
    """Its tokens are parts of characters too. By steps the greedy text and its steps are the same."""
    engine = TransformersEngine(TransformersEngineConfig(str(bpe_policy)))
    asked = ask("the step", to_end=True, delimiter="x", max_tokens=40, marker=None, temperature=1.2)
    requests = [replace(asked, seed=s, step=rule) for s in range(8)]
    for reply in completed(await engine.generate(requests)):
        token_ids = [i for step in reply.steps for i in step.token_ids]
        assert len(token_ids) == reply.usage.generated_tokens <= 40
        assert len(token_ids) == 40 or reply.steps[-1].finish is Finish.EOS
        assert all(len(step.token_ids) <= (rule.tokens or 40) for step in reply.steps)
        if all(not step.text.endswith("\ufffd") for step in reply.steps[:-1]):  # bytes that are no text
            whole = tokenizer.decode(token_ids, skip_special_tokens=True)
            assert "".join(s.text for s in reply.steps) == whole
    greedy = replace(requests[0], params=Sampling(0.0, 1.0, 40))
    (reply,) = completed(await engine.generate([greedy]))
    steps = list[Step]()
    while not steps or (steps[-1].finish is Finish.STEP and sum(len(s.token_ids) for s in steps) < 40):
        num, carried = sum(len(s.token_ids) for s in steps), steps[-1].carried if steps else None
        now = replace(
            greedy,
            to_end=False,
            params=Sampling(0.0, 1.0, 40 - num),
            token_ids=tuple(i for s in steps for i in s.token_ids),
            carried=carried or UNSET,
        )
        steps += completed(await engine.generate([now]))[0].steps
    assert [(s.text, s.token_ids) for s in steps] == [(s.text, s.token_ids) for s in reply.steps]
    assert [s.logprob for s in steps] == pytest.approx([s.logprob for s in reply.steps])
    await engine.close()
