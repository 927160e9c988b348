"""What counts as a secret in a configuration, and that its value is never shown."""

import time

import pytest

from orchestrator.errors import ConfigError
from orchestrator.storage.secret_keys import check_config, check_no_secrets

CANARY = "sk-canary-4711"


@pytest.mark.parametrize(
    ("argument", "key"),
    [
        (f"engine.api_key={CANARY}", "engine.api_key"),
        (f"+engine.extra_body.api_key={CANARY}", "engine.extra_body.api_key"),
        (f"++engine.args.hf_token='{CANARY}'", "engine.args.hf_token"),
        (f"+engine.extra_body={{user: me, password: {CANARY}}}", "engine.extra_body.password"),
        (f"+engine.extra_body={{'Authorization': {CANARY}}}", "engine.extra_body.Authorization"),
        (f"tracker.entity=https://me:{CANARY}@example.org/", "tracker.entity"),
        (f"engine.base_url=http://me:{CANARY}@127.0.0.1:8000/v1", "engine.base_url"),
        (f"engine.base_url=https://{CANARY}@example.org/v1", "engine.base_url"),
        (f"engine.base_url=https://example.org/v1?api_key={CANARY}", "engine.base_url"),
        (f"engine.base_url='https://example.org/v1?v=2&Key={CANARY}'", "engine.base_url"),
        (f"engine.base_url=https://example.org/v1?api%5Fkey={CANARY}", "engine.base_url"),
        (f"engine.base_url=https://example.org?code={CANARY}-{CANARY}", "engine.base_url"),
        (f"task.path=https://example.org/rows.jsonl?sv=1;sig={CANARY}", "task.path"),
        (f"task.path=s3://bucket/rows?X-Amz-Signature={CANARY}", "task.path"),
        (f"task.path=https://example.org/rows#access_token={CANARY}", "task.path"),
        (f"+tracker.urls=[https://a, 'https://b?subscription-key={CANARY}']", "tracker.urls"),
        ("engine.base_url=https://example.org/v1?token=${oc.env:" + CANARY + "}", "engine.base_url"),
        (f"cluster.address=ray://me:{CANARY}@head:10001", "cluster.address"),
        (f"engine.base_url=https://me%3A{CANARY}@example.org/v1", "engine.base_url"),
        (f"engine.api_key_env={CANARY}", "engine.api_key_env"),
        (f"verifier.engine.api_key_env={CANARY}", "verifier.engine.api_key_env"),
        (f"aws_secret_access_key={CANARY}", "aws_secret_access_key"),
    ],
)
def test_a_secret_on_the_command_line_is_refused_and_not_shown(argument: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_no_secrets(["strategy=greedy", argument])
    assert str(caught.value).startswith(f"{key}=(not shown): ")
    assert CANARY not in repr(caught.value)


@pytest.mark.parametrize(
    "argument",
    [
        "engine.api_key_env=OPENAI_API_KEY",
        "engine.api_key_env=null",
        "engine.base_url=http://127.0.0.1:8000/v1",
        "task.max_tokens=7",
        "verifier.options.step_tag=key",
        "+engine.extra_body={min_tokens: 3, top_k: 20}",
        "+verifier.options.good_token=+",
        "limits.generated_tokens=10",
        "engine.template='Question: {question}'",
        "--config-dir=/etc/x",
        "run_dir=/data/api_key",
        "engine.base_url=https://example.org/v1/api_key/keys?version=2024-01-01&key=",
        "engine.base_url=http://[::1]:8000/v1",
        "task.path=https://example.org/tokens/rows.jsonl?code=python",
        "tracker.entity=ssh://git@example.org/x",
        "task.path=https://example.org/@me/rows?monkey=1",
    ],
)
def test_what_only_looks_like_one_is_not(argument: str) -> None:
    check_no_secrets([argument])


def test_a_configuration_is_searched_to_its_leaves() -> None:
    check_config({"engine": {"api_key_env": "KEY", "extra_body": {"stop": ["a", None]}, "api_key": None}})
    for node in (
        {"engine": {"args": {"hf_token": CANARY}}},
        {"verifier": {"engine": {"urls": ["https://a", f"https://me:{CANARY}@b"]}}},
    ):
        with pytest.raises(ConfigError) as caught:
            check_config(node)
        assert CANARY not in repr(caught.value)


def test_a_long_text_is_searched_in_little_time() -> None:
    started = time.monotonic()
    for text in ("a" * 200_000, "https://" * 20_000, "https://a?" + "key=&" * 40_000, "://" + "@" * 200_000):
        check_config({"task": {"path": text}})
    assert time.monotonic() - started < 5
