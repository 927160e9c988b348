"""A server on loopback that holds a reward model: what a test wants of it is a function."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Reply = tuple[int, dict[str, str], Any]
Answer = Callable[[str, dict[str, Any]], Reply | dict[str, Any]]


class Served:
    """Replies to a POST with ``answer(path, body)``; ``root`` is the model's folder, as vLLM reports it."""

    def __init__(self, answer: Answer, root: str | None = None) -> None:
        self.answer, self.root = answer, root
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.keys: list[str | None] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_args: object) -> None:
                return None

            def do_GET(self) -> None:
                outer.keys.append(self.headers.get("authorization"))
                model = {"id": "prm", "root": outer.root, "max_model_len": 1024}
                self._send((200, {}, {"data": [model]}))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.asked.append((self.path, body))
                reply = outer.answer(self.path, body)
                self._send((200, {}, reply) if isinstance(reply, dict) else reply)

            def _send(self, reply: Reply) -> None:
                status, headers, value = reply
                data = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                for name, text in {**headers, "content-length": str(len(data))}.items():
                    self.send_header(name, text)
                self.end_headers()
                self.wfile.write(data)

        return Handler


@contextmanager
def serving(answer: Answer, folder: Path | None = None) -> Iterator[Served]:
    served = Served(answer, None if folder is None else str(folder))
    try:
        yield served
    finally:
        served.close()
