"""A server that speaks as a test says, and the replies of an honest one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from actors.openai_engine.probing import SEEDS
from tests.actors.small_models import ALPHABET

KEY = "MURMURATION_SCRIPTED_KEY"
Reply = tuple[int, dict[str, str], Any]


def honest(body: dict[str, Any]) -> Reply:
    """A reply of a server that honours seeds, and takes n."""
    texts = [str(body["seed"] + i) for i in range(body.get("n", 1))]
    choices = [{"text": text, "message": {"content": text}} for text in texts]
    return 200, {}, {"choices": choices}


class Scripted:
    """A server on loopback whose replies a test writes: one a request, the last one for ever.

    Several replies are for requests that come one after another: no order is promised to those in flight at
    once, and a test of these writes one reply that reads the request. The engine's probe is answered by
    ``probed``, from its seed, and not recorded.
    """

    def __init__(self) -> None:
        self.replies: list[Reply | Callable[[dict[str, Any]], Reply]] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.times: list[float] = []
        self.num_open = self.most_open = 0
        self.delay = 0.0
        self.probed: Callable[[dict[str, Any]], Reply] = honest
        self.gate = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def next_reply(self, body: dict[str, Any]) -> Reply:
        with self.gate:
            self.bodies.append(body)
            self.times.append(time.monotonic())
            assert len(self.replies) == 1 or self.num_open == 1, "which request gets which reply is chance"
            reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return reply(body) if callable(reply) else reply

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_args: object) -> None:
                return None

            def do_GET(self) -> None:
                outer.keys.append(self.headers.get("authorization"))
                if outer.keys[-1] == "Bearer wrong":
                    self._send(401, {}, {"error": {"message": "invalid key"}})
                else:
                    self._send(200, {}, {"data": [{"id": "m", "max_model_len": 64}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if body.get("seed") in SEEDS:
                    self._send(*outer.probed(body))
                    return
                with outer.gate:
                    outer.num_open += 1
                    outer.most_open = max(outer.most_open, outer.num_open)
                time.sleep(outer.delay)
                status, headers, reply = outer.next_reply(body)
                with outer.gate:
                    outer.num_open -= 1
                self._send(status, headers, reply)

            def _send(self, status: int, headers: dict[str, str], reply: Any) -> None:
                data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

        return Handler


IDS = {c: i for i, c in enumerate(["<pad>", "<bos>", "<eos>", *sorted(set(ALPHABET))])}


def said(text: str, *, reason: str = "stop", stop: Any = None, eos: bool = False, **more: Any) -> Reply:
    """A reply with ``text`` as tokens and as text."""
    ids = [IDS[c] for c in text] + [IDS["<eos>"]] * eos
    choice = {
        "text": text,
        "token_ids": ids,
        "finish_reason": reason,
        "stop_reason": stop,
        "logprobs": {"token_logprobs": [-0.5] * len(ids)},
        **more,
    }
    usage = {"prompt_tokens": 7, "completion_tokens": len(ids), "prompt_tokens_details": {"cached_tokens": 4}}
    return 200, {}, {"choices": [choice], "usage": usage}
