"""The transformers engine against the library's own forward, and against itself in every company."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from actors.batching.sampling import sample, uniforms
from actors.text.alphabet import UNWRITABLE
from actors.transformers_engine.config import TransformersEngineConfig
from actors.transformers_engine.engine import TransformersEngine
from actors.transformers_engine.slots import Settings, SlotTable
from orchestrator.errors import ConfigError
from orchestrator.protocols import OVERFLOW, Completion, Failure, GenerateRequest, LoglikRequest
from orchestrator.types import Denoising, Finish, Sampling, Step
from tests.actors.small_models import ask, completed
from tests.laws import chi_square_excess

QUESTIONS = ["5 a+1", "12 b*3 c-4", "7", "9 a/3 b+2 c*5", "1 h-1"]


def mixed_requests(num: int) -> list[GenerateRequest]:
    """Requests that differ in everything that may differ."""
    rng = np.random.default_rng(0)
    return [
        ask(
            QUESTIONS[i % len(QUESTIONS)],
            token_ids=tuple(rng.integers(3, 29, rng.integers(0, 30)).tolist()) if i % 3 else (),
            seed=int(rng.integers(2**63)),
            to_end=bool(i % 2),
            temperature=float(rng.choice([0.0, 0.7, 1.3])),
            top_p=float(rng.choice([1.0, 0.8])),
            max_tokens=int(rng.integers(1, 60)),
        )
        for i in range(num)
    ]


def steps(replies: list[Completion | Failure]) -> list[tuple[Step, ...]]:
    return [reply.steps for reply in completed(replies)]


@cache
def load_plain(folder: Path) -> tuple[Any, Any]:
    """The model and its tokenizer as the library runs them."""
    return LlamaForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def naive_tokens(folder: Path, request: GenerateRequest) -> list[int]:
    """One request by whole forwards of the library, without caches, batches or steps."""
    model, tokenizer = load_plain(folder)
    assert isinstance(request.params, Sampling)
    ids = [*tokenizer(request.question + "\n")["input_ids"], *request.token_ids]
    generated: list[int] = []
    while len(generated) < request.params.max_tokens:
        with torch.inference_mode():
            logits = model(torch.tensor([ids + generated])).logits[:, -1]
        uniform = uniforms(np.array([request.seed], np.uint64), np.array([len(generated)]))
        temperature, top_p = np.array([request.params.temperature]), np.array([request.params.top_p])
        generated.append(int(sample(logits, temperature, top_p, uniform)[0][0]))
        if generated[-1] == tokenizer.eos_token_id:
            break
        if tokenizer.decode(generated[-1:]) == request.delimiter:
            text = tokenizer.decode(generated).removesuffix("\n").rpartition("\n")[2]
            if not request.to_end or "#" in text:
                break
    return generated


async def test_tokens_are_those_of_whole_forwards(engine: TransformersEngine, policy: Path) -> None:
    requests = mixed_requests(24)
    for request, reply in zip(requests, completed(await engine.generate(requests)), strict=True):
        assert [t for s in reply.steps for t in s.token_ids] == naive_tokens(policy, request)


async def test_greedy_is_the_librarys_generate(engine: TransformersEngine, policy: Path) -> None:
    model, tokenizer = load_plain(policy)
    requests = [ask(q, to_end=True, temperature=0.0, marker=None, max_tokens=60) for q in QUESTIONS]
    for request, reply in zip(requests, completed(await engine.generate(requests)), strict=True):
        prompt = tokenizer(request.question + "\n", return_tensors="pt")["input_ids"]
        expected = model.generate(prompt, do_sample=False, max_new_tokens=60, pad_token_id=0)[
            0, prompt.shape[1] :
        ]
        assert [t for s in reply.steps for t in s.token_ids] == expected.tolist()
        assert "".join(s.text for s in reply.steps) == tokenizer.decode(expected, skip_special_tokens=True)


async def test_logprobs_are_those_of_the_full_forward(engine: TransformersEngine, policy: Path) -> None:
    model, tokenizer = load_plain(policy)
    requests = mixed_requests(12)
    replies = completed(await engine.generate(requests))
    asked = [
        LoglikRequest("h", r.question, "", r.token_ids, tuple(s.token_ids for s in reply.steps))
        for r, reply in zip(requests, replies, strict=True)
    ]
    for request, reply, loglik in zip(asked, replies, await engine.loglik(asked), strict=True):
        assert not isinstance(loglik, Failure)
        prefix = (*tokenizer(request.question + "\n")["input_ids"], *request.token_ids)
        ids = torch.tensor([*prefix, *(t for s in request.steps for t in s)])
        with torch.inference_mode():
            logprobs = torch.log_softmax(model(ids[None]).logits[0].double(), -1)
        expected, position = [], len(prefix)
        for step in request.steps:
            rows = range(position - 1, position - 1 + len(step))
            expected.append(sum(float(logprobs[r, t]) for r, t in zip(rows, step, strict=True)))
            position += len(step)
        assert loglik.logprobs == pytest.approx(expected, rel=1e-6, abs=1e-5)
        assert [s.logprob for s in reply.steps] == pytest.approx(expected, rel=1e-6, abs=1e-5)
        assert loglik.usage.prompt_tokens == len(ids)


async def test_a_reply_is_bitwise_the_same_in_any_company(policy: Path, num_threads: int) -> None:
    """Alone, in any batch, order and batch size; with a cold, a warm, a tiny and no prefix cache."""
    requests = mixed_requests(28)
    cold = TransformersEngine(TransformersEngineConfig(str(policy)), num_threads=num_threads)
    assert cold.info.batch_invariant
    reference = steps(await cold.generate(requests))
    assert steps(await cold.generate(requests)) == reference, "warm"
    order = np.random.default_rng(1).permutation(len(requests))
    for options in ({"max_batch_size": 1}, {"max_batch_size": 7, "cache_bytes": 40_000}, {"cache_bytes": 0}):
        other = TransformersEngine(TransformersEngineConfig(str(policy), **options), num_threads=num_threads)
        calls = await asyncio.gather(*(other.generate([requests[i]]) for i in order))
        assert [steps(reply)[0] for reply in calls] == [reference[i] for i in order], options
        await other.close()
    await cold.close()


async def test_late_requests_join_a_running_batch(engine: TransformersEngine) -> None:
    requests = mixed_requests(30)
    reference = steps(await engine.generate(requests))

    async def late(i: int) -> tuple[Step, ...]:
        await asyncio.sleep(0.003 * i)
        return steps(await engine.generate([requests[i]]))[0]

    long = ask(seed=99, marker=None, to_end=True, delimiter="zz", max_tokens=200)
    begun = engine.stats()["forwards"]
    *others, _ = await asyncio.gather(*map(late, range(30)), engine.generate([long]))
    assert others == reference
    assert engine.stats()["forwards"] - begun < sum(len(s.token_ids) for r in reference for s in r)


async def test_step_by_step_equals_to_the_end(engine: TransformersEngine, policy: Path) -> None:
    """Greedy, so that the counters of the random numbers do not matter; the prefix may be cold or warm."""
    fresh = TransformersEngine(TransformersEngineConfig(str(policy), cache_bytes=0))
    for question in QUESTIONS:
        whole = completed(await engine.generate([ask(question, to_end=True, temperature=0.0)]))[0].steps
        token_ids: tuple[int, ...] = ()
        for index, step in enumerate(whole[:-1] if whole[-1].finish is Finish.LENGTH else whole):
            request = ask(question, token_ids=token_ids, temperature=0.0)
            for each in (engine, fresh):
                assert completed(await each.generate([request]))[0].steps == (step,), index
            token_ids += step.token_ids
    await fresh.close()


async def test_usage_counts_what_was_served_and_computed(policy: Path) -> None:
    engine = TransformersEngine(TransformersEngineConfig(str(policy)))
    num_parameters = sum(p.numel() for p in LlamaForCausalLM.from_pretrained(policy).parameters())
    request = ask("5 a+1", seed=3)
    first, sibling = completed(await engine.generate([request, replace(request, seed=4)]))
    prompt = len("5 a+1\n") + 1
    generated = len(first.steps[0].token_ids)
    assert (first.usage.prompt_tokens, first.usage.cached_tokens) == (prompt, 0)
    assert first.usage.generated_tokens == generated
    assert first.usage.flops == 2.0 * num_parameters * (prompt + generated - 1)
    assert sibling.usage.cached_tokens == prompt - 1, "computed once for both"
    again = completed(await engine.generate([replace(request, token_ids=first.steps[0].token_ids)]))[0]
    assert again.usage.prompt_tokens == prompt + generated
    assert again.usage.cached_tokens == prompt + generated - 1, "all but the token that was never fed"
    spent = [first.usage, sibling.usage, again.usage]
    assert engine.stats()["generated_tokens"] == sum(u.generated_tokens for u in spent) == engine.progress - 6
    await engine.close()


async def test_every_finish_reason(engine: TransformersEngine, policy: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(policy)
    requests = [ask(q, seed=s, to_end=s % 2 == 0) for q in QUESTIONS for s in range(40)]
    seen = set()
    for request, reply in zip(requests, completed(await engine.generate(requests)), strict=True):
        *before, last = reply.steps
        assert all(s.finish is Finish.STEP and "#" not in s.text for s in before)
        assert request.to_end or not before
        seen.add((request.to_end, last.finish))
        for step in reply.steps:
            assert tokenizer.decode(step.token_ids, skip_special_tokens=True) == step.text
            assert (step.token_ids[-1] == tokenizer.eos_token_id) == (step.finish is Finish.EOS)
            assert step.text.count("\n") == step.text.endswith("\n")
            assert step.finish is not Finish.STEP or step.text.endswith("\n")
        if last.finish is Finish.LENGTH:
            assert reply.usage.generated_tokens == request.params.max_tokens
        if request.to_end and last.finish is Finish.STEP:
            assert "#" in last.text
    assert seen == {
        (end, finish) for end in (True, False) for finish in (Finish.STEP, Finish.EOS, Finish.LENGTH)
    }


async def test_a_limit_at_the_end_of_a_step(engine: TransformersEngine) -> None:
    """One step is whole; a text that should have continued to its end is cut off."""
    request = ask(seed=0, marker=None, max_tokens=200)
    step = next(
        r.steps[0]
        for r in completed(await engine.generate([replace(request, seed=s) for s in range(9)]))
        if r.steps[0].finish is Finish.STEP
    )
    seeds = [
        s
        for s in range(9)
        if completed(await engine.generate([replace(request, seed=s)]))[0].steps == (step,)
    ]
    exact = replace(request, seed=seeds[0], params=Sampling(0.8, 1.0, len(step.token_ids)))
    one, cut, answered = completed(
        await engine.generate(
            [exact, replace(exact, to_end=True), replace(exact, to_end=True, answer_marker=step.text[0])]
        )
    )
    assert one.steps == answered.steps == (step,)
    assert cut.steps == (replace(step, finish=Finish.LENGTH),)


async def test_the_context_is_a_limit_of_its_own(engine: TransformersEngine) -> None:
    prefix = tuple([7] * (256 - 7 - 4))  # a prompt of 7 tokens leaves room for 4 more
    fits, full, over = await engine.generate(
        [
            ask("5 a+1", token_ids=prefix, max_tokens=99, delimiter="zz"),
            ask("5 a+1", token_ids=prefix + (7,) * 4),
            ask("5 a+1", token_ids=prefix + (7,) * 50),
        ]
    )
    assert isinstance(fits, Completion)
    assert fits.steps[-1].finish in (Finish.LENGTH, Finish.EOS)
    assert fits.usage.generated_tokens <= 4
    for failure in (full, over):
        assert isinstance(failure, Failure)
        assert failure.type == "ContextOverflow"
    # A step that ends with the context is the last there can be.
    last = await engine.generate(
        [ask("5 a+1", token_ids=prefix + (7,) * 3, delimiter=c) for c in "0123456789=abcdefgh"]
    )
    assert {s.finish for (s,) in steps(last)} <= {Finish.LENGTH, Finish.EOS}


async def test_bad_requests_fail_alone(engine: TransformersEngine) -> None:
    good = ask(seed=5)
    denoising = replace(good, params=Denoising(8, 8, 8))
    bad = [
        denoising,
        replace(good, token_ids=(29,)),
        replace(good, token_ids=(-1,)),
        replace(good, params=Sampling(0.8, 0.0)),
        replace(good, params=Sampling(-1.0)),
        replace(good, params=Sampling(max_tokens=0)),
        replace(good, delimiter=""),
        replace(good, question="Name each error."),
        replace(good, room=256),
    ]
    replies = await engine.generate([good, *bad, good])
    assert [r.type for r in replies[-3:-1] if isinstance(r, Failure)] == [UNWRITABLE, OVERFLOW]
    assert all(isinstance(r, Failure) for r in replies[1:-1])
    assert steps([replies[0]]) == steps([replies[-1]]) == steps(await engine.generate([good]))
    assert await engine.generate([]) == []


async def test_sampled_tokens_follow_the_models_distribution(
    engine: TransformersEngine, policy: Path
) -> None:
    replies = completed(
        await engine.generate([ask("7", seed=s, temperature=1.0, max_tokens=1) for s in range(4000)])
    )
    counts = np.bincount([r.steps[0].token_ids[0] for r in replies], minlength=29)
    tokenizer = AutoTokenizer.from_pretrained(policy)
    with torch.inference_mode():
        ids = tokenizer("7\n", return_tensors="pt")["input_ids"]
        logits = LlamaForCausalLM.from_pretrained(policy).eval()(ids).logits[0, -1]
    expected = torch.softmax(logits.double(), -1).tolist()
    assert chi_square_excess(dict(enumerate(counts.tolist())), dict(enumerate(expected))) < 4


async def test_a_cancelled_caller_gives_its_rows_back(policy: Path) -> None:
    engine = TransformersEngine(TransformersEngineConfig(str(policy), max_batch_size=4))
    endless = [ask(seed=s, delimiter="zz", to_end=True, max_tokens=240) for s in range(12)]
    reference = steps(await engine.generate([ask(seed=1)]))
    call = asyncio.create_task(engine.generate(endless))
    while engine.progress < 60:
        await asyncio.sleep(0.001)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    spent = engine.stats()["forwards"]
    assert steps(await engine.generate([ask(seed=1)])) == reference
    assert engine.stats()["forwards"] - spent < 40, "the cancelled rows were not decoded to their end"
    await engine.close()


async def test_an_engine_outlives_event_loops_and_closes(policy: Path) -> None:
    engine = TransformersEngine(TransformersEngineConfig(str(policy)))
    reference = steps(await engine.generate([ask(seed=1)]))
    in_thread = await asyncio.to_thread(lambda: asyncio.run(engine.generate([ask(seed=1)])))
    assert steps(in_thread) == reference
    call = asyncio.create_task(engine.generate([ask(delimiter="zz", to_end=True, max_tokens=240)]))
    while engine.progress < 20:
        await asyncio.sleep(0.001)
    await engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        await call
    with pytest.raises(RuntimeError, match="closed"):
        await engine.generate([ask()])


async def test_a_failed_forward_fails_its_rows_and_says_when_it_is_hopeless(policy: Path) -> None:
    engine = TransformersEngine(TransformersEngineConfig(str(policy)))
    reference = steps(await engine.generate([ask("5 a+1", seed=1)]))
    trigger = 28

    def break_down(_: torch.nn.Module, __: object, options: dict[str, torch.Tensor]) -> None:
        if (options["input_ids"] == trigger).any():
            raise RuntimeError("CUDA out of memory, for example\nwith a long explanation")

    model = engine._loaded.runner.model
    hook = model.register_forward_pre_hook(break_down, with_kwargs=True)
    for attempt in range(3):
        assert engine.healthy
        failure = (await engine.generate([ask("h", seed=attempt)]))[0]
        assert failure == Failure("RuntimeError", "the model failed: CUDA out of memory, for example")
    assert not engine.healthy
    hook.remove()
    assert steps(await engine.generate([ask("5 a+1", seed=1)])) == reference
    assert engine.healthy
    await engine.close()


async def test_numbers_that_are_not_finite_fail_one_row_and_spoil_no_other(policy: Path) -> None:
    engine = TransformersEngine(TransformersEngineConfig(str(policy)))
    good = [ask(q, seed=s) for q in ("5 a+1", "7") for s in range(20)]
    reference = steps(await engine.generate(good))
    good = [r for r, s in zip(good, reference, strict=True) if "h" not in s[0].text]
    reference = [s for s in reference if "h" not in s[0].text]
    assert len(good) > 5
    with torch.no_grad():
        engine._loaded.runner.model.get_input_embeddings().weight[28] = torch.nan
    for _ in range(2):
        first, *replies, second = await engine.generate([ask("h a+1 b+2 c+3 d+4"), *good, ask("7 h")])
        assert steps(replies) == reference
        assert isinstance(first, Failure)
        assert isinstance(second, Failure)
        assert first.type == second.type == "NonFiniteLogits"
    loglik = await engine.loglik([LoglikRequest("h", q, "", (), ((5, 6),)) for q in ("h", "5")])
    assert isinstance(loglik[0], Failure)
    assert not isinstance(loglik[1], Failure)
    await engine.close()


async def test_a_slot_that_held_no_numbers_serves_the_next_row(policy: Path) -> None:
    engine = TransformersEngine(TransformersEngineConfig(str(policy), max_batch_size=1))
    with torch.no_grad():
        engine._loaded.runner.model.get_input_embeddings().weight[28] = torch.nan
    good = ask("5", temperature=0.0, max_tokens=1)
    reference = steps(await engine.generate([good]))
    broken = await engine.generate([ask("5 a+1 b+2", token_ids=(28,))])
    assert isinstance(broken[0], Failure)
    assert steps(await engine.generate([good])) == reference
    await engine.close()


def test_idle_slots_do_not_widen_a_forward() -> None:
    table = SlotTable(3, 20)
    settings = Settings(seed=0, temperature=1.0, top_p=1.0, max_tokens=9, table=0)
    for slot, length in enumerate((12, 5, 7)):
        table.occupy(slot, np.arange(length), settings)
    table.release(0)
    assert [a.tolist() for a in table.feed(3)] == [[6, 4, 6], [6, 4, 6]]
    assert table.nearest(np.arange(12)) == (0, 6)


def test_rows_close_up_once_many_slots_are_idle() -> None:
    table = SlotTable(8, 20)
    settings = Settings(seed=0, temperature=1.0, top_p=1.0, max_tokens=9, table=0)
    for slot in range(8):
        table.occupy(slot, np.arange(slot + 2), settings)
    for slot in (1, 2, 4):
        table.release(slot)
    assert not len(table.moves()[0])
    for slot in (5, 6):
        table.release(slot)
    sources, targets = table.moves()
    assert (sources.tolist(), targets.tolist()) == ([3, 7], [1, 2])
    table.move(sources, targets)
    assert table.span == 3
    assert table.lengths[:3].tolist() == [1, 4, 8]


async def test_loglik_refuses_what_does_not_fit(engine: TransformersEngine) -> None:
    over, none = await engine.loglik(
        [LoglikRequest("h", "5", "", (), ((5,) * 300,)), LoglikRequest("h", "5", "", (), ())]
    )
    assert isinstance(over, Failure)
    assert over.type == "ContextOverflow"
    assert not isinstance(none, Failure)
    assert none.logprobs == ()


async def test_lower_precision_is_served_and_promises_nothing(policy: Path) -> None:
    engine = TransformersEngine(TransformersEngineConfig(str(policy), dtype="bfloat16"))
    assert not engine.info.batch_invariant
    replies = completed(await engine.generate([ask(q, to_end=True, seed=1) for q in QUESTIONS]))
    assert all(r.steps for r in replies)
    await engine.close()


CHAT = (
    "{% for m in messages %}{{ m.role[0] }}={{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}a={% endif %}"
)


@pytest.mark.parametrize(
    ("options", "instruction", "prompt"),
    [
        ({}, "", "5 a+1\n"),
        ({}, "add", "add\n5 a+1\n"),
        ({"template": "{question}#"}, "add", "5 a+1#"),
        ({"template": "{question}{instruction}"}, "add", "5 a+1add"),
        ({"chat": True}, "", "u=5 a+1\na="),
        ({"chat": True}, "add", "s=add\nu=5 a+1\na="),
        ({"chat": True, "template": "{instruction}-{question}"}, "add", "u=add-5 a+1\na="),
    ],
)
async def test_prompts_are_rendered(
    policy: Path, tmp_path: Path, options: dict[str, object], instruction: str, prompt: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(policy)
    shutil.copytree(policy, tmp_path / "chat")
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(tmp_path / "chat")
    engine = TransformersEngine(TransformersEngineConfig(str(tmp_path / "chat"), **options))
    request = replace(ask("5 a+1", temperature=0.0), instruction=instruction)
    reply = completed(await engine.generate([request]))[0]
    expected = tokenizer(prompt, add_special_tokens="chat" not in options)["input_ids"]
    assert reply.usage.prompt_tokens == len(expected)
    assert engine._prompt_ids("5 a+1", instruction) == tuple(expected)
    await engine.close()


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"model": "/nonexistent"}, "engine.model"),
        ({"model": "embedded:chain-polcy"}, "engine.model"),
        ({"template": "{questoin}"}, "engine.template"),
        ({"template": "{"}, "engine.template"),
        ({"max_batch_size": 0}, "engine.max_batch_size"),
        ({"max_context": 1000}, "engine.max_context"),
        ({"dtype": "float99"}, "engine.dtype"),
        ({"dtype": "bfloat16", "batch_invariant": True}, "engine.batch_invariant"),
    ],
)
def test_bad_configuration_names_its_key(policy: Path, options: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TransformersEngine(TransformersEngineConfig(**{"model": str(policy), **options}))
    assert caught.value.key == key
