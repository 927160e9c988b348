"""What a stranger's server may do to whoever asks it: be busy, say nothing, say too much, repeat the key."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import re
import socket
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote

import anyio
import httpx2
import pytest

from actors.openai_engine.bounded_http import Fetched
from actors.openai_engine.client import Access, Client, served_model
from actors.openai_engine.proxies import proxy_of
from actors.openai_engine.redaction import Secret, one_line
from actors.openai_engine.replies import Later, Refused, _retry_after, read_reply
from orchestrator.errors import ConfigError, EngineError
from tests.actors.raw_server import RawServer, http, raw_server

KEY_VARIABLE, KEY = "MURMURATION_STRANGER_KEY", "sk-Fake-0123456789-never+to/be-seen"
DONE = {"choices": [{"text": "7"}], "usage": {"completion_tokens": 1}}
PROXIES = [f"{s}_proxy" for s in ("http", "https", "all", "no")]


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv(KEY_VARIABLE, KEY)


def fetched(body: Any, status: int = 200, **headers: str) -> Fetched:
    data = (
        body
        if isinstance(body, bytes)
        else body.encode()
        if isinstance(body, str)
        else json.dumps(body).encode()
    )
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fetched("http://server/v1/completions", status, named, data)


def kind_of(reply: Fetched) -> str:
    """``later`` or ``never`` or ``done``, and what was said."""
    try:
        read_reply(reply, Secret(None))
    except Later as error:
        return f"later {error}"
    except Refused as error:
        return f"never {error}"
    return "done"


@pytest.mark.parametrize(
    "status", [408, 409, 420, 424, 425, 429, 460, 499, 500, 502, 503, 504, 520, 522, 524, 529, 530, 598]
)
def test_statuses_that_may_pass(status: int) -> None:
    assert kind_of(fetched({"error": {"message": "wait"}}, status)).startswith("later")


@pytest.mark.parametrize(
    "status", [300, 304, 307, 400, 401, 402, 403, 404, 405, 407, 413, 422, 451, 501, 505, 511, 999]
)
def test_statuses_that_will_not(status: int) -> None:
    assert kind_of(fetched({"error": {"message": "no"}}, status)).startswith("never")


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        # An error inside a 200, by its code.
        (
            fetched({"error": {"message": "The provider is down", "code": 503}}),
            "later",
            "The provider is down",
        ),
        (fetched({"error": {"message": "slow down", "code": "429"}}), "later", "slow down"),
        (fetched({"error": {"message": "bad", "code": 400}}), "never", "bad (400)"),
        (fetched({"error": {"message": "overloaded?", "code": 401}}), "never", "overloaded?"),
        (fetched({"code": 429, "message": "too fast"}), "later", "too fast"),
        (fetched({"code": 429}), "later", "429"),
        (fetched({"status": 502, "title": "Bad Gateway"}), "later", "Bad Gateway"),
        (fetched({"code": 1302, "msg": "rate limit reached"}), "later", "rate limit reached"),
        # By its type.
        (fetched({"error": {"message": "x", "type": "overloaded_error"}}), "later", "x"),
        (fetched({"type": "error", "error": {"type": "rate_limit_error", "message": "x"}}), "later", "x"),
        (fetched({"error": {"message": "x", "type": "invalid_request_error"}}), "never", "x"),
        (fetched({"error": {"message": "x", "type": "server_error", "code": None}}), "later", "x"),
        (fetched([{"error": {"message": "x", "status": "UNAVAILABLE"}}]), "later", "x"),
        (fetched([{"error": {"message": "x", "status": "PERMISSION_DENIED"}}]), "never", "x"),
        # By its words alone.
        (fetched({"error": "The model is currently overloaded"}), "later", "currently overloaded"),
        (fetched({"detail": "Service temporarily unavailable"}), "later", "temporarily unavailable"),
        (fetched({"detail": [{"loc": ["body"], "msg": "field required"}]}), "never", "field required"),
        (fetched({"message": "no Route matched with those values"}), "never", "no Route matched"),
        (fetched({"errors": [{"message": "upstream timed out"}]}), "later", "upstream timed out"),
        (fetched({"choices": None, "message": "please retry"}), "later", "please retry"),
        (
            fetched({"choices": [{"finish_reason": "error", "error": {"code": 502, "message": "up"}}]}),
            "later",
            "up",
        ),
        # Beside counts, with other keys than are known, and where a completion says nothing of why.
        (fetched({"choices": [], "usage": {}, "code": 503, "msg": "no worker"}), "later", "no worker (503)"),
        (fetched({"choices": None, "usage": {}, "message": "bad prompt"}), "never", "bad prompt"),
        (fetched({"Message": "Too Many Requests"}), "later", "Too Many Requests"),
        (fetched({"__type": "AccessDeniedException"}), "never", "AccessDeniedException"),
        (fetched({"error": True, "message": "QPS limit"}), "later", "QPS limit"),
        (fetched({"choices": [{"text": "ab", "finish_reason": "error"}]}), "later", "with an error"),
        # An account that has to be changed, whatever its status.
        (fetched({"error": {"message": "x", "code": "insufficient_quota"}}, 429), "later", "x"),
        (fetched({"error": {"message": "You exceeded your current quota"}}, 429), "never", "current quota"),
        (fetched({"error": {"message": "x", "code": "insufficient_quota"}}), "never", "x"),
        # What is no JSON.
        (fetched(b""), "later", "empty reply"),
        (fetched(b"  \r\n"), "later", "empty reply"),
        (fetched(b"", 204), "later", "empty reply"),
        (
            fetched("<html><title>Busy</title><body>Please try again</body></html>"),
            "later",
            "'Busy Please try again'",
        ),
        (fetched("<html><head><style>p {}</style></head>Log in"), "never", "'Log in'"),
        (fetched("<html>Bad\x1b[31m gateway</html>", 502), "later", "HTTP 502: Bad [31m gateway"),
        (fetched("upstream connect error or disconnect/reset before headers"), "later", "upstream connect"),
        (fetched("Hello"), "never", "not JSON: 'Hello'"),
        (fetched('{"choices": [{"text": "ab'), "later", "not JSON"),
        (fetched('data: {"error": {"message": "busy", "code": 503}}\n\ndata: [DONE]\n\n'), "later", "busy"),
        (fetched('data: {"choices": [{"text": "a"}]}\n\n'), "never", "a stream of events"),
        (fetched(b"\xff\xfe{}"), "never", "UTF-8"),
        (fetched("[" * 100_000), "never", "nested too deeply"),
        (fetched("9" * 10_000), "never", "not JSON"),
        (fetched("null"), "never", "not a JSON object"),
        # What the server asks for comes first.
        (fetched({"error": "x"}, 400, x_should_retry="true"), "later", "x"),
        (fetched({"error": "x"}, 503, x_should_retry="false"), "never", "x"),
        (fetched({"error": {"message": "x", "code": 503}}, x_should_retry="false"), "never", "x"),
        (fetched(b"", 302, location="http://me:pw@else/x"), "never", "redirects to http://else/x"),
        # Successes.
        (fetched(b"\xef\xbb\xbf\n\n" + json.dumps(DONE).encode()), "done", ""),
        (fetched({**DONE, "error": None, "message": "hello", "code": 0}), "done", ""),
        (fetched({**DONE, "error": None}, 201), "done", ""),
        (fetched({**DONE, "error": {"code": 0, "message": "", "details": None}}), "done", ""),
    ],
)
def test_what_a_reply_means(reply: Fetched, kind: str, words: str) -> None:
    found = kind_of(reply)
    assert found.startswith(kind)
    assert words in found
    assert len(found) < 700
    assert found.isprintable()


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        (
            {
                "retry-after": format_datetime(NOW + timedelta(seconds=9), usegmt=True),
                "date": format_datetime(NOW, usegmt=True),
            },
            9.0,
        ),
        ({"retry-after": format_datetime(NOW, usegmt=True)}, 0.0),
        *[
            ({"retry-after": text}, None)
            for text in ("", "soon", "nan", "inf", "-5", "1e9", "9" * 5000, "Mon, 99 Foo")
        ],
    ],
)
def test_how_long_a_server_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert _retry_after(headers) == seconds


FORMS: dict[str, Callable[[str], str]] = {
    "itself": str,
    "capitals": str.upper,
    "bearer": "Bearer {}".format,
    "inside": "x{}y".format,
    "beginning": lambda key: key[:20],
    "end": lambda key: key[9:],
    "backwards": lambda key: key[::-1],
    "url": lambda key: quote(key, safe=""),
    "url twice": lambda key: quote(quote(key, safe=""), safe=""),
    "url, every letter": lambda key: "".join(f"%{ord(c):02x}" for c in key),
    "json": lambda key: "".join(f"\\u{ord(c):04x}" for c in key),
    "json twice": lambda key: "".join(f"\\\\u{ord(c):04X}" for c in key),
    "python": lambda key: "".join(f"\\x{ord(c):02x}" for c in key),
    "html": lambda key: "".join(f"&#{ord(c)};" for c in key),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 for urls": lambda key: base64.urlsafe_b64encode(key.encode()).decode().rstrip("="),
    "base64 bearer": lambda key: base64.b64encode(f"Bearer {key}".encode()).decode(),
    "base64 password": lambda key: base64.b64encode(f":{key}".encode()).decode(),
    "base64 inside": lambda key: base64.b64encode(f"me:{key}!".encode()).decode(),
    "hex": lambda key: key.encode().hex(),
    "HEX": lambda key: key.encode().hex().upper(),
    "spaces": " ".join,
    "zeros": "\x00".join,
    "invisible": "\u200b".join,
    "header": lambda key: json.dumps({"Authorization": f"Bearer {key}"}),
    "where a message is cut": lambda key: "a" * 290 + key,
    "where reading ends": lambda key: "a" * 8180 + key,
}


def parts(text: str) -> list[str]:
    """What of the key a text holds: parts of nine characters, in any of the usual forms."""
    low = re.sub(r"[^!-~]", "", text).lower()
    grams = [KEY.lower()[i : i + 9] for i in range(len(KEY) - 8)]
    coded = [base64.b64encode(b"x" * n + KEY.encode())[8:-4].decode().lower() for n in range(3)]
    return [g for g in (*grams, *(g[::-1] for g in grams), *coded, KEY.encode().hex()) if g in low]


@pytest.mark.parametrize("form", FORMS)
def test_a_key_is_taken_out_of_what_a_server_says(form: str) -> None:
    said = f"wrong key: {FORMS[form](KEY)}, and more"
    shown = Secret(KEY).clean(said)
    assert not parts(shown)
    assert "%" not in shown and "\\" not in shown and "&#" not in shown
    assert len(shown) <= 300


@pytest.mark.parametrize("form", sorted(FORMS.keys() - {"beginning", "end"}))
def test_a_models_text_that_holds_the_key_is_found(form: str) -> None:
    secret = Secret(KEY)
    assert secret.is_in(f"The answer is {FORMS[form](KEY)}.")
    assert not secret.is_in("The answer is sk-Fake-01234567, never to be seen." * 100)


def test_placeholders_are_no_keys() -> None:
    assert not Secret("EMPTY").is_in("The set is EMPTY.")
    assert Secret(None).clean("a\x1b[31mb\n\u202ec\ud800") == "a [31mb c"
    assert one_line("x" * 10_000) == "x" * 300


@contextlib.contextmanager
def client(server: RawServer, **knobs: Any) -> Iterator[Client]:
    knobs = {"max_attempts": 1, "max_wait_s": 0.1, "request_timeout_s": 5.0, **knobs}
    yield Client(Access(server.url, KEY_VARIABLE, 4, None, **knobs))


async def failure_of(*scripts: Any, **knobs: Any) -> tuple[str, int]:
    """The error of one request, and how often it was asked."""
    with raw_server(*scripts) as server, client(server, **knobs) as asking:
        with pytest.raises(EngineError) as caught:
            await asking.post("completions", {"max_tokens": 8, "prompt": "5"})
        await asking.close()
        assert not parts(repr(caught.value) + repr(caught.value.__cause__))
        return str(caught.value), len(server.requests)


def bomb(wbits: int, layers: int = 1) -> bytes:
    data = b'{"a":"' + b"x" * 2**26
    for _ in range(layers):
        packer = zlib.compressobj(1, zlib.DEFLATED, wbits)
        data = packer.compress(data) + packer.flush()
    return data


@pytest.mark.parametrize(
    ("encoding", "packing"), [("gzip", (31,)), ("deflate", (15,)), ("gzip, gzip", (31, 2))]
)
@pytest.mark.heavy
async def test_a_packed_reply_is_bounded_while_it_is_unpacked(
    encoding: str, packing: tuple[int, ...]
) -> None:
    packed = bomb(*packing)
    tracemalloc.start()
    message, _ = await failure_of(http(packed, content_encoding=encoding))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "longer than the" in message
    assert peak < 40 * 2**20, f"{peak:,} bytes for {len(packed):,}"


def forever(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(b" " * 2**16)


def chunks_without_end(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(b"10000\r\n" + b"9" * 2**16 + b"\r\n")


def headers_without_end(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(b"a: " + b"9" * 2**16 + b"\r\n")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (forever, "longer than the"),
        (chunks_without_end, "longer than the"),
        (headers_without_end, "RemoteProtocolError"),
        (http(b"{}", content_encoding="br"), "packed as br"),
        (http(b"{}", content_encoding="zstd"), "packed as zstd"),
        (http(b"{}", content_encoding=", ".join(["gzip"] * 9)), "packed 9 times over"),
        (http(b"{}", content_encoding="gzip"), "cannot be unpacked"),
        (http(gzip.compress(b"{}" * 99)[:-9], content_encoding="gzip"), "ends early"),
        (http(b"{}", length=99), "RemoteProtocolError"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}", "RemoteProtocolError"),
        (b"", "RemoteProtocolError"),
        (b"\x16\x03\x01", "RemoteProtocolError"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n{}", "RemoteProtocolError"),
        (f"HTTP/1.1 {KEY}\r\n\r\n".encode(), "RemoteProtocolError"),
        (f"HTTP/1.1 200 OK\r\n{KEY}\r\n\r\n".encode(), "RemoteProtocolError"),
        (http("", 307, location=f"http://127.0.0.1:1/{KEY}"), "redirects to"),
        (http({"error": {"message": f"wrong key: {KEY}"}}, 401), "wrong key: (key)"),
        (http({"error": {"message": "x", "type": KEY}}), "with an error: x"),
    ],
)
async def test_what_is_no_reply_is_an_error_that_says_what(script: Any, words: str) -> None:
    started = time.monotonic()
    message, _ = await failure_of(script)
    assert words in message
    assert message.isprintable()
    assert time.monotonic() - started < 4


def dripping_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(b" ")
            time.sleep(0.05)


def dripping_head(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        for byte in b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 10_000:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)


def dripping_packed(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n")
    with contextlib.suppress(OSError):
        for byte in gzip.compress(b"9" * 2**20):
            connection.sendall(bytes([byte]))
            time.sleep(0.05)


@pytest.mark.parametrize("script", [dripping_body, dripping_head, dripping_packed])
@pytest.mark.heavy
async def test_a_reply_is_bounded_in_time_from_its_start_to_its_end(script: Any) -> None:
    started = time.monotonic()
    message, requests = await failure_of(script, request_timeout_s=0.3, max_attempts=2)
    assert "no whole reply within 0.3 s" in message
    assert requests == 2
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("script", [dripping_body, dripping_head])
@pytest.mark.heavy
def test_so_is_the_list_of_models(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.openai_engine.client._CONNECT_TIMEOUT_S", 0.3)
    with raw_server(script) as server, pytest.raises(ConfigError, match=r"no whole reply within 0.3 s"):
        served_model(Access(server.url, None, 1, None, 1, 0.1, 5.0), "m")


@pytest.mark.parametrize(
    ("reply", "line"),
    [
        (http(bomb(31), content_encoding="gzip"), "longer than the"),
        (http({"data": [{"id": f"x {KEY}"}, {"id": 5}, {}, None, 7]}), r"engine.model=m: .*: x \(key\)$"),
        (http({"data": [{"id": "x" * 10_000}]}), r"engine.model=m: .*x{300}$"),
        (http({"data": {"id": "m"}}), "names no model"),
        (http({"data": []}), "names no model"),
        (http({"object": "list"}), "names no model"),
        (http({"error": {"message": f"no: {KEY}"}}, 403), r"refuses the key: .*HTTP 403: no: \(key\)"),
        (http("<html>Busy</html>", 503), "does not answer as it should: .*HTTP 503: Busy"),
        (http({"error": {"message": "down", "code": 503}}), "does not answer as it should: .*down"),
        (
            http("", 301, location="https://else/v1/models"),
            "redirects to https://else/v1/models: name the server",
        ),
        (http("<html>Hello</html>"), "must be an OpenAI-compatible server: .*not JSON"),
        (http("[" * 99_999), "nested too deeply"),
    ],
)
def test_a_list_of_models_is_no_more_trusted(reply: bytes, line: str) -> None:
    with raw_server(reply) as server, pytest.raises(ConfigError, match=line) as caught:
        served_model(Access(server.url, KEY_VARIABLE, 1, None, 1, 0.1, 5.0), "m")
    assert not parts(str(caught.value))


@pytest.mark.parametrize("key", ["a\nb", "sk-ü", "a b\x00"])
def test_a_key_that_no_header_can_hold_is_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "\x00" in key:
        key = "a\x1bb"
    monkeypatch.setenv(KEY_VARIABLE, key)
    with pytest.raises(ConfigError, match="printable ASCII") as caught:
        served_model(Access("http://127.0.0.1:9/v1", KEY_VARIABLE, 1, None, 1, 0.1, 5.0), "m")
    assert key not in str(caught.value)


async def test_a_busy_gateway_is_asked_again_until_it_answers() -> None:
    busy = [
        http({"error": {"message": "overloaded", "code": 503}}),
        http("<html>Bad gateway</html>", 520),
        b"",
        http(b"{", length=99),
    ]
    with raw_server(*busy, http(DONE)) as server, client(server, max_attempts=6, max_wait_s=0.01) as asking:
        assert await asking.post("completions", {"max_tokens": 8, "prompt": "5"}) == DONE
        await asking.close()
        assert len(server.requests) == 5


@pytest.mark.parametrize(
    ("asked", "longest", "waits"),
    [
        ("0", 30.0, [(0.001, 0.001)] * 3),
        ("7", 30.0, [(7.0, 7.0)] * 3),
        ("86400", 30.0, [(30.0, 30.0)] * 3),
        ("86400", 900.0, [(120.0, 120.0)] * 3),
        ("soon", 30.0, [(0.375, 0.5), (0.75, 1.0), (1.5, 2.0)]),
        ("soon", 0.6, [(0.375, 0.5), (0.6, 0.6), (0.6, 0.6)]),
    ],
)
async def test_a_wait_is_what_the_server_asks_for_up_to_the_longest_allowed(
    asked: str, longest: float, waits: list[tuple[float, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it doubles from half a second, a quarter less at the least."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(anyio, "sleep", sleep)
    busy = [http({"error": "busy"}, 503, retry_after=asked)] * 3
    with (
        raw_server(*busy, http(DONE)) as server,
        client(server, max_attempts=4, max_wait_s=longest) as asking,
    ):
        assert await asking.post("completions", {"max_tokens": 8, "prompt": "5"}) == DONE
        await asking.close()
    assert len(slept) == 3
    assert all(low <= wait <= high for wait, (low, high) in zip(slept, waits, strict=True)), slept


@pytest.mark.parametrize("key_variable", [None, KEY_VARIABLE])
async def test_what_is_meant_for_another_server_is_not_sent(
    key_variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The official client takes a key, an account and headers from variables of its own."""
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", "for-another-server")
    monkeypatch.setenv(
        "OPENAI_CUSTOM_HEADERS", "Authorization: Bearer for-another-server\nX-Own: another-server"
    )
    monkeypatch.setenv("OPENAI_BASE_URL", "http://another-server/v1")
    with raw_server(http(DONE)) as server:
        asking = Client(Access(server.url, key_variable, 4, None, 1, 0.1, 5.0))
        assert await asking.post("completions", {"prompt": "5"}) == DONE
        await asking.close()
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0] == "post /v1/completions http/1.1"
    assert sorted(line.split(":")[0] for line in lines[1:]) == sorted(
        ["accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent"]
        + ["authorization"] * (key_variable is not None)
    )
    assert b"another-server" not in server.requests[0]
    assert (f"Bearer {KEY}".encode() in head) == (key_variable is not None)
    assert json.loads(body) == {"prompt": "5"}


async def test_what_will_not_pass_is_asked_once() -> None:
    _, requests = await failure_of(http({"error": {"message": "x", "code": 401}}), max_attempts=6)
    assert requests == 1


@pytest.mark.parametrize(
    ("url", "environ", "shown"),
    [
        *[
            (f"http://{host}:8000/v1", {"http_proxy": "http://p:1", "all_proxy": "http://p:1"}, None)
            for host in (
                "127.0.0.1",
                "127.5.6.7",
                "localhost",
                "LOCALHOST",
                "a.localhost",
                "[::1]",
                "0.0.0.0",
                "127.1",
                "[::ffff:127.0.0.1]",
            )
        ],
        ("http://192.0.2.1/v1", {"http_proxy": "http://p:1"}, "HTTP_PROXY=http://p:1"),
        ("http://192.0.2.1/v1", {"HTTP_PROXY": "me:secret@p:1"}, "HTTP_PROXY=http://p:1"),
        ("https://192.0.2.1/v1", {"http_proxy": "http://p:1"}, None),
        ("https://192.0.2.1/v1", {"ALL_PROXY": "http://p:1"}, "ALL_PROXY=http://p:1"),
        *[
            ("http://192.0.2.1:8000/v1", {"http_proxy": "http://p:1", "no_proxy": no}, None)
            for no in (
                "*",
                "192.0.2.1",
                "a, 192.0.2.1",
                "a 192.0.2.1",
                "192.0.2.0/24",
                "192.0.2.1:8000",
                "http://192.0.2.1",
            )
        ],
        *[
            (
                "http://192.0.2.1:8000/v1",
                {"http_proxy": "http://p:1", "no_proxy": no},
                "HTTP_PROXY=http://p:1",
            )
            for no in ("", "192.0.2.10", "192.0.3.0/24", "192.0.2.1:80", "2.1", "example.org")
        ],
        *[
            ("http://a.invalid/v1", {"http_proxy": "http://p:1", "no_proxy": no}, None)
            for no in ("a.invalid", "invalid", ".invalid", "*.invalid", "A.INVALID", "invalid:80")
        ],
        (
            "http://a.invalid/v1",
            {"http_proxy": "http://p:1", "no_proxy": "b.invalid,valid"},
            "HTTP_PROXY=http://p:1",
        ),
        ("http://[2001:db8::1]/v1", {"http_proxy": "http://p:1", "no_proxy": "2001:db8::/32"}, None),
        ("http://[2001:db8::1]/v1", {"http_proxy": "http://p:1", "no_proxy": "[2001:db8::1]:80"}, None),
    ],
)
def test_which_proxy_is_asked(
    url: str, environ: dict[str, str], shown: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    found = proxy_of(url)
    assert (found and found.shown) == shown


@pytest.mark.parametrize(
    "proxy", ["socks5://me:secret@p:1", "ftp://me:secret@p", "http://", "http://me:secret@p:abc"]
)
def test_a_proxy_that_cannot_be_asked_is_refused(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(ConfigError, match=r"^HTTP_PROXY=") as caught:
        proxy_of("http://192.0.2.1/v1")
    assert "secret" not in str(caught.value)


async def test_a_server_here_is_asked_directly_and_one_elsewhere_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with (
        raw_server(http({"error": {"message": "no such host"}}, 502)) as proxy,
        raw_server(http(DONE)) as server,
    ):
        monkeypatch.setenv(
            "HTTP_PROXY", proxy.url.replace("http://", "http://me:secret@").removesuffix("/v1")
        )
        with client(server) as asking:
            assert await asking.post("completions", {"prompt": "5"}) == DONE
            await asking.close()
        assert not proxy.requests
        with pytest.raises(
            ConfigError, match=r"502: no such host \(through the proxy of HTTP_PROXY=http://127"
        ) as caught:
            served_model(Access("http://192.0.2.1/v1", None, 1, None, 1, 0.1, 5.0), "m")
        assert "secret" not in str(caught.value)
        assert proxy.requests[0].startswith(b"GET http://192.0.2.1/v1/models ")


def test_httpx_would_ask_the_proxy_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why proxies are chosen here: where this fails, httpx2 has learnt it."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with pytest.raises(httpx2.ConnectError), raw_server(http(DONE)) as server:
        httpx2.get(server.url)
