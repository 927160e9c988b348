"""Pipelines: their limit cases, what each component calls and makes, and what they refuse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.prompts.template import Template
from orchestrator.protocols import OVERFLOW, Completion, Failure, GenerateRequest
from orchestrator.search.account import Limits
from orchestrator.search.asking import Ledger
from orchestrator.search.session import Session
from orchestrator.storage.appending import OpenFiles
from orchestrator.storage.journal import Journal
from orchestrator.testing import PROBLEM, FakeEngine, FakeTask, FakeVerifier, World
from orchestrator.types import AttemptRecord, RoleRecord, Sampling, Solution
from strategies import BestOfN, Pipeline, PipelineTemplates, SelfConsistency
from strategies.components.layers import scaled
from strategies.components.rank import Rank
from tests.laws import assert_prefers_finished, assert_sound
from tests.scripted import ScriptedEngine
from tests.strategies.hostile_replies import MARKS, REPLIES

# Each prompt says its role first.
TEMPLATES = PipelineTemplates(
    critique=Template("critique\n{question}\n{answers}", ""),
    rank=Template("rank\n{question}\n{answers}", ""),
    fuse=Template("fuse\n{question}\n{answers}"),
    reason=Template("reason\n{question}\n{answer}", ""),
    verdict=Template("verdict\n{question}\n{answer}\n{notes}", ""),
    unit_tests=Template("unit_tests\n{question}\n{number}", ""),
    evaluate=Template("evaluate\n{question}\n{answer}\n{statements}", ""),
    critiqued=Template("{answer} ({critique})"),
)
KINDS = ("generate", "critique", "rank", "fuse", "verify", "unit_tests", "evaluate", "select")
ALL = [
    [{"generate": {"samples": 4}}], [{"critique": {}}], [{"rank": {"top_k": 3}}], [{"verify": None}],
    [{"unit_tests": {"number": 2}}], [{"evaluate": {}}], [{"fuse": {"copies": 2}}, {"fuse": {}}],
    [{"select": {"by": "vote"}}],
]  # fmt: skip


def role_of(request: GenerateRequest) -> str:
    role, line, _ = request.question.partition("\n")
    return role if line else "solve"


def scripted(replies: Mapping[str, str | Sequence[str]], **knobs: Any) -> ScriptedEngine:
    """Replies by role; several of a role are given one after the other. A sample says which one it is."""
    said: Counter[str] = Counter()

    def script(request: GenerateRequest, _: int) -> str:
        role = role_of(request)
        reply = replies.get(role, "={}")
        said[role] += 1
        text = reply if isinstance(reply, str) else reply[said[role] - 1]
        return text.replace("={}", f"={said[role]}")

    return ScriptedEngine(script, **knobs)


def pipeline(layers: Any = ALL, num_samples: int = 7, **knobs: Any) -> Pipeline:
    return Pipeline(num_samples, layers, templates=TEMPLATES, **knobs)


async def solve(engine: ScriptedEngine, strategy: Pipeline, **limits: Any) -> Solution:
    return await World(engine=engine).solve(strategy, **limits)  # type: ignore[arg-type]


def texts(solution: Solution) -> list[str]:
    return [t.text for t in solution.trajectories]


def roles(solution: Solution) -> list[RoleRecord]:
    return [record for record in solution.history if isinstance(record, RoleRecord)]


@pytest.mark.parametrize("num", [1, 8])
async def test_samples_and_a_selection_are_the_known_methods(num: int) -> None:
    """Text by text, with rewards, weights and usage; the vote's Solution names its parameters as well."""
    for seed in range(5):
        for by, method in (("reward", BestOfN(num)), ("vote", SelfConsistency(num))):
            layers = [[{"generate": {"samples": num}}], [{"select": {"by": by}}]]
            piped = await World().solve(Pipeline(layers=layers), seed)
            known = await World().solve(method, seed)
            assert piped == replace(known, params=())


async def test_the_calls_of_each_component() -> None:
    """The table of the method: one for all, one or two a draft, or one a copy."""
    engine = scripted({"rank": "[2] > [1]", "verdict": "[Correct]", "unit_tests": '["a", "b", "c"]'})
    solution = await solve(engine, pipeline())
    assert Counter(map(role_of, engine.requests)) == {
        "solve": 4, "critique": 1, "rank": 1, "reason": 3, "verdict": 3, "unit_tests": 1, "evaluate": 3,
        "fuse": 3,
    }  # fmt: skip
    assert len(solution.trajectories) == 4 + 3
    assert [(r.role, r.layer) for r in roles(solution)] == [
        ("critique", 2), ("rank", 3), *[("reason", 4)] * 3, *[("verdict", 4)] * 3, ("unit_tests", 5),
        *[("evaluate", 6)] * 3,
    ]  # fmt: skip
    spent = sum(record.tokens for record in roles(solution))
    assert solution.usage.generated_tokens == spent + sum(t.num_tokens for t in solution.trajectories)


async def test_roles_are_counted_by_their_names() -> None:
    world = World(engine=scripted({"rank": "[1]"}))  # type: ignore[arg-type]
    session = world.session()
    await pipeline([*ALL[:3], ALL[6]]).solve(session)
    by_role = session._ledger.account.by_role
    assert {role: usage.generated_tokens for role, usage in by_role.items()} == {
        "critique": 3, "rank": 4, "fuse": 9,
    }  # fmt: skip


async def test_critiques_are_shown_and_the_best_are_fused() -> None:
    engine = scripted({"critique": "[1] dull\n[3] fine", "rank": "[3] > [1]"})
    solution = await solve(engine, pipeline([*ALL[:3], [{"fuse": {}}]]))
    critique, rank, fuse = [r.question for r in engine.requests[4:]]
    assert critique == "critique\nabca\n[1] =1\n\n[2] =2\n\n[3] =3\n\n[4] =4"
    assert rank == "rank\nabca\n[1] =1 (dull)\n\n[2] =2\n\n[3] =3 (fine)\n\n[4] =4"
    assert fuse == "fuse\nabca\n[1] =3 (fine)\n\n[2] =1 (dull)\n\n[3] =2"
    assert texts(solution) == ["=1", "=2", "=3", "=4", "=1"]
    assert solution.answer_index == 4
    assert solution.history[-1] == AttemptRecord(4, 0, 4, read=(2, 0, 1))


async def test_layers_side_by_side_are_joined_in_their_order() -> None:
    layers = [[{"generate": {"samples": 2}}, {"generate": {"samples": 1}}], [{"fuse": {}}, {"fuse": {}}]]
    solution = await solve(engine := scripted({}), pipeline(layers))
    assert texts(solution) == ["=1", "=2", "=3", "=1", "=2"]
    assert len({request.seed for request in engine.requests}) == 5
    assert solution.usage.sequential_tokens == 3 + 3


@pytest.mark.parametrize(
    ("verdicts", "kept"),
    [
        (["[Incorrect]", "[Correct]", "[Correct]"], [1, 2]),
        (["[Incorrect]", "so [incorrect] [Correct]", "[Incorrect]"], [0, 1, 2]),
        (["correct", "", "[Correct]"], [2]),
    ],
)
async def test_the_drafts_that_are_accepted_stay(verdicts: list[str], kept: list[int]) -> None:
    engine = scripted({"verdict": verdicts, "reason": ["x", "y", "z"]})
    layers = [[{"generate": {"samples": 3}}], [{"verify": {}}], [{"fuse": {}}]]
    solution = await solve(engine, pipeline(layers))
    assert engine.requests[6].question == "verdict\nabca\n=1\nx"
    (fused,) = (record for record in solution.history if isinstance(record, AttemptRecord))
    assert list(fused.read) == kept


@pytest.mark.parametrize(
    ("replies", "order"),
    [
        (["[1] [Passed]", "[1] [Passed]\n[2] [Passed]", "[1] [Failed]"], [1, 0, 2]),
        (["[Failed] [Passed]", "none", "[Passed]\n[Passed]"], [2, 0, 1]),
        (["", "", ""], [0, 1, 2]),
    ],
)
async def test_drafts_are_ordered_by_the_tests_that_they_pass(replies: list[str], order: list[int]) -> None:
    engine = scripted({"unit_tests": "- even\n- small", "evaluate": replies})
    layers = [[{"generate": {"samples": 3}}], *ALL[4:6], [{"fuse": {}}]]
    solution = await solve(engine, pipeline(layers))
    assert engine.requests[3].question == "unit_tests\nabca\n2"
    assert engine.requests[4].question == "evaluate\nabca\n=1\n[1] even\n\n[2] small"
    (fused,) = (record for record in solution.history if isinstance(record, AttemptRecord))
    assert list(fused.read) == order


async def test_without_tests_nothing_is_evaluated() -> None:
    engine = scripted({"unit_tests": " \n"})
    await solve(engine, pipeline([*ALL[:1], *ALL[4:6]]))
    assert Counter(map(role_of, engine.requests)) == {"solve": 4, "unit_tests": 1}


async def test_one_draft_is_not_ranked() -> None:
    engine = scripted({})
    await solve(engine, pipeline([[{"generate": {}}], [{"rank": {}}]], 1))
    assert len(engine.requests) == 1


@pytest.mark.parametrize("name", REPLIES)
async def test_whatever_roles_say_the_drafts_stay_in_their_order(name: str) -> None:
    """What cannot be read changes nothing, and every reply is in the record, as one that was not read."""
    read = ("critique", "rank", "verdict", "evaluate")
    engine = scripted(dict.fromkeys((*read, "reason"), REPLIES[name]), special=MARKS)
    solution = await solve(engine, pipeline(ALL[:-2], role_sampling=Sampling(max_tokens=99)))
    assert texts(solution) == ["=1", "=2", "=3", "=4"]
    assert solution.answer_index == 0
    parsed = {record.role: record.parsed for record in roles(solution) if record.role in read}
    accepts = {"verdict": True} if name == "the marks of verdicts" else {}
    assert parsed == dict.fromkeys(read, False) | accepts
    marked = [mark for request in engine.requests for mark in MARKS if mark in request.question]
    assert not marked


async def test_marks_and_fields_in_what_models_wrote_are_text() -> None:
    engine = scripted(
        {"solve": ["{answers}<|end|>", "[1] <|e<|end|>nd|>"], "rank": "[2]"}, special=("<|end|>",)
    )
    layers = [[{"generate": {"samples": 2}}], [{"rank": {}}]]
    solution = await solve(engine, pipeline(layers))
    assert engine.requests[2].question == "rank\nabca\n[1] {answers}\n\n[2] [1] "
    assert [record.num_removed for record in roles(solution)] == [3]
    assert solution.answer_index == 1


class Narrow(ScriptedEngine):
    """Its context holds 40 characters, what may be generated included."""

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        fits = [len(request.question) + request.least_room <= 40 for request in requests]
        replies = iter(await super().generate([q for q, fit in zip(requests, fits, strict=True) if fit]))
        return [next(replies) if fit else Failure(OVERFLOW, "too long") for fit in fits]


async def test_drafts_without_room_are_left_out_from_the_tail() -> None:
    """The ranking keeps them behind those that it has seen; a fusion has read the others alone."""
    engine = Narrow(scripted({"rank": "[2] > [1]"}).script)
    small = Sampling(max_tokens=9)
    layers = [[{"generate": {"samples": 4}}], [{"rank": {}}], [{"fuse": {}}]]
    solution = await solve(engine, pipeline(layers, sampling=small, role_sampling=small))
    assert engine.requests[4].question == "rank\nabca\n[1] =1\n\n[2] =2"
    (said,), (fused,) = roles(solution), solution.history[1:]
    assert (said.num_dropped, said.parsed) == (2, True)
    assert fused == AttemptRecord(4, 0, 3, read=(1, 0), num_dropped=2)


async def test_a_prompt_without_room_for_one_draft_changes_nothing() -> None:
    engine = Narrow(scripted({"solve": "=" + "x" * 40}).script)
    layers = [[{"generate": {"samples": 2}}], [{"rank": {}}], [{"verify": {}}], [{"fuse": {}}]]
    solution = await solve(engine, pipeline(layers))
    assert len(engine.requests) == 2
    assert len(solution.trajectories) == 2
    said = [(r.role, r.parsed, r.text, r.num_dropped) for r in roles(solution)]
    assert said == [
        ("rank", False, "", 2), *[("reason", False, "", 0)] * 2, *[("verdict", False, "", 0)] * 2,
        ("fuse", False, "", 2),
    ]  # fmt: skip


async def test_each_role_may_have_a_policy() -> None:
    """Samples of both models, which the judge alone criticises; what each has said is by its name."""
    policies = {"draft": scripted({"solve": "=d"}), "judge": scripted({"rank": "[3]"})}
    layers = [
        [{"generate": {"samples": 2, "policies": ["engine", "draft"]}}],
        [{"rank": {"policy": "judge"}}],
    ]
    strategy = pipeline(layers)
    called = [component.calls for layer in strategy.layers for component in layer]
    assert called == [("engine", "draft"), ("judge",)]
    assert not strategy.prompts
    assert {name for layer in pipeline().layers for c in layer for name in c.calls} == {"engine"}
    ledger = Ledger(PROBLEM, main := scripted({}), None, FakeTask(), policies=policies)
    solution = await strategy.solve(session := Session(ledger))
    assert texts(solution) == ["=1", "=2", "=d", "=d"]
    assert [s.policy for t in solution.trajectories for s in t.steps] == ["engine"] * 2 + ["draft"] * 2
    assert solution.answer_index == 2
    assert [(record.role, record.policy) for record in roles(solution)] == [("rank", "judge")]
    assert [len(engine.requests) for engine in (main, *policies.values())] == [2, 2, 1]
    assert session.usage.sequential_tokens == 3 + 4


async def test_an_answer_with_an_end_is_preferred() -> None:
    """A fusion that was cut off is an answer only where no draft had an end."""
    engine = scripted({"fuse": "x" * 99})
    solution = await solve(
        engine, pipeline([[{"generate": {"samples": 3}}], [{"fuse": {}}]], sampling=Sampling(max_tokens=9))
    )
    assert solution.answer_index == 0
    assert_prefers_finished(solution)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8, 12, 20, 40])
async def test_under_a_limit_what_was_withheld_is_no_reply(limit: int) -> None:
    small = Sampling(max_tokens=4)
    strategy = pipeline(sampling=small, role_sampling=small)
    solution = await solve(scripted({}), strategy, generated_tokens=limit)
    assert_sound(solution)
    assert solution.usage.generated_tokens <= limit
    assert all(record.tokens for record in roles(solution))


async def test_without_a_draft_there_is_no_further_call() -> None:
    world = World(engine=FakeEngine(latency=lambda request, completion: 30.0))
    solution = await world.solve(pipeline(), seconds=0.001)
    assert (solution.answer_index, solution.trajectories) == (None, ())
    assert len(world.engine.requests) == 4


async def test_drafts_that_cannot_be_fused_stay_once() -> None:
    engine = Narrow(scripted({"solve": ["=" + c * 40 for c in "yxx"]}).script)
    layers = [[{"generate": {"samples": 3}}], ALL[6], [{"verify": {}}], [{"select": {"by": "vote"}}]]
    solution = await solve(engine, pipeline(layers))
    assert Counter(record.role for record in roles(solution)) == {"fuse": 2, "reason": 3, "verdict": 3}
    assert solution.answer_index == 1


async def test_a_kill_between_a_critique_and_the_rank_changes_nothing(tmp_path: Path) -> None:
    """The resumed search reads the critique from the journal, and ranks by it."""
    replies = {"critique": "[1] dull\n[3] fine", "rank": "[3] > [1]"}
    layers = [*ALL[:3], [{"fuse": {}}]]
    path = tmp_path / "toy.jsonl"

    async def search() -> tuple[Solution, list[str]]:
        engine, files = scripted(replies), OpenFiles()
        ledger = Ledger(
            PROBLEM, engine, FakeVerifier(), FakeTask(), limits=Limits(), journal=Journal(path, files)
        )
        solution = await pipeline(layers).solve(Session(ledger))
        files.close_all()
        return solution, [request.question for request in engine.requests]

    whole, asked = await search()
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 4
    path.write_bytes(b"".join(lines[:2]))
    again, asked_again = await search()
    assert again == whole
    assert asked_again == asked[5:]
    assert "(fine)" in asked_again[0]


@pytest.mark.parametrize(
    ("num_answers", "kinds", "samples"),
    [
        (1, "generate rank", 1),
        (2, "generate rank", 2),
        (3, "generate critique rank fuse", 2),
        (11, "generate critique rank fuse", 10),
    ],
)
def test_what_the_budget_leaves_is_sampled(num_answers: int, kinds: str, samples: int) -> None:
    strategy = pipeline([[{"generate": {}}], [{"critique": {}}], [{"rank": {}}], [{"fuse": {}}]], num_answers)
    layers: Any = scaled(strategy.layers, num_answers)  # type: ignore[arg-type]
    assert " ".join(layer[0].kind for layer in layers) == kinds
    assert layers[0][0].samples == samples


def test_policies_of_a_generator_have_equal_shares() -> None:
    strategy = pipeline([[{"generate": {"policies": ["a", "b"]}}], [{"fuse": {}}]], 8)
    layers: Any = scaled(strategy.layers, 8)  # type: ignore[arg-type]
    assert layers[0][0].samples == 3


def test_generators_have_equal_shares_of_what_is_left() -> None:
    strategy = pipeline([[{"generate": {}}, {"generate": {"samples": 2}}, {"generate": None}]], 7)
    layers: Any = scaled(strategy.layers, 7)  # type: ignore[arg-type]
    assert [each.samples for each in layers[0]] == [2, 2, 2]
    with pytest.raises(ConfigError, match=r"strategy\.num_samples=3: must be at least 4"):
        replace(strategy, num_samples=3)


def test_a_component_may_be_built() -> None:
    assert pipeline([[{"generate": {}}], [Rank(3)]]) == pipeline(
        [[{"generate": {}}], [{"rank": {"top_k": 3}}]]
    )
    assert pipeline().prompts
    assert not Pipeline().prompts


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], r"strategy\.layers=\[\]: must be a list of layers"),
        ("generate", "must be a list of layers"),
        ([{"generate": {}}], r"strategy\.layers\.0=.*: must be a list of layers"),
        ([["generate"]], r"strategy\.layers\.0\.0=generate: must be one component"),
        ([[{"generate": {}, "rank": {}}]], r"layers\.0\.0=.*: must be one component"),
        ([[{"generte": {}}]], r"layers\.0\.0\.generte={}: unknown component; did you mean 'generate'"),
        ([[{"generate": 8}]], r"layers\.0\.0\.generate=8: must be the knobs"),
        ([[{"generate": {"num": 8}}]], r"generate\.num=8: unknown key; known: samples, policies"),
        ([[{"generate": {"samples": 0}}]], r"generate\.samples=0: must be a whole number of 1 or more"),
        ([[{"generate": {"policies": ["a", "a"]}}]], r"generate\.policies=.*: must be names of policies"),
        ([[{"generate": {"policies": "a"}}]], r"generate\.policies=a: must be "),
        ([*ALL[:1], [Rank(0)]], r"layers\.1\.0\.rank\.top_k=0: must be a whole number"),
        ([*ALL[:1], [{"select": {"by": "votes"}}]], r"select\.by=votes: .*did you mean 'vote'"),
        ([*ALL[:1], [{"critique": {"a": 1}}]], r"critique\.a=1: unknown key; known: policy"),
        ([[{"rank": {}}]], r"layers\.0=rank: must be generate"),
        ([*ALL[:1], *ALL[:1]], r"layers\.1=generate: must be in the first layer"),
        ([*ALL[:1], [{"rank": {}}, {"fuse": {}}]], r"layers\.1=rank, fuse: must hold one kind"),
        ([*ALL[:1], [{"rank": {}}, {"rank": {}}]], r"layers\.1=rank: must be alone"),
        ([*ALL[:2], [{"verify": {}}]], r"layers\.1=critique: needs a later layer"),
        ([*ALL[:1], ALL[4], ALL[2]], r"layers\.1=unit_tests: must be directly before evaluate"),
        ([*ALL[:1], ALL[5]], r"layers\.1=evaluate: must be directly after unit_tests"),
    ],
)  # fmt: skip
def test_layers_that_are_refused(layers: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pipeline(layers)


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        ({"rank": None}, r"strategy\.templates\.rank=null: must be a template, such as prompts@strategy"),
        ({"critique": None}, r"templates\.critique=null: .*critique=critique_all"),
        ({"fuse": Template("{question} {answer}")}, r"templates\.fuse={answer}: .*did you mean 'answers'"),
        ({"evaluate": Template("{question} {answer}")}, r"templates\.evaluate=.*: must hold {statements}"),
    ],
)
def test_templates_that_are_refused(templates: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Pipeline(7, ALL, templates=replace(TEMPLATES, **templates))
