"""Bytes that no client should send: refused in OpenAI's shape, and the connection ends."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from orchestrator.serving.connection import Connection
from orchestrator.serving.hosts import is_known
from tests.orchestrator.serving.served import Server, fake_served, running
from tests.orchestrator.serving.test_hostile_requests import GOOD
from tests.orchestrator.serving.test_load_and_cancel import num_tasks, until

pytestmark = pytest.mark.heavy

POST = b"POST /v1/chat/completions HTTP/1.1\r\n"
HOST = b"Host: localhost\r\nContent-Type: application/json\r\n"
BODY = json.dumps(GOOD).encode()
WHOLE = POST + HOST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch, running(fake_served(body_timeout_s=0.3)) as server:
        patch.setattr(Connection, "head_s", 0.3)
        patch.setattr(Connection, "unread_s", 0.3)
        yield server


def connected(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def answer(connection: socket.socket) -> bytes:
    """Everything until the server closes the connection, which resets it where it has more to read."""
    received = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(2**16):
            received += piece
    return received


def peers(server: Server) -> set[object]:
    """The addresses of the clients that are connected."""
    return {connection.client for connection in server.connections()}


RAW = [
    (b"\x16\x03\x01 a handshake of TLS\r\n\r\n", 400, b"this is no HTTP request"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, b"this is no HTTP request"),
    (POST + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, b"this is no"),
    (POST + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400, b"this is no HTTP"),
    (POST + HOST + b"Content-Length: -5\r\n\r\n", 400, b"this is no HTTP request"),
    (POST + HOST + b"Content-Length: 99999999\r\n\r\n{", 413, b"the body must be at most"),
    (POST + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, b"this is no HTTP request"),
    (POST + HOST + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", 415, b"content-encoding: must"),
    (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 400, b"host: without keys"),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\nConnection: close\r\n\r\n", 400, b"host: without"),
    (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 70_000, 431, b"at most 65,536 bytes"),
    (b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 20_000, 431, b"at most 65,536 bytes"),
    (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 70_000 + b"\r\n\r\n", 431, b"at most 65,536 bytes"),
    (b"GET /" + b"a" * 200_000, 431, b"at most 65,536 bytes"),
    (b"GET / HTT", 408, b"the headers did not arrive within 0.3 s"),
    (b"", 408, b"the headers did not arrive within 0.3 s"),
    (POST + HOST + b"Content-Length: 500\r\n\r\n{", 408, b"the body did not arrive within 0.3 s"),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "status", "message"), RAW, ids=range(len(RAW)))
def test_a_request_that_is_none(server: Server, sent: bytes, status: int, message: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(sent)
        head, _, body = answer(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert message in body and body.startswith(b'{"error":{')


def test_a_body_without_an_end_is_cut_off(server: Server) -> None:
    def send(connection: socket.socket) -> None:
        connection.sendall(POST + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(10_000):
            connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

    with connected(server) as connection, pytest.raises((BrokenPipeError, ConnectionResetError)):
        send(connection)


def test_a_drip_of_headers_is_cut_off(server: Server) -> None:
    def send(connection: socket.socket) -> None:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        for _ in range(1000):
            connection.sendall(b"X: y\r\n")
            time.sleep(0.02)

    with connected(server) as connection, pytest.raises((BrokenPipeError, ConnectionResetError)):
        send(connection)


def test_a_client_that_does_not_read_is_cut_off(server: Server) -> None:
    whole = len(server.http().get("/").content)
    with connected(server) as connection:
        # More than the buffers of both sides hold.
        connection.sendall((b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * 20)
        connection.recv(1)
        until(lambda: server.on_loop(lambda: connection.getsockname() not in peers(server)))
        assert len(answer(connection)) < 20 * whole


def test_requests_in_a_row_are_answered_in_turn(server: Server) -> None:
    last = WHOLE.replace(HOST, HOST + b"Connection: close\r\n")
    with connected(server) as connection:
        connection.sendall(WHOLE * 2 + last)
        assert answer(connection).count(b"HTTP/1.1 200 OK") == 3


def test_a_client_that_leaves_within_its_body_is_no_failure(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    before = num_tasks(server)
    with connected(server) as connection:
        connection.sendall(POST + HOST + b"Content-Length: 500\r\n\r\n{")
        until(lambda: num_tasks(server) > before)
    until(lambda: num_tasks(server) <= before)
    assert caplog.text == ""


def test_nothing_is_left(server: Server) -> None:
    assert server.on_loop(server.service.gauges)["rows_in_flight"] == 0
    assert server.http().post("/v1/chat/completions", json=GOOD).status_code == 200


def test_names_of_this_machine() -> None:
    for host in ("localhost", "localhost:8000", "127.0.0.1:1", "127.0.0.2", "[::1]", "[::1]:80"):
        assert is_known([host]), host
    for hosts in ([], [""], ["evil.example"], ["10.0.0.1"], ["localhost.evil.example"], ["localhost"] * 2):
        assert not is_known(hosts), hosts
