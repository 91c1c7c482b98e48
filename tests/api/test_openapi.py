"""OpenAPI documents every response, and the docs name every setting and route."""

import json
import re
from pathlib import Path

import httpx
import pytest
from openapi_spec_validator import validate

from api.app import create_app
from api.problems import CATALOGUE
from api.schemas.example import CREATED
from api.schemas.webhooks import JobEvent
from jobs.settings import SECRETS, Settings
from jobs.webhooks.signing import event_body
from tests.api.rows import running
from tests.api_server import Served
from tests.problems import problem

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def document(served: Served) -> dict:
    return served.http.get("/openapi.json").json()


def test_the_document_is_valid(document: dict) -> None:
    validate(document)
    assert document["info"]["title"] == "visavis"
    assert set(document["paths"]) == {
        "/generate",
        "/jobs",
        "/jobs/{job_id}",
        "/jobs/{job_id}/cancel",
        "/jobs/{job_id}/deliveries",
        "/jobs/{job_id}/deliveries/{delivery_id}/redeliver",
        "/jobs/{job_id}/events",
        "/jobs/{job_id}/outputs/{name}",
        "/jobs/{job_id}/retry",
        "/jobs/{job_id}/render",
        "/batches",
        "/batches/{batch_id}",
        "/batches/{batch_id}/cancel",
        "/uploads",
        "/uploads/{upload_id}",
        "/uploads/{upload_id}/complete",
        "/people",
        "/detect",
        "/people/{person}/{name}",
        "/files/{key}",
        "/healthz",
        "/readyz",
    }


def responses_to_requests(served: Served, clip: bytes) -> list[tuple[str, str, httpx.Response]]:
    """Route, method and response of one request for each response that is easy to provoke."""
    get, post = served.http.get, served.http.post
    accepted = post("/generate", files={"audio": ("a", clip)})
    job = accepted.headers["location"]
    keyed, clip_file = {"idempotency-key": "openapi"}, {"audio": ("a", clip)}
    for takes in (1, 2):
        form = {"files": {"audio": ("a", clip)}, "data": {"takes": takes}}
        reused = post("/generate", headers=keyed, **form)
    deliveries = "/jobs/{job_id}/deliveries"
    again = f"{deliveries}/{{delivery_id}}/redeliver"
    announced = post("/uploads", json={"bytes": 4})
    upload = announced.json()
    link = upload["parts"][0]["url"]
    as_json = {"content-type": "application/json"}
    large = {"content-type": "multipart/form-data; boundary=x"}
    return [
        ("/generate", "post", accepted),
        ("/generate", "post", post("/generate", files={"audio": ("a", b"")})),
        ("/generate", "post", post("/generate", files={"audio": ("a", b"text")})),
        ("/generate", "post", reused),
        ("/generate", "post", post("/generate", data={"callback_url": "x"}, files=clip_file)),
        ("/generate", "post", post("/generate", json={})),
        ("/generate", "post", post("/generate", content=b"{", headers=as_json)),
        ("/generate", "post", post("/generate", content=b"?", headers={"content-type": "a/b"})),
        ("/generate", "post", post("/generate", json={"upload_id": "0" * 32})),
        ("/generate", "post", post("/generate", json={"upload_id": upload["id"]})),
        ("/uploads", "post", announced),
        ("/uploads", "post", post("/uploads", json={"bytes": 0})),
        ("/uploads", "post", post("/uploads", json={"bytes": 2**50})),
        ("/uploads/{upload_id}", "get", get(f"/uploads/{upload['id']}")),
        ("/uploads/{upload_id}", "get", get("/uploads/x")),
        ("/uploads/{upload_id}", "get", get("/uploads/" + "x" * 70)),
        ("/uploads/{upload_id}/complete", "post", post(f"/uploads/{upload['id']}/complete")),
        ("/files/{key}", "put", served.http.put(link, content=b"abc")),
        ("/files/{key}", "put", served.http.put(link, content=b"abcd")),
        ("/files/{key}", "put", served.http.put("/files/a")),
        ("/files/{key}", "put", served.http.put("/files/a?bytes=1&expires=1&signature=a")),
        ("/uploads/{upload_id}/complete", "post", post(f"/uploads/{upload['id']}/complete")),
        ("/generate", "post", post("/generate", content=b"?", headers=large)),
        ("/generate", "post", post("/generate", files={"audio": ("a", bytes(3_000_000))})),
        ("/jobs", "get", get("/jobs")),
        ("/jobs", "get", get("/jobs?limit=0")),
        ("/jobs/{job_id}", "get", get(job)),
        ("/jobs/{job_id}", "get", get("/jobs/x")),
        ("/jobs/{job_id}", "get", get("/jobs/" + "x" * 70)),
        ("/jobs/{job_id}/outputs/{name}", "get", get(f"{job}/outputs/take-1.mp4")),
        ("/jobs/{job_id}/outputs/{name}", "get", get("/jobs/x/outputs/y")),
        ("/files/{key}", "get", get("/files/a?name=a&expires=1&signature=a")),
        ("/files/{key}", "get", get("/files/a")),
        ("/jobs/{job_id}/cancel", "post", post(f"{job}/cancel")),
        ("/jobs/{job_id}/cancel", "post", post("/jobs/x/cancel")),
        ("/jobs/{job_id}/events", "get", get(f"{job}/events")),
        ("/jobs/{job_id}/events", "get", get("/jobs/x/events")),
        ("/jobs/{job_id}/retry", "post", post(f"{job}/retry")),
        ("/jobs/{job_id}/retry", "post", post(f"{job}/retry")),
        ("/jobs/{job_id}/retry", "post", post("/jobs/x/retry")),
        ("/jobs/{job_id}/render", "post", post(f"{job}/render")),
        ("/jobs/{job_id}/render", "post", post(f"{job}/render", json={"takes": [9]})),
        ("/jobs/{job_id}/render", "post", post("/jobs/x/render")),
        ("/batches", "post", post("/batches", json={"items": []})),
        ("/batches", "post", post("/batches", json={"items": [{"upload_id": "0" * 32}]})),
        ("/batches", "post", post("/batches", content=b"{", headers=as_json)),
        ("/batches/{batch_id}", "get", get("/batches/x")),
        ("/batches/{batch_id}/cancel", "post", post("/batches/x/cancel")),
        ("/jobs/{job_id}", "get", get(job, headers={"if-none-match": "*"})),
        (deliveries, "get", get(f"{job}/deliveries")),
        (deliveries, "get", get("/jobs/x/deliveries")),
        (again, "post", post(f"{job}/deliveries/x/redeliver")),
        (again, "post", post("/jobs/x/deliveries/x/redeliver")),
        ("/jobs/{job_id}", "delete", served.http.delete("/jobs/x")),
        ("/jobs/{job_id}", "delete", served.http.delete(job)),
        ("/people", "get", get("/people")),
        ("/people/{person}/{name}", "get", get("/people/x/y?version=z")),
        ("/healthz", "get", get("/healthz")),
        ("/readyz", "get", get("/readyz")),
    ]


def test_every_answer_is_documented(
    served: Served,
    clip: bytes,
    document: dict,
) -> None:
    for route, method, answer in responses_to_requests(served, clip):
        responses = document["paths"][route][method]["responses"]
        status = str(answer.status_code)
        assert status in responses, (route, status, answer.text)
        if not answer.content:
            continue
        kind = answer.headers["content-type"].partition(";")[0]
        assert kind in responses[status]["content"], (route, status, kind)
        if answer.is_error:
            code = answer.json()["code"]
            problem(answer, answer.status_code, code)
            assert code in responses[status]["content"][kind]["examples"], (route, code)


def test_every_answer_has_a_description_a_schema_and_an_example(document: dict) -> None:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status, response in operation["responses"].items():
                place = (method, path, status)
                assert response["description"] not in ("", "Successful Response"), place
                for kind, content in response.get("content", {}).items():
                    is_file = content["schema"].get("format") == "binary"
                    assert is_file or "example" in content or "examples" in content, (*place, kind)


def test_the_document_of_a_service_with_keys_requires_them(document: dict) -> None:
    with_keys = create_app(Settings(access="keys")).openapi()

    assert document["paths"]["/generate"]["post"]["security"] == [{"bearer": []}, {}]
    assert with_keys["paths"]["/generate"]["post"]["security"] == [{"bearer": []}]
    assert with_keys["paths"]["/healthz"]["get"]["security"] == []
    headers = with_keys["paths"]["/jobs"]["get"]["responses"]["200"]["headers"]
    assert "RateLimit-Remaining" in headers


def test_codes_of_problems_are_an_enumeration(document: dict) -> None:
    assert document["components"]["schemas"]["ProblemCode"]["enum"] == list(CATALOGUE)


def test_an_event_has_the_members_that_its_webhook_describes(served: Served) -> None:
    job = running(served)
    assert served.services.database.attempts.fail(job.id, job.attempt, "audio_damaged", "Why.")
    job = served.services.database.jobs.get(job.id)

    sent = json.loads(event_body(job, CREATED))

    described = JobEvent.model_validate(sent)
    assert described.model_dump(mode="json").keys() == sent.keys()
    assert described.data.model_dump(mode="json").keys() == sent["data"].keys()
    assert sent.keys() == webhook_example("job.failed").keys()
    assert sent["data"].keys() == webhook_example("job.failed")["data"].keys()


def webhook_example(event: str) -> dict:
    body = create_app(Settings()).openapi()["webhooks"][event]["post"]["requestBody"]
    return body["content"]["application/json"]["example"]


def test_every_documented_problem_has_a_sentence(document: dict) -> None:
    count = 0
    for methods in document["paths"].values():
        for operation in methods.values():
            for response in operation["responses"].values():
                problems = response.get("content", {}).get("application/problem+json", {})
                for code, example in problems.get("examples", {}).items():
                    assert example["value"]["code"] == code
                    assert example["value"]["detail"].endswith(".")
                    count += 1
    assert count > 20


def test_both_kinds_of_body_are_documented(document: dict) -> None:
    content = document["paths"]["/generate"]["post"]["requestBody"]["content"]

    assert list(content) == ["multipart/form-data", "application/json"]
    names = [kind["schema"]["$ref"].rpartition("/")[2] for kind in content.values()]
    form, body = (document["components"]["schemas"][name]["properties"] for name in names)
    assert set(form) == set(body) >= {"audio", "upload_id", "person", "takes", "metadata"}


def test_every_setting_is_in_its_manual() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()

    missing = [name for name in Settings.model_fields if f"`VISAVIS_{name.upper()}`" not in text]
    unknown = {
        word
        for word in re.findall(r"`VISAVIS_([A-Z_]+)`", text)
        if word.lower() not in Settings.model_fields
        and word.removesuffix("_FILE").lower() not in SECRETS
    }
    assert missing == []
    assert unknown == set()


def test_every_route_and_code_is_in_the_api_manual(document: dict) -> None:
    text = (ROOT / "docs" / "api.md").read_text()

    for path, methods in document["paths"].items():
        plain = re.sub(r"{job_id}|{upload_id}|{batch_id}", "{id}", path)
        for method, operation in methods.items():
            assert f"`{method.upper()} {plain}`" in text
            for response in operation["responses"].values():
                problems = response.get("content", {}).get("application/problem+json", {})
                for code in problems.get("examples", {}):
                    assert f"`{code}`" in text, code
