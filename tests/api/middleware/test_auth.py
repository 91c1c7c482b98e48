"""Authentication and tenants: on every route, a tenant reaches only its jobs."""

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
from api.bounds.gates import Gates
from api.middleware.auth import AT_ONCE
from jobs.db.engine import connect
from jobs.model import Job, NewJob, Output, State, new_job_id
from jobs.request.model import GenerateRequest
from jobs.settings import Settings
from jobs.storage.keys import attempt_key, input_key
from jobs.store.api_keys import ApiKeyStore, NoKeys, Scope
from tests.api.rows import VIDEO
from tests.api_server import Served, serving
from tests.new_database import create_database
from tests.problems import problem

UNKNOWN_ID = "0198c0ffee0070008000000000000000"
ID = "{id}"

# Routes that need no key, and their status without one.
PUBLIC = {
    ("GET", "/healthz"): 200,
    ("GET", "/readyz"): 200,
    ("GET", "/"): 200,
    ("GET", "/docs"): 200,
    ("GET", "/docs/{name:path}.md"): 404,
    ("GET", "/llms.txt"): 200,
    ("GET", "/openapi.json"): 200,
    ("GET", "/page/detect.html"): 200,
    ("GET", "/page/{name:path}"): 404,
    ("GET", "/files/{key:path}"): 422,  # no signature
    ("PUT", "/files/{key:path}"): 422,
    ("GET", "/people/{person}/{name}"): 422,  # no version
}
# Routes of one job: a job of another tenant is answered like an unknown job.
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
# Other routes: separate tests check the jobs of other tenants.
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
    ("POST", "/detect"): "/detect",
}
ASKING = OF_A_JOB | OTHERS


@dataclass(frozen=True)
class Tenants:
    """A server, and clients with keys."""

    served: Served
    acme: httpx.Client
    rival: httpx.Client
    reader: httpx.Client  # of acme, read access only
    writer: httpx.Client  # of acme, write access only
    admin: httpx.Client  # of a third tenant
    anonymous: httpx.Client

    def job(self, state: State = State.QUEUED, tenant: str = "acme") -> Job:
        """Make a job in this state."""
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
                continue  # a job of another test that was put back into the queue
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
    return httpx.Client(base_url=served.http.base_url, headers=headers, timeout=30, verify=False)


@pytest.fixture(scope="module")
def keyed_settings(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a server that requires keys, with a key in its database."""
    folder = tmp_path_factory.mktemp("tenants")
    changed = {"data": folder, "database_url": f"sqlite:///{folder / 'v.db'}", "access": "keys"}
    changed |= {"reads_per_minute": 0, "writes_per_minute": 0}
    changed_settings = settings.model_copy(update=changed | {"storage_url": folder.as_uri()})
    create_database(changed_settings.database_url)
    engine = connect(changed_settings.database_url)
    ApiKeyStore(engine).create("first", "required at start", [Scope.READ])
    engine.dispose()
    return changed_settings


@pytest.fixture(scope="module")
def tenants(keyed_settings: Settings) -> Iterator[Tenants]:
    with serving(keyed_settings) as served, ExitStack() as stack:

        def client_with_key(tenant: str, *scopes: Scope) -> httpx.Client:
            made = served.services.database.api_keys.create(tenant, "a test", scopes)
            return stack.enter_context(client(served, made.token))

        yield Tenants(
            served,
            acme=client_with_key("acme", Scope.READ, Scope.WRITE),
            rival=client_with_key("rival", Scope.READ, Scope.WRITE),
            reader=client_with_key("acme", Scope.READ),
            writer=client_with_key("acme", Scope.WRITE),
            admin=client_with_key("operators", Scope.ADMIN),
            anonymous=stack.enter_context(client(served, None)),
        )


def routes(router: FastAPI | APIRouter) -> set[tuple[str, str]]:
    """Method and path of every route."""
    answered = set()
    for route in router.routes:
        if (included := getattr(route, "original_router", None)) is not None:
            answered |= routes(included)
            continue
        assert isinstance(route, Route), route  # mounts and sockets are not covered
        answered |= {(method, route.path) for method in route.methods or () if method != "HEAD"}
    return answered


def send(http: httpx.Client, row: tuple[str, str], job_id: str = UNKNOWN_ID) -> httpx.Response:
    with http.stream(row[0], ASKING[row].replace(ID, job_id)) as answer:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return answer  # the stream would not end
        answer.read()
        return answer


def test_every_route_is_listed_here(tenants: Tenants) -> None:
    assert routes(tenants.served.app) == set(PUBLIC) | set(ASKING)


@pytest.mark.parametrize("row", ASKING, ids=" ".join)
def test_a_route_requires_a_valid_key(tenants: Tenants, row: tuple[str, str]) -> None:
    job = tenants.job()
    made = tenants.served.services.database.api_keys.create(
        "acme", "gone", [Scope.READ, Scope.WRITE]
    )
    tenants.served.services.database.api_keys.revoke(made.key.id)

    missing = send(tenants.anonymous, row, job.id)
    problem(missing, 401, "key_missing")
    assert missing.headers["www-authenticate"] == 'Bearer realm="visavis"'
    for token in (made.token, f"vv_{'0' * 12}_{'0' * 64}", "x", "%00", "vv__"):
        answer = tenants.anonymous.request(
            row[0], ASKING[row].replace(ID, job.id), headers={"authorization": f"bearer {token}"}
        )
        problem(answer, 401, "key_invalid")
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    for wrong in ("", "Bearer", "Basic YTpi", made.token):
        answer = tenants.anonymous.request(
            row[0], ASKING[row].replace(ID, job.id), headers={"authorization": wrong}
        )
        problem(answer, 401, "key_missing")
    assert tenants.served.services.database.jobs.get(job.id) == job


@pytest.mark.parametrize("row", PUBLIC, ids=" ".join)
def test_a_public_route_needs_no_key(tenants: Tenants, row: tuple[str, str]) -> None:
    path = row[1].replace("{key:path}", "a").replace("{name}", "a")

    assert tenants.anonymous.request(row[0], path).status_code == PUBLIC[row]


@pytest.mark.parametrize("row", ASKING, ids=" ".join)
def test_a_key_is_limited_to_its_scopes(tenants: Tenants, row: tuple[str, str]) -> None:
    reads = row[0] == "GET"
    without_scope, scope = (tenants.writer, "read") if reads else (tenants.reader, "write")
    job = tenants.job()

    refused = problem(send(without_scope, row, job.id), 403, "scope_missing")

    assert refused["detail"].endswith(f"needs {scope} access.")
    assert tenants.served.services.database.jobs.get(job.id) == job
    allowed = tenants.reader if reads else tenants.writer
    assert send(allowed, row).status_code not in (401, 403)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("row", OF_A_JOB, ids=" ".join)
def test_a_job_of_another_tenant_is_answered_like_an_unknown_job(
    tenants: Tenants, row: tuple[str, str], state: State
) -> None:
    job = tenants.job(state)

    other, none = send(tenants.rival, row, job.id), send(tenants.rival, row, UNKNOWN_ID)

    problem(other, 404, "job_not_found")
    assert other.text.replace(job.id, ID) == none.text.replace(UNKNOWN_ID, ID)
    for changing in ("x-request-id", "date"):
        assert other.headers.pop(changing)
        none.headers.pop(changing)
    assert other.headers == none.headers
    assert tenants.served.services.database.jobs.get(job.id) == job  # it was not changed
    is_found = send(tenants.admin, row, job.id).status_code != 404
    assert is_found or row[1].endswith(("/outputs/{name}", "/redeliver"))


@pytest.mark.parametrize("header", ["prefer", "last-event-id", "if-none-match"])
def test_no_header_reveals_a_job_of_another_tenant(tenants: Tenants, header: str) -> None:
    job = tenants.job(State.SUCCEEDED)
    tag = tenants.acme.get(f"/jobs/{job.id}").headers["etag"]
    value = {"prefer": "wait=1", "last-event-id": tag[3:-1], "if-none-match": f"{tag}, *"}[header]

    for path in (f"/jobs/{job.id}", f"/jobs/{job.id}/events"):
        answer = tenants.rival.get(path, headers={header: value})
        problem(answer, 404, "job_not_found")


def test_a_list_contains_only_jobs_of_the_tenant(tenants: Tenants) -> None:
    own, other = tenants.job(), tenants.job(tenant="rival")

    def listed(http: httpx.Client, **params: str) -> set[str]:
        answer = http.get("/jobs", params={"limit": 100, **params})
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


def test_a_cursor_of_another_tenant_reveals_no_jobs(tenants: Tenants) -> None:
    for tenant in ("rival", "acme", "rival", "acme", "rival"):
        tenants.job(tenant=tenant)
    cursor = tenants.acme.get("/jobs", params={"limit": 1}).json()["next"]

    followed = tenants.rival.get("/jobs", params={"limit": 100, "cursor": cursor}).json()["jobs"]

    assert {job["tenant"] for job in followed} == {"rival"}


def test_a_job_belongs_to_the_tenant_of_its_key(tenants: Tenants, clip: bytes) -> None:
    sent = tenants.acme.post("/generate", files={"audio": ("a", clip)}).json()

    assert sent["tenant"] == "acme"
    assert tenants.acme.get(f"/jobs/{sent['id']}").status_code == 200
    problem(tenants.rival.get(f"/jobs/{sent['id']}"), 404, "job_not_found")


def test_each_tenant_has_separate_idempotency_keys(tenants: Tenants, clip: bytes) -> None:
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

    assert tenants.anonymous.get(output["url"]).content == VIDEO
    problem(tenants.anonymous.get(output["path"]), 401, "key_missing")
    problem(tenants.anonymous.get(output["url"].replace(job.id, UNKNOWN_ID)), 403, "link_invalid")


def test_an_unknown_route_requires_a_key_too(tenants: Tenants) -> None:
    for path in ("/jobs/", "/JOBS", "/metrics", "/docs/x", "/openapi.json/", "/healthz/"):
        problem(tenants.anonymous.get(path), 401, "key_missing")
    problem(tenants.acme.get("/metrics"), 404, "route_not_found")


def test_a_large_body_is_not_read_without_a_key(tenants: Tenants) -> None:
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1
            yield bytes(100_000)

    with suppress(httpx.WriteError):  # the server may close the connection early
        problem(tenants.anonymous.post("/generate", content=body()), 401, "key_missing")


def test_a_local_caller_needs_no_key_but_a_sent_key_is_checked(served: Served) -> None:
    assert served.http.get("/jobs").status_code == 200
    made = served.services.database.api_keys.create("acme", "a test", [Scope.READ])

    with client(served, made.token) as acme, client(served, made.token[:-1]) as wrong:
        assert acme.get("/jobs").json() == {"jobs": [], "next": None}
        problem(acme.delete(f"/jobs/{UNKNOWN_ID}"), 403, "scope_missing")
        problem(wrong.get("/jobs"), 401, "key_invalid")


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
def test_a_caller_behind_a_proxy_is_not_local(served: Served, header: str) -> None:
    problem(served.http.get("/jobs", headers={header: "10.0.0.1"}), 401, "key_missing")


def test_a_public_service_without_keys_does_not_start(settings: Settings, tmp_path: Path) -> None:
    changed = {"database_url": f"sqlite:///{tmp_path / 'v.db'}", "host": "0.0.0.0"}
    app = create_app(settings.model_copy(update=changed))

    async def start() -> None:
        async with app.router.lifespan_context(app):
            raise AssertionError("it has started")

    with pytest.raises(NoKeys, match=r"0\.0\.0\.0 can be reached .*visavis-server keys create"):
        asyncio.run(start())


def test_openapi_documents_which_routes_require_a_key(tenants: Tenants) -> None:
    document = tenants.anonymous.get("/openapi.json").json()

    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            row = (method.upper(), path.replace("{key}", "{key:path}"))
            if row in PUBLIC:
                assert operation["security"] == [], row
                continue
            assert operation["security"] == [{"bearer": []}], row
            for status, codes in ((401, {"key_missing", "key_invalid"}), (403, {"scope_missing"})):
                content = operation["responses"][str(status)]["content"]
                assert codes <= set(content["application/problem+json"]["examples"]), row


def test_uploads_and_batches_belong_to_their_tenant(tenants: Tenants, clip: bytes) -> None:
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
        other, none = (
            problem(tenants.rival.request(method, path.format(each)), 404, code)["detail"]
            for each in (own, UNKNOWN_ID)
        )
        assert other.replace(own, "") == none.replace(UNKNOWN_ID, "")
    for path, body in (("/generate", {"upload_id": upload["id"]}), ("/batches", items)):
        problem(tenants.rival.post(path, json=body), 422, "upload_unknown")
    listed = tenants.rival.get("/jobs", params={"batch": batch["id"]}).json()["jobs"]
    assert listed == []
    assert tenants.acme.get(f"/jobs/{job}").json()["state"] == "queued"
    assert tenants.admin.get(f"/batches/{batch['id']}").status_code == 200


def test_a_burst_of_one_key_does_not_delay_other_keys() -> None:
    """A hundred requests of a key wait at its gate, so at most a few of them use threads."""

    async def run() -> None:
        gates, inside, most = Gates(AT_ONCE), 0, 0
        go_on = asyncio.Event()

        async def pass_gate(token: str) -> None:
            nonlocal inside, most
            async with gates.of(token):
                inside += 1
                most = max(most, inside)
                await go_on.wait()
                inside -= 1

        burst = [asyncio.create_task(pass_gate("Bearer a")) for _ in range(100)]
        await asyncio.sleep(0)
        async with asyncio.timeout(5), gates.of("Bearer b"), gates.of(""):
            go_on.set()
        await asyncio.gather(*burst)

        assert most == AT_ONCE
        assert gates._gates == {}

    asyncio.run(run())
