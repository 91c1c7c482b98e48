"""HEAD answers with the status and headers of GET, without a body, on every route."""

import http.client
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from api.app import create_app
from api.routes.page import FILES
from jobs.settings import Settings
from tests.api.rows import running, submit, succeeded
from tests.api_server import Served

OWN = {"date", "x-request-id"}  # they differ between any two responses


def documented() -> list[str]:
    """Paths that answer GET."""
    paths = create_app(Settings()).openapi()["paths"]
    return [path for path, operations in paths.items() if "get" in operations]


PAGES = ["/", "/docs", "/openapi.json", *(f"/page/{name}" for name in FILES)]
UNKNOWN = [f"{path}?query" for path in documented() if "{" in path]  # all of them are refused


def headers_of(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in OWN}


def assert_head_equals_get(served: Served, path: str, **headers: str) -> httpx.Response:
    got = served.http.get(path, headers=headers)
    head = served.http.head(path, headers=headers)
    assert head.status_code == got.status_code, head.headers
    assert headers_of(head) == headers_of(got)
    assert head.content == b""
    return head


@pytest.mark.parametrize("path", [*documented(), *PAGES, *UNKNOWN, "/page/nothing.js"])
def test_head_equals_get(served: Served, path: str) -> None:
    head = assert_head_equals_get(served, path)
    assert head.status_code != 405


def test_the_description_has_no_head() -> None:
    paths = create_app(Settings()).openapi()["paths"]
    assert not [path for path, operations in paths.items() if "head" in operations]


def test_head_of_a_job_and_of_lists(queue: Served) -> None:
    job = submit(queue).id
    for path in (f"/jobs/{job}", "/jobs?limit=1", "/people", "/readyz"):
        assert_head_equals_get(queue, path)
    tag = queue.http.get(f"/jobs/{job}").headers["etag"]
    head = assert_head_equals_get(queue, f"/jobs/{job}", **{"If-None-Match": tag})
    assert head.status_code == 304


def test_head_of_an_output_has_its_size(queue: Served, tmp_path: Path) -> None:
    job = succeeded(queue, tmp_path).id
    outputs = queue.http.get(f"/jobs/{job}").json()["outputs"]
    assert outputs
    for output in outputs:
        link = urlsplit(output["url"])
        for path in (f"/jobs/{job}/outputs/{output['name']}", f"{link.path}?{link.query}"):
            head = assert_head_equals_get(queue, path)
            assert head.status_code == 200
            assert int(head.headers["content-length"]) == output["bytes"]


def test_head_of_events_ends_at_once(queue: Served) -> None:
    """GET of the same address streams until the job ends."""
    job = running(queue).id
    head = queue.http.head(f"/jobs/{job}/events", timeout=5)
    with queue.http.stream("GET", f"/jobs/{job}/events") as got:
        assert headers_of(head) == headers_of(got)
    assert head.status_code == 200
    assert head.headers["content-type"].startswith("text/event-stream")


def test_nothing_follows_the_headers(served: Served) -> None:
    """The connection can be used again: the next response begins where the headers end."""
    address = served.http.base_url
    connection = http.client.HTTPConnection(address.host, address.port, timeout=5)
    with closing(connection):
        for _ in range(2):
            connection.request("HEAD", "/people")
            answer = connection.getresponse()
            assert answer.status == 200
            assert answer.read() == b""
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b'{"status":"ok"}'


def test_head_is_refused_where_get_is(served: Served) -> None:
    for path in ("/generate", "/batches"):
        assert served.http.head(path).status_code == served.http.get(path).status_code == 405
