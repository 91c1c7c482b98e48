"""Every route is bounded: bytes and time of the body, places at a time, shared out by tenant."""

import http.client
import itertools
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from api.app import create_app
from api.bounds.declare import DEFAULT, JSON_BYTES, KIB, MIB, Pool
from api.bounds.request import BoundedRoute
from jobs.settings import Settings
from jobs.store.api_keys import Scope
from tests.api_server import Served, answer_while_dripping, serving
from tests.problems import problem

CHANGES = {"POST", "PUT", "PATCH", "DELETE"}
ENDLESS = 64 * MIB  # of chunks, unless the server closes the connection before
BODY_ROUTES = ("/generate", "/batches", "/uploads")


def routes_of(settings: Settings) -> list[tuple[str, BoundedRoute]]:
    found = []
    for context in iter_route_contexts(create_app(settings).routes):
        route = context.original_route
        if isinstance(route, APIRoute):
            found.append((context.path, route))
    return found


def test_every_route_has_bounds_and_one_that_changes_something_declares_them(
    settings: Settings,
) -> None:
    routes = routes_of(settings)

    assert len(routes) > 30
    assert [path for path, route in routes if not isinstance(route, BoundedRoute)] == []
    undeclared = [
        path
        for path, route in routes
        if route.methods & CHANGES and not hasattr(route.endpoint, "bounds")
    ]
    assert undeclared == []


def test_a_body_without_a_file_has_64_kib_at_most(settings: Settings) -> None:
    assert {route.bounds.body_bytes for _, route in routes_of(settings)} == {4 * KIB, 64 * KIB}
    assert DEFAULT.body_bytes == 4 * KIB


def operations(served: Served) -> list[tuple[str, str]]:
    document = served.http.get("/openapi.json").json()
    return [
        (method.upper(), path.replace("{", "").replace("}", ""))
        for path, methods in document["paths"].items()
        for method in methods
    ]


def test_no_operation_reads_an_endless_body(served: Served) -> None:
    """Each operation of /openapi.json gets JSON in chunks without end."""
    read = {}
    for method, path in operations(served):
        read[f"{method} {path}"] = sent_until_closed(served, method, path)

    most = {"POST /generate": JSON_BYTES, "POST /batches": JSON_BYTES}
    slack = 8 * MIB  # in buffers of both sockets
    beyond = {name: size for name, size in read.items() if size > most.get(name, 64 * KIB) + slack}
    assert len(read) > 20
    assert beyond == {}


def sent_until_closed(served: Served, method: str, path: str) -> int:
    """Send chunks until the server answers and closes; return the bytes that were taken."""
    url = served.http.base_url
    chunk = b'{"a":"' + b"x" * (64 * KIB - 6)
    framed = b"%x\r\n%s\r\n" % (len(chunk), chunk)
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
        "Content-Type: application/json\r\n\r\n"
    )
    sent = 0
    with socket.create_connection((url.host, url.port), timeout=10) as connection:
        connection.sendall(head.encode())
        try:
            while sent < ENDLESS:
                connection.sendall(framed)
                sent += len(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass
        except TimeoutError:
            pytest.fail(f"{method} {path}: the connection stays open")
    return sent


@pytest.mark.parametrize(
    ("path", "limit"),
    [("/uploads", 4 * KIB), ("/jobs/x/render", 64 * KIB), ("/jobs/x/cancel", 0)],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_json_that_is_too_large_gets_413_before_it_is_parsed(
    served: Served, path: str, limit: int, chunked: bool
) -> None:
    body = b"[" * (limit + 1)  # unparsable: 400 if it were read
    answer = served.http.post(
        path,
        content=iter([body]) if chunked else body,
        headers={"content-type": "application/json"},
    )

    if limit:
        assert f"larger than {limit} bytes" in problem(answer, 413, "upload_too_large")["detail"]
    else:
        problem(answer, 404, "job_not_found")  # the route reads no body


@pytest.fixture
def tenants(settings: Settings, tmp_path: Path) -> Iterator[tuple[Served, str, str]]:
    """A server with four places for uploads, and keys of two tenants."""
    changed = {
        "data": tmp_path,
        "database_url": f"sqlite:///{tmp_path}/visavis.db",
        "uploads_at_once": 4,
        "waits_at_once": 4,
        "access": "keys",
        "migrate": True,
    }
    narrow = settings.model_copy(update=changed)
    slow, honest = keys_of(narrow, "slow", "honest")
    with serving(narrow) as served:
        yield served, slow, honest


def keys_of(settings: Settings, *tenants: str) -> list[str]:
    from jobs.db.engine import connect
    from jobs.store.api_keys import ApiKeyStore
    from tests.new_database import create_database

    create_database(settings.database_url)
    engine = connect(settings.database_url)
    store = ApiKeyStore(engine)
    tokens = [store.create(each, "test", (Scope.READ, Scope.WRITE)).token for each in tenants]
    engine.dispose()
    return [f"Bearer {token}" for token in tokens]


@contextmanager
def stalled_upload(served: Served, key: str) -> Iterator[socket.socket]:
    url = served.http.base_url
    head = (
        f"POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {key}\r\n"
        "Content-Length: 5000\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    )
    with socket.create_connection((url.host, url.port), timeout=30) as connection:
        connection.sendall(head.encode())
        yield connection


def test_stalled_uploads_of_one_tenant_leave_places_for_others(
    tenants: tuple[Served, str, str], clip: bytes
) -> None:
    served, slow, honest = tenants
    places = served.app.state.places
    with ExitStack() as stack:
        connections = [stack.enter_context(stalled_upload(served, slow)) for _ in range(4)]
        refused = [received for each in connections if (received := read_now(each))]

        assert places.taken(Pool.UPLOADS, "slow") == 2
        assert len(refused) == 2
        assert all(b"503" in each and b"its share" in each for each in refused)
        answer = served.http.post(
            "/generate", files={"audio": ("a", clip)}, headers={"authorization": honest}
        )
        assert answer.status_code == 202


def read_now(connection: socket.socket) -> bytes:
    """The response of a refused upload; empty while the upload goes on."""
    connection.settimeout(1.0)
    received = b""
    try:
        while piece := connection.recv(4096):
            received += piece
    except TimeoutError:
        pass
    return received


def test_json_without_a_file_needs_no_place_for_an_upload(
    tenants: tuple[Served, str, str], clip: bytes
) -> None:
    served, slow, _ = tenants
    key = {"authorization": slow}
    announced = served.http.post("/uploads", json={"bytes": len(clip)}, headers=key).json()
    served.http.put(announced["parts"][0]["url"], content=clip)
    completed = served.http.post(f"/uploads/{announced['id']}/complete", headers=key)
    assert completed.status_code == 200
    item = {"upload_id": announced["id"]}
    with ExitStack() as stack:
        for _ in range(2):
            read_now(stack.enter_context(stalled_upload(served, slow)))

        assert served.app.state.places.taken(Pool.UPLOADS, "slow") == 2
        assert served.http.post("/generate", json=item, headers=key).status_code == 202
        assert served.http.post("/batches", json={"items": [item]}, headers=key).status_code == 202


def test_streams_of_one_tenant_are_bounded(tenants: tuple[Served, str, str], clip: bytes) -> None:
    served, slow, honest = tenants
    jobs = {
        key: served.http.post(
            "/generate", files={"audio": ("a", clip)}, headers={"authorization": key}
        ).json()["id"]
        for key in (slow, honest)
    }

    def stream(key: str) -> httpx.Response:
        request = served.http.build_request(
            "GET", f"/jobs/{jobs[key]}/events", headers={"authorization": key}
        )
        return served.http.send(request, stream=True)

    with ExitStack() as stack:
        answers = [stack.enter_context(closing(stream(slow))) for _ in range(3)]
        other = stack.enter_context(closing(stream(honest)))

        assert [each.status_code for each in answers] == [200, 200, 503]
        assert other.status_code == 200


@contextmanager
def closing(response: httpx.Response) -> Iterator[httpx.Response]:
    try:
        yield response
    finally:
        response.close()


def test_a_slow_body_without_a_file_gets_408(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.bounds.request.SMALL_SECONDS", 0.2)
    url = served.http.base_url
    connection = http.client.HTTPConnection(url.host, url.port, timeout=30)
    connection.putrequest("POST", "/uploads")
    connection.putheader("Content-Length", "100")
    connection.putheader("Content-Type", "application/json")
    connection.endheaders(b'{"bytes"')

    answer = connection.getresponse()

    assert answer.status == 408
    assert b"upload_too_slow" in answer.read()
    connection.close()


def test_an_upload_below_the_least_rate_gets_408(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sends a byte now and then, and would take an hour."""
    monkeypatch.setattr("api.bounds.request.RATE_SECONDS", 0.3)
    url = served.http.base_url
    head = (
        "POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 50000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    )
    with socket.create_connection((url.host, url.port), timeout=30) as connection:
        connection.sendall(head.encode())
        received = answer_while_dripping(connection, itertools.repeat(b"a"))

    assert received.startswith(b"HTTP/1.1 408 ")
