"""What only a real language model shows: its texts on every engine, its steps, searches that it judges.

It solves next to nothing: text, template, steps and caches are what it is good for.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import torch
import transformers
from msgspec import UNSET

from actors.transformers_engine.config import TransformersEngineConfig
from actors.verifiers.config import GenerativeVerifierConfig, LikelihoodVerifierConfig
from actors.verifiers.generative import GenerativeVerifier
from actors.verifiers.likelihood import LikelihoodVerifier
from actors.vllm_engine.config import VllmEngineConfig
from orchestrator.backend import DirectBackend
from orchestrator.config.compose import only_composed
from orchestrator.config.plan import Plan, plan_of
from orchestrator.outcome import ProblemResult
from orchestrator.protocols import (
    Completion,
    EngineBase,
    Failure,
    GenerateRequest,
    ModelInfo,
    Reasons,
    ScoreReply,
    ScoreRequest,
    Verifier,
    VerifierBase,
)
from orchestrator.search.controller import Controller
from orchestrator.search.requests import policy_prefix, score_request
from orchestrator.steps.rule import StepRule
from orchestrator.storage.journal import Journals
from orchestrator.types import Finish, Problem, RoleRecord, Sampling, Step, TrialRecord, total
from orchestrator.verifiers.self_certainty import SelfCertaintyVerifierConfig
from orchestrator.verifiers.self_evaluation import SelfEvaluationVerifierConfig
from tests.actors.openai_server import KEY, KEY_VARIABLE, started_server
from tests.shared_data import BENCHMARKS, shared, shared_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.asyncio(loop_scope="module")]

NUM_PROMPTS, NUM_TOKENS = 20, 24
GREEDY = Sampling(0.0, 1.0, NUM_TOKENS)
JUDGE = {
    "template": "Question: {question}\n\nSolution so far:\n{steps}\nIs the last step right? Yes or No.",
    "critique_tokens": 0,
}
Table = list[tuple[str, str]]


@dataclass(frozen=True)
class Model:
    """The engine in this process, and the tokenizer of its folder."""

    engine: EngineBase
    tokenizer: Any
    folder: Path
    config: TransformersEngineConfig


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model(folder: Path) -> AsyncIterator[Model]:
    config = TransformersEngineConfig(str(folder), chat=True)
    engine = config.build()
    yield Model(engine, transformers.AutoTokenizer.from_pretrained(folder), folder, config)
    await engine.close()


def questions(num: int = NUM_PROMPTS) -> list[str]:
    return [row["question"] for row in shared_rows(BENCHMARKS["gsm8k"])[:num]]


def request(question: str, params: Sampling = GREEDY, **other: Any) -> GenerateRequest:
    fields: dict[str, Any] = {"token_ids": (), "seed": 0, "to_end": True, "home": question[:20]}
    return GenerateRequest(
        question=question,
        instruction="",
        params=params,
        delimiter="\n\n",
        answer_marker=None,
        **fields | other,
    )


async def texts(engine: Any, requests: Sequence[GenerateRequest]) -> list[tuple[int, ...]]:
    """The token ids of each reply."""
    replies = await engine.generate(requests)
    assert all(isinstance(reply, Completion) for reply in replies), replies
    return [tuple(t for step in reply.steps for t in step.token_ids) for reply in replies]


def generated(model: Model, question: str) -> tuple[int, ...]:
    """The library's own greedy text, one prompt at a time."""
    with torch.inference_mode():
        prompt = model.tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt",
            return_dict=False,
        )  # fmt: skip
        whole = library(model.folder).generate(prompt, max_new_tokens=NUM_TOKENS, do_sample=False)
    return tuple(whole[0, prompt.shape[1] :].tolist())


_LIBRARY: dict[Path, Any] = {}


def library(folder: Path) -> Any:
    if folder not in _LIBRARY:
        _LIBRARY[folder] = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32
        ).eval()
    return _LIBRARY[folder]


def timed(table: Table, name: str, num_tokens: int, begun: float) -> None:
    table.append((name, f"{num_tokens / (time.monotonic() - begun):.1f} tokens/s"))


async def test_greedy_texts_are_the_librarys_on_every_engine(model: Model, table: Table) -> None:
    requests = [request(question) for question in questions()]
    begun = time.monotonic()
    expected = [generated(model, question) for question in questions()]
    timed(table, "the library's generate, one at a time", sum(map(len, expected)), begun)
    begun = time.monotonic()
    ours = await texts(model.engine, requests)
    timed(table, "engine=transformers, batch-invariant", sum(map(len, ours)), begun)
    assert ours == expected
    fast = replace(model.config, batch_invariant=False).build()
    begun = time.monotonic()
    assert await texts(fast, requests) == expected
    timed(table, "engine=transformers, batch_invariant=false", sum(map(len, expected)), begun)
    await fast.close()
    args = {"max_num_seqs": 32, "kv_cache_memory_bytes": 2**29, "enforce_eager": True}
    vllm = VllmEngineConfig(
        str(model.folder), chat=True, dtype="float32", max_context=2048, args=args
    ).build()
    begun = time.monotonic()
    assert await texts(vllm, requests) == expected
    timed(table, "engine=vllm", sum(map(len, expected)), begun)
    await vllm.close()


async def test_steps_end_at_blank_lines_and_make_the_text(model: Model) -> None:
    """In one go and step by step; the ids of the steps are those of the text."""
    params = Sampling(0.0, 1.0, 96)
    for question in questions(3):
        (whole,) = await model.engine.generate([request(question, params)])
        assert isinstance(whole, Completion)
        ids = [t for step in whole.steps for t in step.token_ids]
        text = "".join(step.text for step in whole.steps)
        assert model.tokenizer.decode(ids, skip_special_tokens=True) == text
        assert all(step.text.count("\n\n") == 1 for step in whole.steps[:-1])
        prefix: tuple[int, ...] = ()
        for expected in whole.steps:
            left = Sampling(0.0, 1.0, 96 - len(prefix))
            asked = request(question, left, to_end=False, token_ids=prefix)
            (reply,) = await model.engine.generate([asked])
            assert isinstance(reply, Completion)
            (step,) = reply.steps
            assert (step.text, step.token_ids) == (expected.text, expected.token_ids)
            prefix += step.token_ids


@pytest.mark.parametrize(
    "rule", [StepRule("tokens", 16), StepRule("hybrid", 24, r"\.|\n\n?")], ids=lambda rule: rule.mode
)
async def test_steps_by_a_rule_make_the_text(rule: StepRule, model: Model) -> None:
    """As steps at blank lines do; a full step is followed by another, and the text alone is cut off."""
    params = Sampling(0.0, 1.0, 96)
    for question in questions(1):
        asked = request(question, params, step=rule)
        (whole,) = await model.engine.generate([asked])
        assert isinstance(whole, Completion)
        assert len(whole.steps) > 2
        ids = [t for step in whole.steps for t in step.token_ids]
        text = "".join(step.text for step in whole.steps)
        assert model.tokenizer.decode(ids, skip_special_tokens=True) == text
        assert all(0 < len(step.token_ids) <= (rule.tokens or 0) for step in whole.steps)
        assert all(step.finish is Finish.STEP for step in whole.steps[:-1])
        steps = list[Step]()
        for _ in whole.steps:
            prefix = tuple(t for step in steps for t in step.token_ids)
            carried = (steps[-1].carried if steps else None) or UNSET
            left = Sampling(0.0, 1.0, 96 - len(prefix))
            now = replace(asked, params=left, to_end=False, token_ids=prefix, carried=carried)
            (reply,) = await model.engine.generate([now])
            assert isinstance(reply, Completion)
            steps += reply.steps
        assert [(s.text, s.token_ids) for s in steps] == [(s.text, s.token_ids) for s in whole.steps]


def planned(strategy: str, folder: Path, *more: str) -> Plan:
    keys = [
        "task=gsm8k", f"task.path={shared(BENCHMARKS['gsm8k'])}", "task.limit=2", "task.max_steps=3",
        "task.max_step_tokens=24", "task.max_tokens=48", f"strategy={strategy}", "budget=4",
        "engine=transformers", f"engine.model={folder}", "engine.chat=true", "verifier=self_certainty",
        "run_dir=outputs/none", *more,
    ]  # fmt: skip
    return only_composed(keys, plan_of)


def judge(name: str, model: Model, plan: Plan) -> Verifier | None:
    if name == "self_certainty":
        backend = DirectBackend(model.engine)
        return SelfCertaintyVerifierConfig().open(backend, plan.task, {})
    if name == "likelihood":
        return LikelihoodVerifier(LikelihoodVerifierConfig(model.config), model.engine, model.tokenizer)
    config = GenerativeVerifierConfig(model.config, **JUDGE)
    return GenerativeVerifier(config, model.engine, model.tokenizer)


@pytest.mark.parametrize("verifier", ["self_certainty", "likelihood", "generative"])
@pytest.mark.parametrize("strategy", ["particle_filter", "best_of_n", "self_consistency"])
async def test_a_search_runs_through(strategy: str, verifier: str, model: Model, table: Table) -> None:
    plan, results = planned(strategy, model.folder), list[ProblemResult]()
    controller = Controller(plan.strategy, model.engine, judge(verifier, model, plan), plan.task)
    begun = time.monotonic()
    await controller.run(plan.task.problems(0, 2), results.append)
    assert [result.error for result in results] == [None, None]
    assert all(result.candidates for result in results)
    num_tokens = sum(result.usage.generated_tokens for result in results)
    table.append((f"{strategy}, {verifier}", f"{num_tokens} tokens in {time.monotonic() - begun:.1f} s"))


async def test_the_policy_judges_its_own_steps(model: Model, table: Table) -> None:
    """Every reward is a number between 0 and 1, and the prefix comes from the cache; with each question."""
    plan, results = planned("best_of_n", model.folder, "verifier=self_evaluation"), list[ProblemResult]()
    config, backend = plan.verifier, DirectBackend(model.engine)
    assert isinstance(config, SelfEvaluationVerifierConfig)
    restart = config.open(backend, plan.task, {})
    controller = Controller(replace(plan.strategy, num_samples=2), model.engine, restart, plan.task)  # type: ignore[type-var]
    (problem,) = plan.task.problems(0, 1)
    await controller.run([problem], results.append)
    found = {"restart": ([c.trajectory.rewards for c in results[0].candidates], results[0].usage)}
    for name in ("correct", "digit"):
        asked = replace(config, question=name)
        model.engine.check_options(name, asked.asked.text, asked.asked.options)
        texts = [c.trajectory for c in results[0].candidates]
        plain = [t.with_steps([replace(s, reward=None) for s in t.steps]) for t in texts]
        requests = [score_request(problem, t, prefix=policy_prefix(problem, plan.task, t)) for t in plain]
        replies = await asked.open(backend, plan.task, {}).score(requests)
        scored = [r for r in replies if isinstance(r, ScoreReply)]
        found[name] = ([r.rewards for r in scored], total([r.usage for r in scored]))
    for name, (rewards, usage) in found.items():
        values = [reward.value for each in rewards for reward in each]
        assert len(values) == sum(len(c.trajectory.steps) for c in results[0].candidates)
        assert all(0 < value < 1 for value in values)
        assert usage.cached_reward_tokens > usage.reward_tokens > 0
        figures = f"{usage.reward_tokens} tokens read and {usage.cached_reward_tokens} cached"
        table.append(
            (f"self_evaluation, {name}", f"rewards {min(values):.2f} to {max(values):.2f}, {figures}")
        )


async def test_a_search_resumes_in_the_middle(model: Model, tmp_path: Path) -> None:
    """What was answered is not generated again, and the result is that of the undisturbed search."""
    plan = planned("particle_filter", model.folder)
    problem: Problem = next(plan.task.problems(0, 1))

    def judging(engine: EngineBase) -> Verifier | None:
        return judge("likelihood", replace(model, engine=engine), plan)

    undisturbed = Stopping(model.engine, after=100)
    whole = await solved(plan, undisturbed, judging(undisturbed), problem, tmp_path / "whole")
    stopped = Stopping(model.engine, after=1)
    with pytest.raises(asyncio.CancelledError):
        await solved(plan, stopped, judging(stopped), problem, tmp_path / "cut")
    resumed = Stopping(model.engine, after=100)
    again = await solved(plan, resumed, judging(resumed), problem, tmp_path / "cut")
    assert again.candidates == whole.candidates
    assert again.usage.generated_tokens == whole.usage.generated_tokens
    assert stopped.num_calls + resumed.num_calls == undisturbed.num_calls


class Stopping(EngineBase):
    """Cancels the search at its call after the first ``after`` ones."""

    def __init__(self, inner: EngineBase, after: int) -> None:
        self.inner, self.after, self.num_calls = inner, after, 0

    async def generate(self, requests: Sequence[GenerateRequest]) -> Any:
        self._count()
        return await self.inner.generate(requests)

    async def loglik(self, requests: Sequence[Any]) -> Any:
        self._count()
        return await self.inner.loglik(requests)

    def _count(self) -> None:
        if self.num_calls == self.after:
            raise asyncio.CancelledError
        self.num_calls += 1


async def solved(plan: Plan, engine: Any, verifier: Any, problem: Problem, run_dir: Path) -> ProblemResult:
    os.makedirs(run_dir, exist_ok=True)
    journals = Journals(run_dir)
    try:
        return await Controller(plan.strategy, engine, verifier, plan.task, journals=journals).solve(problem)
    finally:
        journals.close()


async def test_a_server_gives_the_same_texts(
    model: Model, tmp_path: Path, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By token ids, by texts, and as a chat; the server honours seeds."""
    from actors.openai_engine.config import OpenAIEngineConfig

    monkeypatch.setenv(KEY_VARIABLE, KEY)
    requests = [request(question) for question in questions(4)]
    expected = await texts(model.engine, requests)
    arguments = [
        "--served-model-name=smol", "--host=127.0.0.1", "--enforce-eager", "--dtype=float32",
        "--max-num-seqs=16", "--kv-cache-memory-bytes=536870912", "--max-model-len=2048", f"--api-key={KEY}",
    ]  # fmt: skip
    with started_server(tmp_path / "log", str(model.folder), arguments) as server:
        url = server.wait()
        tokenizer = str(model.folder)
        for knobs in ({}, {"prompts": "text"}, {"api": "chat", "tokenizer": tokenizer}):
            engine = OpenAIEngineConfig("smol", url, chat=True, api_key_env=KEY_VARIABLE, **knobs).build()
            begun = time.monotonic()
            replies = await engine.generate(requests)
            timed(table, f"engine=openai {knobs or ''}".strip(), sum(map(len, expected)), begun)
            shown = ["".join(step.text for step in reply.steps) for reply in replies]
            assert shown == [model.tokenizer.decode(ids, skip_special_tokens=True) for ids in expected], knobs
            assert all(reply.steps[-1].finish is Finish.LENGTH for reply in replies)
            assert engine.info.seeds_honoured is True
            await engine.close()


async def test_a_gguf_file_is_the_same_model(gguf: Path, model: Model) -> None:
    engine = replace(model.config, model=str(gguf)).build()
    requests = [request(question) for question in questions(2)]
    assert await texts(engine, requests) == await texts(model.engine, requests)
    await engine.close()


async def test_a_mixture_runs_through_with_a_judge_by_constraints(model: Model, table: Table) -> None:
    """The prior, the list, the judgements, the trials after a draft; no gain is expected of 135 M parameters.

    It states a score now and then: a judgement without one has the reward 0.5 here.
    """
    keys = [
        "task=gsm8k", f"task.path={shared(BENCHMARKS['gsm8k'])}", "task.limit=2", "task.max_steps=2",
        "task.max_step_tokens=16", "task.max_tokens=32", "strategy=mixture", "budget=5", "strategy.trials=2",
        "strategy.arms.tree_of_thoughts.strategy.num_thoughts=2",
        "strategy.prior_sampling.max_tokens=32", "engine=transformers", f"engine.model={model.folder}",
        "engine.chat=true", "verifier=constraints", "verifier.sampling.max_tokens=48",
        "verifier.missing=0.5", "run_dir=outputs/none",
    ]  # fmt: skip
    plan, results, begun = only_composed(keys, plan_of), list[ProblemResult](), time.monotonic()
    judging = Said(plan.verifier.open(DirectBackend(model.engine), plan.task, {}))
    await Controller(plan.strategy, model.engine, judging, plan.task).run(
        plan.task.problems(0, 2), results.append
    )
    assert [result.error for result in results] == [None, None]
    for result in results:
        assert result.solution is not None
        records = result.solution.history
        assert [r.role for r in records if isinstance(r, RoleRecord)] == ["select"]
        trials = [r for r in records if isinstance(r, TrialRecord)]
        assert [r.number for r in trials] == [1, 2]
        assert all(r.draft is not None and r.num_dropped == 0 for r in trials)
        assert {t.prompt.role for t in result.solution.trajectories if t.prompt} == {"revise"}
        assert set(result.by_role) == {"constraints", "revise", "score", "select"}
    assert len(judging.lists) == 2 and all(each.text.strip() for each in judging.lists)
    read = [r.parsed for x in results if x.solution for r in x.solution.history if isinstance(r, RoleRecord)]
    share = f"{sum(r.parsed for r in judging.judged)} of {len(judging.judged)} judgements"
    shown = f"read: {share}, {sum(read)} of {len(read)} priors; {time.monotonic() - begun:.1f} s"
    table.append(("mixture, constraints", shown))


class Said(VerifierBase):
    """A verifier that keeps what it says: its lists of constraints, and its judgements."""

    def __init__(self, inner: Verifier | None) -> None:
        assert inner is not None
        self.inner, self.lists, self.judged = inner, list[Reasons](), list[Reasons]()

    @property
    def info(self) -> ModelInfo:
        return self.inner.info

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        replies = await self.inner.score(requests)
        for asked, reply in zip(requests, replies, strict=True):
            assert isinstance(reply, ScoreReply), reply
            (self.judged if asked.steps else self.lists).extend(reply.reasons)
        return replies
