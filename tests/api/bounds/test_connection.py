"""Connections of slow clients are closed: headers, rests of bodies, unread responses."""

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.api_server import Served, answer_while_dripping

HEADER = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.fixture
def impatient(served: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    monkeypatch.setattr("api.bounds.connection.HEADER_SECONDS", 0.3)
    return served


def connect(served: Served) -> socket.socket:
    url = served.http.base_url
    return socket.create_connection((url.host, url.port), timeout=20)


def all_of(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65536):  # until the server closes the connection
        received += chunk
    return received


def test_ten_seconds_are_allowed_for_a_header() -> None:
    from api.bounds.connection import HEADER_SECONDS

    assert HEADER_SECONDS == 10.0


def test_a_connection_without_a_byte_is_closed(impatient: Served) -> None:
    with connect(impatient) as connection:
        assert all_of(connection) == b""


def test_a_header_that_comes_byte_by_byte_is_closed(impatient: Served) -> None:
    pieces = (HEADER[number : number + 1] or b"x" for number in range(10_000))
    with connect(impatient) as connection:
        received = answer_while_dripping(connection, pieces)

    assert received.startswith(b"HTTP/1.1 408 ")


def test_the_second_header_of_a_connection_has_as_long_as_the_first(impatient: Served) -> None:
    with connect(impatient) as connection:
        connection.sendall(HEADER + b"\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        connection.sendall(HEADER)

        assert b"HTTP/1.1 408 " in all_of(connection)


def test_a_request_may_take_longer_than_its_header(impatient: Served, clip: bytes) -> None:
    answer = impatient.http.post("/generate", files={"audio": ("a", clip)})
    waited = impatient.http.get(answer.headers["location"], headers={"prefer": "wait=1"})

    assert waited.status_code == 200


def test_the_rest_of_a_refused_body_is_not_read(served: Served) -> None:
    with connect(served) as connection:
        head = b"POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900000000\r\n\r\n"
        connection.sendall(head)
        assert connection.recv(4096).startswith(b"HTTP/1.1 404 ")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(900):
                connection.sendall(bytes(1_000_000))


def test_a_small_rest_of_a_body_leaves_the_connection_open(served: Served) -> None:
    head = b"POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n"
    with connect(served) as connection:
        connection.sendall(head)
        assert connection.recv(4096).startswith(b"HTTP/1.1 404 ")
        connection.sendall(b"0123456789" + HEADER + b"Connection: close\r\n\r\n")

        assert b"HTTP/1.1 200 " in all_of(connection)


def test_a_client_that_does_not_read_is_disconnected(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.bounds.connection.WRITE_SECONDS", 0.3)
    document = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    url = served.http.base_url
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect((url.host, url.port))
        with pytest.raises(OSError):
            while True:  # requests pile up, and no response is read
                connection.sendall(document)


@pytest.fixture
def few_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr("api.bounds.connection.most_connections", lambda: 20)
    yield 20


def test_idle_connections_make_room_for_new_ones(served: Served, few_files: int) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(served)) for _ in range(2 * few_files)]

        newest = stack.enter_context(connect(served))
        newest.sendall(HEADER + b"\r\n")
        assert newest.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert idle[0].recv(1) == b""


def test_the_limit_of_open_files_is_raised() -> None:
    from api.bounds.connection import MOST_FILES, raise_file_limit

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        assert raise_file_limit() == min(MOST_FILES, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
