"""``engine.api=chat``: whole answers of a server that offers nothing else, several in one request."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from actors.openai_engine.config import OpenAIEngineConfig
from actors.openai_engine.messages import shares
from actors.verifiers.config import LikelihoodVerifierConfig
from orchestrator.errors import ConfigError
from orchestrator.protocols import Completion, Failure, GenerateInChat, GenerateRequest
from orchestrator.types import Denoising, Finish, Sampling, Turn, Usage
from tests.actors.openai_engine.scripted import IDS, KEY, Reply, Scripted


def request(seed: int = 0, **other: Any) -> GenerateRequest:
    fields = {"params": Sampling(0.8, 1.0, 40), "delimiter": "\n", "answer_marker": "#", "to_end": True}
    return GenerateRequest(
        **{"home": "p", "question": "2+3", "instruction": "Think.", "token_ids": (), "seed": seed}
        | fields
        | other
    )


def answer(text: str | None, *, reason: str = "stop", pieces: list[str] | None = None) -> dict[str, Any]:
    """A choice; ``pieces`` are its tokens, each with the log-probability -0.5."""
    choice: dict[str, Any] = {"message": {"content": text}, "finish_reason": reason}
    if pieces is not None:
        listed = [{"token": p, "logprob": -0.5, "bytes": list(p.encode())} for p in pieces]
        choice["logprobs"] = {"content": listed}
    return choice


def said(*choices: dict[str, Any], generated: int = 12, prompt: int = 9, cached: int = 4) -> Reply:
    usage = {"prompt_tokens": prompt, "completion_tokens": generated}
    details = {"prompt_tokens_details": {"cached_tokens": cached}}
    indexed = [{"index": i, **choice} for i, choice in enumerate(choices)]
    return 200, {}, {"choices": indexed, "usage": usage | details}


def chat(engine: Any, **knobs: Any) -> Any:
    return engine(**{"api": "chat", "tokenizer": None, "logprobs": False, **knobs})


async def one(policy: Any, **fields: Any) -> Completion | Failure:
    (reply,) = await policy.generate([request(**fields)])
    assert isinstance(reply, Completion | Failure)
    return reply


async def test_a_request_holds_the_messages_and_its_parameters(server: Scripted, engine: Any) -> None:
    server.replies = [said(answer("a\n#5\n"))]
    knobs = {"chat_options": {"enable_thinking": False}, "extra_body": {"top_k": 5}}
    await one(chat(engine, **knobs), seed=11)
    (body,) = server.bodies
    assert body == {
        "model": "m",
        "messages": [{"role": "system", "content": "Think."}, {"role": "user", "content": "2+3"}],
        "chat_template_kwargs": {"enable_thinking": False},
        "top_k": 5,
        "temperature": 0.8,
        "top_p": 1.0,
        "seed": 11,
        "max_tokens": 40,
    }


async def test_rows_that_differ_in_their_seed_are_one_request(server: Scripted, engine: Any) -> None:
    two, alone = said(answer("aaa"), answer("b"), generated=8), said(answer("c"), generated=2)
    server.replies = [lambda body: two if body["seed"] == 1 else alone]
    policy = chat(engine)
    replies = await policy.generate([request(1), request(2), request(3, question="4+5")])
    assert [(b["seed"], b.get("n")) for b in sorted(server.bodies, key=lambda b: b["seed"])] == [
        (1, 2),
        (3, None),
    ]
    texts = {reply.steps[0].text for reply in replies}
    assert texts == {"aaa", "b", "c"}
    first, second, third = (reply.usage for reply in replies)
    assert (first + second).generated_tokens == 8, "what the server counted, and no more"
    assert (first.prompt_tokens, second.prompt_tokens, third.prompt_tokens) == (9, 0, 9)


TURNS = (Turn("system", "Be brief."), Turn("user", "1+1"), Turn("assistant", "2"))


def in_chat(seed: int = 0, history: tuple[Turn, ...] = TURNS) -> GenerateInChat:
    plain = request(seed)
    values = {field.name: getattr(plain, field.name) for field in fields(plain)}
    return GenerateInChat(**values, history=history)


async def test_earlier_turns_are_messages_before_the_question(server: Scripted, engine: Any) -> None:
    """A system message among them comes before the instruction, as with a chat template."""
    server.replies = [said(answer("a"))]
    policy = chat(engine)
    assert policy.info.takes_history
    await policy.generate([in_chat()])
    (body,) = server.bodies
    assert [(m["role"], m["content"]) for m in body["messages"]] == [
        ("system", "Be brief.\n\nThink."),
        ("user", "1+1"),
        ("assistant", "2"),
        ("user", "2+3"),
    ]


async def test_rows_after_other_turns_are_another_request(server: Scripted, engine: Any) -> None:
    server.replies = [lambda body: said(*[answer(body["messages"][-2]["content"])] * body.get("n", 1))]
    other = (*TURNS[:2], Turn("assistant", "3"))
    replies = await chat(engine).generate([in_chat(1), in_chat(2, other), in_chat(3), request(4)])
    assert [reply.steps[0].text for reply in replies] == ["2", "3", "2", "Think."]
    assert sorted(body.get("n", 1) for body in server.bodies) == [1, 1, 2]


async def test_a_server_that_ignores_n_gets_a_request_for_each(server: Scripted, engine: Any) -> None:
    def ignores_n(body: dict[str, Any]) -> Reply:
        return 200, {}, {"choices": [{"message": {"content": str(body["seed"])}}]}

    server.probed, server.replies = ignores_n, [said(answer("a"))]
    await chat(engine).generate([request(1), request(2)])
    assert sorted(b["seed"] for b in server.bodies) == [1, 2]
    assert all("n" not in b for b in server.bodies)


async def test_max_n_bounds_the_answers_of_one_request(server: Scripted, engine: Any) -> None:
    def as_many(body: dict[str, Any]) -> Reply:
        return said(*(answer(f"a{body['seed']}") for _ in range(body.get("n", 1))))

    server.replies = [as_many]
    await chat(engine, max_n=2).generate([request(i) for i in range(5)])
    assert sorted(b.get("n", 1) for b in server.bodies) == [1, 2, 2]


@pytest.mark.parametrize(
    ("text", "reason", "steps", "finish"),
    [
        ("a\nb\n#5\nc\n", "stop", ["a\n", "b\n", "#5\n"], Finish.STEP),
        ("a\n#5", "stop", ["a\n", "#5"], Finish.EOS),
        ("a\n#5", "length", ["a\n", "#5"], Finish.LENGTH),
        ("a\nb", "length", ["a\n", "b"], Finish.LENGTH),
        ("a\n", "stop", ["a\n"], Finish.EOS),
        ("", "stop", [""], Finish.EOS),
    ],
)
async def test_an_answer_is_cut_into_steps_up_to_the_one_that_answers(
    server: Scripted, engine: Any, text: str, reason: str, steps: list[str], finish: Finish
) -> None:
    for knobs, pieces in (({}, None), ({"logprobs": True}, [*text, "<end>"] if text else ["<end>"])):
        server.replies = [said(answer(text, reason=reason, pieces=pieces), generated=len(text) + 1)]
        reply = await one(chat(engine, **knobs))
        assert isinstance(reply, Completion)
        assert [s.text for s in reply.steps] == steps
        assert [s.finish for s in reply.steps] == [Finish.STEP] * (len(steps) - 1) + [finish]
        assert reply.usage == Usage(len(text) + 1, 9, 4)
        assert sum(len(s.token_ids) for s in reply.steps) <= len(text) + 1


async def test_listed_tokens_give_each_step_its_length_and_log_probability(
    server: Scripted, engine: Any
) -> None:
    server.replies = [said(answer("é\nb\n#5\n", pieces=["é", "\n", "b\n", "#", "5\n", "<end>"]), generated=6)]
    reply = await one(chat(engine, logprobs=True))
    assert isinstance(reply, Completion)
    assert [(s.text, len(s.token_ids), s.logprob) for s in reply.steps] == [
        ("é\n", 2, -1.0),
        ("b\n", 1, -0.5),
        ("#5\n", 2, -1.0),
    ]


async def test_tokens_that_do_not_make_the_text_are_not_used(server: Scripted, engine: Any) -> None:
    """As where a server cuts white space off, or lists the tokens of a thought too."""
    for pieces in (["x", "\n"], ["a"], ["a", "\n", "b", "c"], [" ", "a", "\n"]):
        server.replies = [said(answer("a\n", pieces=pieces), generated=4)]
        reply = await one(chat(engine, logprobs=True))
        assert isinstance(reply, Completion)
        assert [(s.text, s.logprob) for s in reply.steps] == [("a\n", None)], pieces


async def test_a_tokenizer_here_gives_the_ids(server: Scripted, engine: Any, tokenizer_folder: str) -> None:
    server.replies = [said(answer("a\n#5\n"))]
    reply = await one(chat(engine, tokenizer=tokenizer_folder))
    assert isinstance(reply, Completion)
    assert [s.token_ids for s in reply.steps] == [tuple(IDS[c] for c in text) for text in ("a\n", "#5\n")]


async def test_a_limit_under_its_new_name(server: Scripted, engine: Any) -> None:
    def new(body: dict[str, Any]) -> Reply:
        if "max_tokens" in body:
            message = "max_tokens is not supported: use 'max_completion_tokens' instead"
            return 400, {}, {"error": {"message": message}}
        return said(answer("a"))

    server.replies = [new]
    policy = chat(engine)
    assert isinstance(await one(policy), Completion)
    assert isinstance(await one(policy), Completion)
    assert ["max_tokens" in b for b in server.bodies] == [True, False, False]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"to_end": False}, "whole answers alone"),
        ({"token_ids": (5,)}, "whole answers alone"),
        ({"params": Denoising()}, "takes Sampling, not Denoising"),
        ({"params": Sampling(0.8, 1.0, 0)}, "max_tokens >= 1"),
        ({"delimiter": ""}, "the step delimiter is empty"),
    ],
)
async def test_what_a_chat_cannot_do_fails_and_is_not_sent(
    server: Scripted, engine: Any, fields: dict[str, Any], words: str
) -> None:
    reply = await one(chat(engine), **fields)
    assert isinstance(reply, Failure) and words in reply.message
    assert server.bodies == []


OK = answer("a")
HOSTILE: list[tuple[str, Reply]] = [
    ("answers were requested", said()),
    ("answers were requested", said(OK, OK)),
    ("not objects", (200, {}, {"choices": [5], "usage": {"completion_tokens": 1}})),
    ("not the ones", said({**OK, "index": 3})),
    ("not the ones", said({**OK, "index": True})),
    ("no message", said({"finish_reason": "stop"})),
    ("no message", said({"message": "a", "finish_reason": "stop"})),
    ("must be a text", said({"message": {"content": ["a"]}, "finish_reason": "stop"})),
    ("half a character", said(answer("a\ud83d"))),
    ("ended the request: tool_calls", said(answer("a", reason="tool_calls"))),
    ("ended the request: content_filter", said(answer("a", reason="content_filter"))),
    ("no usage", (200, {}, {"choices": [OK]})),
    ("usage.completion_tokens", said(OK, generated=41)),
    ("usage.completion_tokens", said(OK, generated=-1)),
    ("usage.prompt_tokens", said(OK, prompt=10**9)),
    ("counts no tokens: set engine.tokenizer", said(OK, generated=0)),
    ("not JSON", (200, {}, b"no json")),
    ("longer than the", (200, {}, b'{"choices": "' + b"x" * 2**22 + b'"}')),
    ("redirects to", (307, {"location": "http://elsewhere/v1"}, b"")),
]
LISTED: list[tuple[str, Any]] = [
    ("no log-probabilities", None),
    ("no log-probabilities", {"content": None}),
    ("41 log-probabilities", {"content": [{"token": "a", "logprob": 0.0}] * 41}),
    ("not of tokens", {"content": ["a"]}),
    ("not finite", {"content": [{"token": "a", "logprob": float("nan")}]}),
    ("above 0", {"content": [{"token": "a", "logprob": 1.0}]}),
    ("must be a text", {"content": [{"token": 5, "logprob": -1.0}]}),
    ("must be a text", {"content": [{"token": 5, "bytes": [300], "logprob": -1.0}]}),
]


async def test_nothing_that_a_server_says_is_trusted(server: Scripted, engine: Any) -> None:
    policy, listing = chat(engine), chat(engine, logprobs=True)
    replies = [(policy, words, reply) for words, reply in HOSTILE]
    replies += [(listing, words, said({**OK, "logprobs": given})) for words, given in LISTED]
    for each, words, reply in replies:
        server.replies = [reply]
        failure = await one(each)
        assert isinstance(failure, Failure), words
        assert words in failure.message
        assert len(failure.message) < 500 and failure.message.isprintable()
    server.replies = [said(OK)]
    assert isinstance(await one(policy), Completion)


async def test_fewer_answers_than_requested_fail_their_rows_alone(server: Scripted, engine: Any) -> None:
    server.replies = [lambda body: said(OK)]
    first, second, third = await chat(engine).generate([request(1), request(2), request(3, question="9")])
    assert isinstance(first, Failure) and isinstance(second, Failure) and isinstance(third, Completion)
    assert "2 answers were requested, the server returned 1: set engine.max_n=1" in first.message


async def test_a_text_that_repeats_the_key_is_not_kept(
    server: Scripted, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "abc012345678")
    server.replies = [said(answer("a abc012345678\n"))]
    reply = await one(chat(engine, api_key_env=KEY))
    assert isinstance(reply, Failure) and "repeats the key" in reply.message


def test_a_verifier_that_reads_likelihoods_refuses_a_chat() -> None:
    chat = OpenAIEngineConfig("m", "http://127.0.0.1:9/v1", api="chat")
    line = r"^verifier\.engine\.api=chat: gives no likelihoods, which this verifier reads$"
    with pytest.raises(ConfigError, match=line):
        LikelihoodVerifierConfig(chat)


@pytest.mark.parametrize(
    ("total", "weights", "most", "given"),
    [
        (10, [3, 2], 40, [6, 4]),
        (10, [9, 1], 6, [6, 4]),
        (12, [1, 1, 1], 4, [4, 4, 4]),
        (7, [0, 0], 5, [4, 3]),
        (0, [5, 5], 5, [0, 0]),
        (5, [1, 0, 1], 3, [2, 0, 3]),
    ],
)
def test_shares_add_up(total: int, weights: list[float], most: int, given: list[int]) -> None:
    assert shares(total, weights, most) == given
    with pytest.raises(ValueError, match="is above"):
        shares(most * len(weights) + 1, weights, most)
