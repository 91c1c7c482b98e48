"""Two tenants: whatever one does, by every route that there is, the other's jobs stay its own."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.routing import Route

from api.app import create_app
from jobs.db.engine import connect
from jobs.db.migrate import upgrade
from jobs.model import Job, NewJob, Output, State, new_job_id
from jobs.request.model import GenerateRequest
from jobs.settings import Settings
from jobs.storage.keys import attempt_key, input_key
from jobs.store.api_keys import ApiKeyStore, NoKeys, Scope
from tests.api.rows import VIDEO
from tests.api_server import Served, serving
from tests.problems import problem

NOBODY = "0198c0ffee0070008000000000000000"
ID = "{id}"

# Routes that need no key, and what they answer to somebody without one.
PUBLIC = {
    ("GET", "/healthz"): 200,
    ("GET", "/readyz"): 503,  # no broker here
    ("GET", "/"): 200,
    ("GET", "/docs"): 200,
    ("GET", "/openapi.json"): 200,
    ("GET", "/page/{name}"): 404,
    ("GET", "/files/{key:path}"): 422,  # no signature
    ("PUT", "/files/{key:path}"): 422,
}
# Routes that name a job: what another's answers is what none answers.
OF_A_JOB = {
    ("GET", "/jobs/{job_id}"): f"/jobs/{ID}",
    ("GET", "/jobs/{job_id}/events"): f"/jobs/{ID}/events",
    ("GET", "/jobs/{job_id}/outputs/{name}"): f"/jobs/{ID}/outputs/take-1.mp4",
    ("GET", "/jobs/{job_id}/deliveries"): f"/jobs/{ID}/deliveries",
    ("POST", "/jobs/{job_id}/deliveries/{delivery_id}/redeliver"): (
        f"/jobs/{ID}/deliveries/x/redeliver"
    ),
    ("POST", "/jobs/{job_id}/cancel"): f"/jobs/{ID}/cancel",
    ("POST", "/jobs/{job_id}/retry"): f"/jobs/{ID}/retry",
    ("POST", "/jobs/{job_id}/render"): f"/jobs/{ID}/render",
    ("DELETE", "/jobs/{job_id}"): f"/jobs/{ID}",
}
# Routes that name none: tests below say what they show of another's.
OTHERS = {
    ("GET", "/jobs"): "/jobs",
    ("POST", "/generate"): "/generate",
    ("POST", "/uploads"): "/uploads",
    ("GET", "/uploads/{upload_id}"): f"/uploads/{ID}",
    ("POST", "/uploads/{upload_id}/complete"): f"/uploads/{ID}/complete",
    ("POST", "/batches"): "/batches",
    ("GET", "/batches/{batch_id}"): f"/batches/{ID}",
    ("POST", "/batches/{batch_id}/cancel"): f"/batches/{ID}/cancel",
    ("GET", "/people"): "/people",
}
ASKING = OF_A_JOB | OTHERS


@dataclass(frozen=True)
class Tenants:
    """One service, and clients with keys."""

    served: Served
    acme: httpx.Client
    rival: httpx.Client
    reader: httpx.Client  # of acme, may only read
    writer: httpx.Client  # of acme, may only write
    admin: httpx.Client  # of a tenant of its own
    nobody: httpx.Client

    def job(self, state: State = State.QUEUED, tenant: str = "acme") -> Job:
        """A job in this state."""
        database, job_id = self.served.services.database, new_job_id()
        database.jobs.submit(
            NewJob(
                job_id,
                GenerateRequest(),
                input_key=input_key(job_id, "wav"),
                clip_seconds=1.0,
                tenant=tenant,
                priority=10 if state in (State.RUNNING, State.SUCCEEDED, State.FAILED) else 0,
            )
        )
        if state in (State.RUNNING, State.SUCCEEDED, State.FAILED):
            while (
                claimed := database.attempts.claim("worker-1")
            ) is not None and claimed.id != job_id:
                continue  # another test's, that was put back into the queue
        if state is State.SUCCEEDED:
            key = attempt_key(job_id, 1, "take-1.mp4")
            database.attempts.succeed(
                job_id, 1, [Output("take-1.mp4", key, "video/mp4", len(VIDEO))]
            )
        if state is State.FAILED:
            database.attempts.fail(job_id, 1, "clip_silent", "The clip is silent.")
        if state is State.CANCELED:
            database.jobs.cancel(job_id)
        return database.jobs.get(job_id)


def client(served: Served, token: str | None) -> httpx.Client:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=served.http.base_url, headers=headers, timeout=30)


@pytest.fixture(scope="module")
def keyed(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a service that asks everybody for a key, and a database with one."""
    folder = tmp_path_factory.mktemp("tenants")
    changed = {"data": folder, "database_url": f"sqlite:///{folder / 'v.db'}", "access": "keys"}
    changed |= {"reads_per_minute": 0, "writes_per_minute": 0}
    asking = settings.model_copy(update=changed | {"storage_url": folder.as_uri()})
    upgrade(asking.database_url)
    engine = connect(asking.database_url)
    ApiKeyStore(engine).create("first", "lets it start", [Scope.READ])
    engine.dispose()
    return asking


@pytest.fixture(scope="module")
def tenants(keyed: Settings) -> Iterator[Tenants]:
    with serving(keyed) as served, ExitStack() as stack:

        def holding(tenant: str, *scopes: Scope) -> httpx.Client:
            made = served.services.database.api_keys.create(tenant, "a test", scopes)
            return stack.enter_context(client(served, made.token))

        yield Tenants(
            served,
            acme=holding("acme", Scope.READ, Scope.WRITE),
            rival=holding("rival", Scope.READ, Scope.WRITE),
            reader=holding("acme", Scope.READ),
            writer=holding("acme", Scope.WRITE),
            admin=holding("operators", Scope.ADMIN),
            nobody=stack.enter_context(client(served, None)),
        )


def routes(router: FastAPI | APIRouter) -> set[tuple[str, str]]:
    """Every method and path that is answered."""
    found = set()
    for route in router.routes:
        if (included := getattr(route, "original_router", None)) is not None:
            found |= routes(included)
            continue
        assert isinstance(route, Route), route  # a mount or a socket needs rows of its own
        found |= {(method, route.path) for method in route.methods or () if method != "HEAD"}
    return found


def ask(http: httpx.Client, row: tuple[str, str], job_id: str = NOBODY) -> httpx.Response:
    with http.stream(row[0], ASKING[row].replace(ID, job_id)) as answer:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return answer  # which would go on
        answer.read()
        return answer


def test_every_route_has_a_row(tenants: Tenants) -> None:
    assert routes(tenants.served.app) == set(PUBLIC) | set(ASKING)


@pytest.mark.parametrize("row", ASKING, ids=" ".join)
def test_a_route_asks_for_a_key(tenants: Tenants, row: tuple[str, str]) -> None:
    job = tenants.job()
    made = tenants.served.services.database.api_keys.create(
        "acme", "gone", [Scope.READ, Scope.WRITE]
    )
    tenants.served.services.database.api_keys.revoke(made.key.id)

    missing = ask(tenants.nobody, row, job.id)
    problem(missing, 401, "key_missing")
    assert missing.headers["www-authenticate"] == 'Bearer realm="visavis"'
    for token in (made.token, f"vv_{'0' * 12}_{'0' * 64}", "x", "%00", "vv__"):
        answer = tenants.nobody.request(
            row[0], ASKING[row].replace(ID, job.id), headers={"authorization": f"bearer {token}"}
        )
        problem(answer, 401, "key_invalid")
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    for wrong in ("", "Bearer", "Basic YTpi", made.token):
        answer = tenants.nobody.request(
            row[0], ASKING[row].replace(ID, job.id), headers={"authorization": wrong}
        )
        problem(answer, 401, "key_missing")
    assert tenants.served.services.database.jobs.get(job.id) == job


@pytest.mark.parametrize("row", PUBLIC, ids=" ".join)
def test_a_public_route_asks_for_none(tenants: Tenants, row: tuple[str, str]) -> None:
    path = row[1].replace("{key:path}", "a").replace("{name}", "a")

    assert tenants.nobody.request(row[0], path).status_code == PUBLIC[row]


@pytest.mark.parametrize("row", ASKING, ids=" ".join)
def test_a_key_does_what_its_scope_says(tenants: Tenants, row: tuple[str, str]) -> None:
    reads = row[0] == "GET"
    may_not, word = (tenants.writer, "read") if reads else (tenants.reader, "write")
    job = tenants.job()

    refused = problem(ask(may_not, row, job.id), 403, "scope_missing")

    assert refused["detail"].endswith(f"needs {word} access.")
    assert tenants.served.services.database.jobs.get(job.id) == job
    allowed = tenants.reader if reads else tenants.writer
    assert ask(allowed, row).status_code not in (401, 403)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("row", OF_A_JOB, ids=" ".join)
def test_another_s_job_is_none(tenants: Tenants, row: tuple[str, str], state: State) -> None:
    job = tenants.job(state)

    other, none = ask(tenants.rival, row, job.id), ask(tenants.rival, row, NOBODY)

    problem(other, 404, "job_not_found")
    assert other.text.replace(job.id, ID) == none.text.replace(NOBODY, ID)
    for changing in ("x-request-id", "date"):
        assert other.headers.pop(changing)
        none.headers.pop(changing)
    assert other.headers == none.headers
    assert tenants.served.services.database.jobs.get(job.id) == job  # nothing was done to it
    there = ask(tenants.admin, row, job.id).status_code != 404
    assert there or row[1].endswith(("/outputs/{name}", "/redeliver"))


@pytest.mark.parametrize("header", ["prefer", "last-event-id", "if-none-match"])
def test_no_header_shows_another_s_job(tenants: Tenants, header: str) -> None:
    job = tenants.job(State.SUCCEEDED)
    tag = tenants.acme.get(f"/jobs/{job.id}").headers["etag"]
    said = {"prefer": "wait=1", "last-event-id": tag[3:-1], "if-none-match": f"{tag}, *"}[header]

    for path in (f"/jobs/{job.id}", f"/jobs/{job.id}/events"):
        answer = tenants.rival.get(path, headers={header: said})
        problem(answer, 404, "job_not_found")


def test_a_list_shows_one_s_own(tenants: Tenants) -> None:
    own, other = tenants.job(), tenants.job(tenant="rival")

    def listed(http: httpx.Client, **asked: str) -> set[str]:
        answer = http.get("/jobs", params={"limit": 100, **asked})
        assert answer.status_code == 200, answer.text
        return {job["id"] for job in answer.json()["jobs"]}

    assert own.id in listed(tenants.acme)
    assert other.id not in listed(tenants.acme) | listed(tenants.acme, tenant="acme")
    assert {own.id, other.id} <= listed(tenants.admin)
    assert own.id not in listed(tenants.admin, tenant="rival")
    assert other.id in listed(tenants.admin, tenant="rival")
    answer = tenants.acme.get("/jobs", params={"tenant": "rival"})
    problem(answer, 403, "scope_missing")
    problem(tenants.admin.get("/jobs", params={"tenant": "Rival!"}), 422, "invalid_request")


def test_a_cursor_leads_to_one_s_own_only(tenants: Tenants) -> None:
    for tenant in ("rival", "acme", "rival", "acme", "rival"):
        tenants.job(tenant=tenant)
    cursor = tenants.acme.get("/jobs", params={"limit": 1}).json()["next"]

    followed = tenants.rival.get("/jobs", params={"limit": 100, "cursor": cursor}).json()["jobs"]

    assert {job["tenant"] for job in followed} == {"rival"}


def test_a_job_is_its_sender_s(tenants: Tenants, clip: bytes) -> None:
    sent = tenants.acme.post("/generate", files={"audio": ("a", clip)}).json()

    assert sent["tenant"] == "acme"
    assert tenants.acme.get(f"/jobs/{sent['id']}").status_code == 200
    problem(tenants.rival.get(f"/jobs/{sent['id']}"), 404, "job_not_found")


def test_idempotency_keys_are_each_tenant_s_own(tenants: Tenants, clip: bytes) -> None:
    def send(http: httpx.Client, **fields: str) -> httpx.Response:
        form = {"files": {"audio": ("a", clip)}, "data": fields}
        return http.post("/generate", headers={"Idempotency-Key": "order-17"}, **form)

    first, second = send(tenants.acme), send(tenants.rival, takes="2")

    assert (first.status_code, second.status_code) == (202, 202)
    assert "idempotent-replayed" not in second.headers
    assert send(tenants.acme).json()["id"] == first.json()["id"]
    assert send(tenants.rival, takes="2").json()["id"] == second.json()["id"]
    problem(send(tenants.rival), 409, "idempotency_key_reused")


def test_a_signed_link_needs_no_key(tenants: Tenants, tmp_path: Path) -> None:
    job = tenants.job(State.SUCCEEDED)
    (tmp_path / "video").write_bytes(VIDEO)
    tenants.served.services.storage.put(job.outputs[0].key, tmp_path / "video", "video/mp4")

    (output,) = tenants.acme.get(f"/jobs/{job.id}").json()["outputs"]

    assert tenants.nobody.get(output["url"]).content == VIDEO
    problem(tenants.nobody.get(output["path"]), 401, "key_missing")
    problem(tenants.nobody.get(output["url"].replace(job.id, NOBODY)), 403, "link_invalid")


def test_an_unknown_place_asks_for_a_key_too(tenants: Tenants) -> None:
    for path in ("/jobs/", "/JOBS", "/metrics", "/docs/x", "/openapi.json/", "/healthz/"):
        problem(tenants.nobody.get(path), 401, "key_missing")
    problem(tenants.acme.get("/metrics"), 404, "route_not_found")


def test_nothing_of_a_large_body_is_read_without_a_key(tenants: Tenants) -> None:
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1
            yield bytes(100_000)

    with suppress(httpx.WriteError):  # it need not wait for all of it
        problem(tenants.nobody.post("/generate", content=body()), 401, "key_missing")


def test_at_home_no_key_is_needed_and_one_that_is_sent_counts(served: Served) -> None:
    assert served.http.get("/jobs").status_code == 200
    made = served.services.database.api_keys.create("acme", "a test", [Scope.READ])

    with client(served, made.token) as acme, client(served, made.token[:-1]) as wrong:
        assert acme.get("/jobs").json() == {"jobs": [], "next": None}
        problem(acme.delete(f"/jobs/{NOBODY}"), 403, "scope_missing")
        problem(wrong.get("/jobs"), 401, "key_invalid")


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
def test_whoever_comes_through_a_proxy_is_not_at_home(served: Served, header: str) -> None:
    problem(served.http.get("/jobs", headers={header: "10.0.0.1"}), 401, "key_missing")


def test_a_service_that_nobody_could_call_does_not_start(
    settings: Settings, tmp_path: Path
) -> None:
    changed = {"database_url": f"sqlite:///{tmp_path / 'v.db'}", "host": "0.0.0.0"}
    app = create_app(settings.model_copy(update=changed))

    async def start() -> None:
        async with app.router.lifespan_context(app):
            raise AssertionError("it has started")

    with pytest.raises(NoKeys, match=r"0\.0\.0\.0 can be reached .*visavis-server keys create"):
        asyncio.run(start())


def test_openapi_tells_who_asks(tenants: Tenants) -> None:
    document = tenants.nobody.get("/openapi.json").json()

    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            row = (method.upper(), path.replace("{key}", "{key:path}"))
            if row in PUBLIC:
                assert "security" not in operation, row
                continue
            assert operation["security"] == [{"key": []}], row
            for status, codes in ((401, {"key_missing", "key_invalid"}), (403, {"scope_missing"})):
                content = operation["responses"][str(status)]["content"]
                assert codes <= set(content["application/problem+json"]["examples"]), row


def test_uploads_and_batches_are_their_tenant_s(tenants: Tenants, clip: bytes) -> None:
    upload = tenants.acme.post("/uploads", json={"bytes": len(clip)}).json()
    httpx.put(upload["parts"][0]["url"], content=clip)
    assert tenants.acme.post(f"/uploads/{upload['id']}/complete").status_code == 200
    items = {"items": [{"upload_id": upload["id"]}]}
    batch = tenants.acme.post("/batches", json=items).json()
    (job,) = (item["job"] for item in batch["items"])

    for method, path, code in (
        ("GET", "/uploads/{}", "upload_not_found"),
        ("POST", "/uploads/{}/complete", "upload_not_found"),
        ("GET", "/batches/{}", "batch_not_found"),
        ("POST", "/batches/{}/cancel", "batch_not_found"),
    ):
        own = upload["id"] if "uploads" in path else batch["id"]
        theirs, none = (
            problem(tenants.rival.request(method, path.format(each)), 404, code)["detail"]
            for each in (own, NOBODY)
        )
        assert theirs.replace(own, "") == none.replace(NOBODY, "")
    for path, body in (("/generate", {"upload_id": upload["id"]}), ("/batches", items)):
        problem(tenants.rival.post(path, json=body), 422, "upload_unknown")
    listed = tenants.rival.get("/jobs", params={"batch": batch["id"]}).json()["jobs"]
    assert listed == []
    assert tenants.acme.get(f"/jobs/{job}").json()["state"] == "queued"
    assert tenants.admin.get(f"/batches/{batch['id']}").status_code == 200
