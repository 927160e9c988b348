"""Replies are kept by the digest of their requests: a second run makes no call, and has equal results."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backend import Backend, DirectBackend
from orchestrator.cassettes.absent import AbsentEngine
from orchestrator.cassettes.identity import identity
from orchestrator.cassettes.models import Counts, Deck, PlayedEngine, PlayedVerifier
from orchestrator.cassettes.playing import played
from orchestrator.cassettes.tape import Tape
from orchestrator.config.plan import Plan
from orchestrator.config.policies import Policies
from orchestrator.errors import ConfigError
from orchestrator.outcome import ProblemResult
from orchestrator.prompts.template import Template
from orchestrator.protocols import OVERFLOW, Completion, Failure, GenerateRequest, ScoreReply, ScoreRequest
from orchestrator.search.controller import Controller
from orchestrator.search.overflow import NO_ROOM
from orchestrator.search.prices import Price
from orchestrator.search.strategy import Strategy
from orchestrator.storage.result_lines import result_line
from orchestrator.storage.results import read_results
from orchestrator.storage.run_files import read_summary
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier
from orchestrator.types import Sampling, Usage
from strategies import BeamSearch, BestOfN, Checklist, SelfConsistency, Stop
from tests.fake_plans import PLAIN, FakeEngineConfig, fake_conf, fake_plan
from tests.in_process import run_here

TASK = FakeTask(num_problems=3)
SAMPLING = Sampling(max_tokens=64)
METHODS: dict[str, Strategy] = {
    "whole": BestOfN(4, SAMPLING),
    "by steps": BeamSearch(4, sampling=SAMPLING, max_steps=8),
    "ahead": SelfConsistency(6, SAMPLING, wave_size=2, stop=Stop("decided", ahead=2)),
}


class Warmer(FakeEngine):
    """Finds more of a prompt in its cache at each call, as real engines do."""

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        replies = await super().generate(requests)
        return [
            replace(r, usage=replace(r.usage, cached_tokens=len(self.requests)))
            if isinstance(r, Completion)
            else r
            for r in replies
        ]


class WarmerJudge(FakeVerifier):
    """The same of a verifier: equal texts cost less the second time."""

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        replies = await super().score(requests)
        usage = Usage(reward_calls=1, cached_reward_tokens=len(self.requests))
        return [
            ScoreReply(r.rewards, replace(usage, reward_tokens=i)) if isinstance(r, ScoreReply) else r
            for i, r in enumerate(replies)
        ]


def plan_of(run_dir: Path, cassette: Path, strategy: Strategy, **how: Any) -> Plan:
    only = how.pop("only", False)
    plan = fake_plan(run_dir, TASK, strategy, **how)
    update = {"cassette": str(cassette), "cassette_only": only}
    return replace(plan, settings=plan.settings.model_copy(update=update))


@dataclass(frozen=True)
class Solved:
    """What a run would write of its problems, what models were asked, and what the cassette has saved."""

    lines: list[dict[str, Any]]
    engine: FakeEngine
    verifier: FakeVerifier
    saved: dict[str, float]


def solve(cassette: Path, strategy: Strategy, engine: FakeEngine | None = None, **how: Any) -> Solved:
    """Solve the problems with a cassette, on models that are called directly."""
    engine, verifier = engine or Warmer(), how.pop("verifier", None) or WarmerJudge()
    if (config := how.pop("engine_config", None)) is not None:
        how["engine"] = config
    others = how.pop("policies", {})
    plan = plan_of(cassette.parent, cassette, strategy, **how)
    results: list[ProblemResult] = []

    def start(_: Plan) -> Backend:
        return DirectBackend(engine, verifier, others)

    with played(plan, start) as (backend, counts):
        assert counts is not None
        asyncio.run(_controller(plan, backend).run(TASK.problems(0, None), results.append))
        saved = counts.summary(plan.others.prices)
    return Solved(_lines(results), engine, verifier, saved)


def _controller(plan: Plan, backend: Backend) -> Controller:
    return Controller(
        plan.strategy,
        backend.engine,
        plan.verifier.open(backend, plan.task, {}),
        plan.task,
        policies=plan.others.engines(backend.policies),
        prices=plan.others.prices,
    )


def _lines(results: list[ProblemResult]) -> list[dict[str, Any]]:
    lines = [dict(result_line(result)) for result in sorted(results, key=lambda r: r.problem.id)]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def lines_of(run_dir: Path) -> list[dict[str, Any]]:
    lines = sorted(read_results(run_dir), key=lambda line: str(line["problem_id"]))
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


@pytest.mark.parametrize("sampler", ["step", "stream"])
@pytest.mark.parametrize("method", METHODS)
def test_a_second_run_makes_no_call_and_has_equal_results(method: str, sampler: Any, tmp_path: Path) -> None:
    first = solve(tmp_path / "tape", METHODS[method], Warmer(sampler=sampler))
    again = solve(tmp_path / "tape", METHODS[method], Warmer(sampler=sampler))
    assert first.engine.requests and not again.engine.requests and not again.verifier.requests
    assert again.lines == first.lines
    assert again.saved["asked"] == again.saved["asked_tokens"] == 0 < again.saved["found"]


def test_a_cassette_changes_no_answer(tmp_path: Path) -> None:
    found = solve(tmp_path / "tape", METHODS["whole"], FakeEngine(), verifier=FakeVerifier())
    plan, results = fake_plan(tmp_path, TASK, METHODS["whole"]), list[ProblemResult]()
    with played(plan, lambda _: DirectBackend(FakeEngine(), FakeVerifier())) as (backend, counts):
        assert counts is None
        asyncio.run(_controller(plan, backend).run(TASK.problems(0, None), results.append))
    assert found.lines == _lines(results)


def test_a_larger_run_asks_for_what_is_new(tmp_path: Path) -> None:
    """As pipelines do that share leading layers."""
    few = solve(tmp_path / "tape", BestOfN(4, SAMPLING), FakeEngine()).engine
    more = solve(tmp_path / "tape", BestOfN(8, SAMPLING), FakeEngine(), verifier=FakeVerifier())
    assert len(few.requests) == len(more.engine.requests) == 4 * TASK.num_problems
    assert not {r.seed for r in few.requests} & {r.seed for r in more.engine.requests}
    alone = solve(tmp_path / "other", BestOfN(8, SAMPLING), FakeEngine(), verifier=FakeVerifier())
    assert len(alone.engine.requests) == 8 * TASK.num_problems
    assert [line["candidates"] for line in more.lines] == [line["candidates"] for line in alone.lines]


def test_a_problem_that_failed_is_asked_again(tmp_path: Path) -> None:
    """A failure is not kept, nor a reply that the search refuses: it would fail in every later run."""

    class Short(FakeVerifier):
        async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
            good = await super().score(requests)
            return [Failure("Poison", "no"), ScoreReply((), Usage()), *good[2:]]

    first = solve(tmp_path / "tape", METHODS["whole"], verifier=Short())
    assert all(line["error"] for line in first.lines)
    again = solve(tmp_path / "tape", METHODS["whole"])
    assert not again.engine.requests and len(again.verifier.requests) == 2 * TASK.num_problems
    assert not any(line["error"] for line in again.lines)


def test_a_wrong_number_of_replies_fails_its_problem(tmp_path: Path) -> None:
    class Mute(FakeEngine):
        async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
            return []

    lines = solve(tmp_path / "tape", METHODS["whole"], Mute()).lines
    assert {line["error"]["message"] for line in lines} == {"ValueError: 4 requests got 0 replies"}


def test_lines_that_were_cut_short_or_changed_are_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After a kill -9, or a lost page; what several runs have added is found."""
    solve(tmp_path / "tape", BestOfN(4, SAMPLING), FakeEngine())
    whole = solve(tmp_path / "tape", BestOfN(6, SAMPLING), FakeEngine())
    first, second = sorted((tmp_path / "tape").glob("engine-*/*.jsonl"), key=lambda f: -f.stat().st_size)
    first.write_bytes(first.read_bytes()[:-10])
    second.write_bytes(second.read_bytes().replace(b'"steps":[', b'"steps":{', 1))
    again = solve(tmp_path / "tape", BestOfN(6, SAMPLING), FakeEngine())
    assert len(again.engine.requests) == 2 and not again.verifier.requests
    assert again.lines == whole.lines
    assert "it is not used" in caplog.text


def test_a_full_disk_costs_no_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if "/engine-" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(os, "write", full)
        found = solve(tmp_path / "tape", METHODS["whole"])
    assert not any(line["error"] for line in found.lines)
    assert caplog.text.count("no more replies are kept") == 1
    again = solve(tmp_path / "tape", METHODS["whole"])
    assert len(again.engine.requests) == 4 * TASK.num_problems and not again.verifier.requests


class Weights(FakeEngineConfig):
    """A policy whose files are on this machine."""

    def digest(self) -> str | None:
        return "sha256:1"


class Trained(FakeEngineConfig):
    """The same name with other files."""

    def digest(self) -> str | None:
        return "sha256:2"


def test_other_files_are_another_model(tmp_path: Path) -> None:
    for config, is_asked in ((Weights(), True), (Trained(), True), (Weights(), False)):
        engine = solve(tmp_path / "tape", METHODS["whole"], engine_config=config).engine
        assert bool(engine.requests) == is_asked


def test_no_model_is_loaded_where_only_the_cassette_may_answer(tmp_path: Path) -> None:
    """The model's files may be gone: the tape is found by its name, and promises what the model did."""
    strategy, tape, gone = METHODS["whole"], tmp_path / "tape", FakeEngineConfig()
    found = solve(tape, strategy, Warmer(sampler="stream"), engine_config=Weights())
    for config in (Weights(), gone):
        again = solve(tape, strategy, only=True, engine_config=config)
        assert again.lines == found.lines and not again.engine.requests
    more = solve(tape, BestOfN(5, SAMPLING), only=True, engine_config=gone)
    (error,) = {line["error"]["message"] for line in more.lines}
    assert error.startswith("NotInCassette: the cassette has no reply to this request")
    plan = plan_of(tmp_path, tape, strategy, only=True, engine=gone)
    with played(plan, lambda _: pytest.fail("a model was loaded")) as (backend, _):
        assert backend.engine.info.sampler == "stream"
        assert set(backend.replicas.values()) == {0}


def test_what_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    def refusal(cassette: Path | None, **how: Any) -> str:
        plan = plan_of(tmp_path / "run", cassette or tmp_path, METHODS["whole"], **how)
        if cassette is None:
            plan = replace(plan, settings=plan.settings.model_copy(update={"cassette": None}))
        models = DirectBackend(FakeEngine(), FakeVerifier())
        with pytest.raises(ConfigError) as refused, played(plan, lambda _: models):
            pass
        return str(refused.value)

    assert "needs a cassette: cassette=DIR" in refusal(None, only=True)
    assert "has no tape of this engine, and cassette_only=true loads no model" in refusal(tmp_path, only=True)
    (tmp_path / "file").write_text("")
    assert "must be a folder" in refusal(tmp_path / "file")
    solve(tape := tmp_path / "tape", METHODS["whole"], engine_config=Weights())
    solve(tape, METHODS["whole"], engine_config=Trained())
    assert "has 2 tapes of this engine" in refusal(tape, only=True)
    (model,) = tape.glob("verifier-*/model.json")
    model.write_text("{}")
    assert "its model.json was not written by Murmuration" in refusal(tape)


class Reader(FakeEngine):
    """Has token ids for all texts but one, and no room for a prompt that must leave some."""

    num_encoded = 0

    async def encode(self, texts: Sequence[str]) -> list[tuple[int, ...] | Failure]:
        self.num_encoded += len(texts)
        return [Failure("X", "no") if text == "?" else tuple(map(ord, text)) for text in texts]

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        self.requests += requests
        return [Failure(OVERFLOW, "too long") for _ in requests]


async def test_token_ids_and_prompts_without_room_are_kept(tmp_path: Path) -> None:
    """Both decide what a search does next: a policy reads another one's steps, or is shown fewer."""
    plain = GenerateRequest("p", "abca", "", (), SAMPLING, 1, "\n", "=")
    for num_calls, engine in ((1, Reader()), (0, Reader())):
        tape = Tape(tmp_path)
        keeping = PlayedEngine(engine, Deck(tape, Counts()))
        assert await keeping.encode(["ab", "?"]) == [(97, 98), Failure("X", "no")]
        assert engine.num_encoded == 1 + num_calls  # the failure is requested again
        assert await keeping.generate([replace(plain, room=64)]) == [NO_ROOM]
        assert len(engine.requests) == num_calls
        assert await keeping.generate([plain]) == [Failure(OVERFLOW, "too long")]
        await keeping.close()
        tape.close()
    absent = AbsentEngine(engine.info)
    assert absent.info.sampler == "step" and isinstance((await absent.encode(["ab"]))[0], Failure)


class Narrow(FakeVerifier):
    """Has no room for any text."""

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        self.requests += requests
        return [Failure(OVERFLOW, "too long") for _ in requests]


async def test_that_a_text_has_no_room_is_kept(tmp_path: Path) -> None:
    for verifier, num_asked in ((Narrow(), 1), (Narrow(), 0)):
        tape = Tape(tmp_path)
        (reply,) = await PlayedVerifier(verifier, Deck(tape, Counts())).score(
            [ScoreRequest("p", "abca", ("a\n",), 0)]
        )
        assert isinstance(reply, Failure) and reply.type == OVERFLOW
        assert len(verifier.requests) == num_asked
        tape.close()


def test_each_policy_has_its_tape(tmp_path: Path) -> None:
    """Two names of one model have one; what models were asked has a cost where they have prices."""
    pick = Checklist(Template("{question}: list"), Template("{answers}: pick"), policy="draft")
    strategy, draft = SelfConsistency(4, SAMPLING, selection=pick), FakeEngine(lambda *_: {"1": 1.0})
    prices = {"engine": Price(generated=1e6), "draft": Price(generated=2e6)}
    named = Policies({"draft": FakeEngineConfig(), "twin": FakeEngineConfig()}, {"judge": "draft"}, prices)
    node = {"_target_": "actors.X", "model": "small"}
    how: dict[str, Any] = {
        "others": named,
        "plain": {**PLAIN, "policies": {"draft": node, "twin": node}},
        "policies": {"draft": draft, "twin": FakeEngine()},
    }
    first = solve(tmp_path / "tape", strategy, FakeEngine(), **how)
    assert len(draft.requests) == 2 * TASK.num_problems
    assert len(list((tmp_path / "tape").glob("engine-*"))) == 2
    again = solve(tmp_path / "tape", strategy, only=True, **how)
    assert again.lines == first.lines and again.saved["asked_cost"] == 0
    assert sum(line["cost"] for line in first.lines) == first.saved["asked_cost"] > 0


async def test_an_alias_of_a_policy_stays_one_engine(tmp_path: Path) -> None:
    engine = FakeEngine()
    models = DirectBackend(engine, None, {"judge": engine})
    plan = plan_of(tmp_path / "run", tmp_path / "tape", METHODS["whole"])
    with played(plan, lambda _: models) as (backend, _):
        assert backend.policies["judge"] is backend.engine is not engine
        assert (backend.num_alive(), backend.template_notes(), backend.trackers(1, {})) == (2, {}, ())
        assert backend.used() == models.used()
        await backend.close()


def test_speed_is_no_part_of_a_model(tmp_path: Path) -> None:
    node = {"_target_": "actors.X", "model": "/a/b", "dtype": "float32", "max_batch_size": 8, "lora": None}
    other = {**node, "model": "/elsewhere", "max_batch_size": 9}
    assert identity(node, "sha256:1") == identity(other, "sha256:1")
    assert identity(node, None) != identity(other, None) == identity({**other, "cache_bytes": 1}, None)
    for key, value in (("dtype", "bfloat16"), ("tokenizer", "/t")):
        assert identity(node, "sha256:1") != identity({**node, key: value}, "sha256:1")


@pytest.mark.heavy
def test_a_command_keeps_and_repeats_replies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Real replicas below the cassette; another run resumes without it."""
    chosen = [*fake_conf(tmp_path / "conf"), "budget=3"]
    tape = f"cassette={tmp_path / 'tape'}"
    for name, added in {"a": [], "b": ["cassette_only=true"]}.items():
        assert run_here(capsys, *chosen, tape, *added, f"run_dir={tmp_path / name}").returncode == 0
    assert lines_of(tmp_path / "a") == lines_of(tmp_path / "b")
    assert read_summary(tmp_path / "b", "run_dir")["cassette"] == {"found": 12, "asked": 0, "asked_tokens": 0}
    assert run_here(capsys, f"resume={tmp_path / 'a'}", "cassette=null").returncode == 0
    done = run_here(capsys, *chosen, "cassette_only=true", f"run_dir={tmp_path / 'c'}")
    assert (done.returncode, "cassette_only=true: needs a cassette" in done.stderr) == (2, True)
