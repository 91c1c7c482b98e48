"""Requests of foreign web pages, and host names that are rebound to loopback."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from jobs.db.engine import connect
from jobs.settings import Settings
from jobs.store.api_keys import ApiKeyStore, Scope
from tests.api_server import Served, serving
from tests.new_database import create_database
from tests.problems import problem

APP = "https://app.example"


@pytest.fixture(scope="module")
def public(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with a public URL, and an allowed origin."""
    changed = {
        "data": tmp_path_factory.mktemp("public"),
        "public_url": "https://video.example/",
        "cors_origins": (APP,),
    }
    with serving(settings.model_copy(update=changed)) as served:
        yield served


def post(served: Served, **headers: str) -> httpx.Response:
    """A write with an invalid body, so 415 means that its headers were accepted."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return served.http.post("/generate", headers=named)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", "]"],
)
def test_a_host_that_may_be_rebound_to_loopback_is_refused(served: Served, host: str) -> None:
    for path in ("/jobs", "/", "/healthz", "/files/a"):
        answer = served.http.get(path, headers={"host": host})
        assert "VISAVIS_PUBLIC_URL" in problem(answer, 403, "host_unknown")["detail"]


@pytest.mark.parametrize("origin", ["http://[", "https://[::1", "http://]x", "//[", "[", "\\[x]"])
def test_a_malformed_origin_is_refused(served: Served, origin: str) -> None:
    for path in ("/jobs/x/cancel", "/generate", "/uploads"):
        problem(served.http.post(path, headers={"origin": origin}), 403, "origin_not_allowed")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8000",
        "LOCALHOST.",
        "app.localhost",
        "127.0.0.1:1",
        "127.9.9.9",
        "[::1]:8",
    ],
)
def test_loopback_names_are_answered(served: Served, host: str) -> None:
    assert served.http.get("/jobs", headers={"host": host}).status_code == 200


def test_the_host_of_the_public_url_is_answered(public: Served) -> None:
    assert public.http.get("/jobs", headers={"host": "video.example"}).status_code == 200
    problem(public.http.get("/jobs", headers={"host": "x.example"}), 403, "host_unknown")


def test_with_keys_any_host_is_answered(settings: Settings, tmp_path: Path) -> None:
    changed = {"access": "keys", "data": tmp_path, "database_url": f"sqlite:///{tmp_path}/v.db"}
    behind_a_proxy = settings.model_copy(update=changed)
    create_database(behind_a_proxy.database_url)
    engine = connect(behind_a_proxy.database_url)
    ApiKeyStore(engine).create("acme", "a test", [Scope.READ])
    engine.dispose()
    with serving(behind_a_proxy) as served:
        assert served.http.get("/healthz", headers={"host": "video.example"}).status_code == 200
        answer = served.http.get("/jobs", headers={"host": "video.example"})

    problem(answer, 401, "key_missing")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000", "sec_fetch_site": "same-site"},
        {"origin": "https://evil.example", "sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "cross-site"},
    ],
)
@pytest.mark.parametrize("path", ["/generate", "/jobs/x/cancel", "/jobs/x/retry"])
def test_a_page_of_another_origin_cannot_write(
    served: Served, path: str, headers: dict[str, str]
) -> None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    body = problem(served.http.post(path, headers=named), 403, "origin_not_allowed")

    assert "VISAVIS_CORS_ORIGINS" in body["detail"]


def test_delete_counts_as_a_write(served: Served) -> None:
    answer = served.http.delete("/jobs/x", headers={"origin": "https://evil.example"})

    problem(answer, 403, "origin_not_allowed")


def test_the_same_origin_and_programs_may_write(served: Served) -> None:
    here = str(served.http.base_url).rstrip("/")

    for headers in (
        {"origin": here},
        {},
        {"sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
    ):
        problem(post(served, **headers), 415, "body_type_unsupported")


def test_an_allowed_origin_may_write_and_read(public: Served) -> None:
    answer = post(public, origin=APP, sec_fetch_site="cross-site")

    problem(answer, 415, "body_type_unsupported")
    assert answer.headers["access-control-allow-origin"] == APP
    exposed = answer.headers["access-control-expose-headers"].lower()
    assert {"location", "retry-after", "etag", "x-request-id"} <= set(exposed.split(", "))
    assert "access-control-allow-credentials" not in answer.headers


def test_a_preflight_allows_the_headers_of_clients(public: Served) -> None:
    request = {
        "origin": APP,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,idempotency-key,prefer",
    }

    answer = public.http.options("/generate", headers=request)
    foreign = public.http.options("/generate", headers=request | {"origin": "https://evil.example"})

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == APP
    assert "access-control-allow-origin" not in foreign.headers


def test_origins_that_are_not_configured_get_no_cors_headers(
    served: Served, public: Served
) -> None:
    for server, origin in ((served, APP), (public, "https://evil.example")):
        answer = server.http.get("/jobs", headers={"origin": origin})
        assert "access-control-allow-origin" not in answer.headers


def test_responses_have_security_headers(served: Served, public: Served) -> None:
    for path in ("/jobs", "/people", "/nix", "/healthz", "/openapi.json", "/files/a"):
        headers = served.http.get(path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "strict-transport-security" not in headers
    assert served.http.get("/page/page.js").headers["cache-control"] == "no-cache"
    headers = public.http.get("/jobs").headers
    assert headers["strict-transport-security"] == "max-age=31536000"
    assert headers["cross-origin-resource-policy"] == "cross-origin"


@pytest.mark.parametrize(
    "wrong", ["*", "app.example", "https://app.example/", "https://a b", "null"]
)
def test_an_invalid_origin_setting_is_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ValidationError, match=r"invalid origin .*; write scheme and host"):
        Settings(data=tmp_path, cors_origins=wrong)


def test_origins_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAVIS_CORS_ORIGINS", "https://app.example, http://localhost:3000")

    assert Settings().cors_origins == (APP, "http://localhost:3000")
