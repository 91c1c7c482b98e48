"""Idempotency-Key: a request that is sent again makes no second job."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from api.services import submit as submit_module
from api.services.idempotency import Accepted, make_once
from jobs.storage.factory import LocalStorage
from jobs.store.idempotency import IdempotencyConflict, IdempotencyKey
from tests.api.rows import running
from tests.api_server import Served
from tests.audio_clips import write_clip
from tests.problems import problem

pytestmark = pytest.mark.usefixtures("queue")


def generate(served: Served, audio: bytes, key: str, **fields: str) -> httpx.Response:
    return served.http.post(
        "/generate",
        files={"audio": ("talk.wav", audio)},
        data=fields,
        headers={"Idempotency-Key": key},
    )


def test_the_same_request_gives_the_same_job(served: Served, clip: bytes) -> None:
    first = generate(served, clip, "same-1", takes="2")

    second = generate(served, clip, "same-1", takes="2")

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["location"] == first.headers["location"]


def test_equivalent_fields_are_the_same_request(served: Served, clip: bytes) -> None:
    first = generate(served, clip, "same-2", size="256")

    second = generate(served, clip, "same-2", size="256x256", takes="1", person="demo")

    assert second.json()["id"] == first.json()["id"]


def test_another_body_is_refused(served: Served, clip: bytes, tmp_path: Path) -> None:
    generate(served, clip, "reused")
    other = write_clip(tmp_path / "other.wav", seconds=0.3).read_bytes()

    for answer in (generate(served, other, "reused"), generate(served, clip, "reused", takes="3")):
        assert "'reused'" in problem(answer, 409, "idempotency_key_reused")["detail"]


def test_another_key_or_no_key_makes_another_job(served: Served, clip: bytes) -> None:
    keyed = {generate(served, clip, key).json()["id"] for key in ("one", "two")}
    plain = {
        served.http.post("/generate", files={"audio": ("a", clip)}).json()["id"] for _ in range(2)
    }

    assert len(keyed | plain) == 4


def test_a_replay_of_an_ended_job_returns_200_with_its_state(served: Served, clip: bytes) -> None:
    job_id = generate(served, clip, "ended").json()["id"]
    served.http.post(f"/jobs/{job_id}/cancel")

    again = generate(served, clip, "ended")

    assert (again.status_code, again.json()["state"]) == (200, "canceled")
    assert again.headers["idempotent-replayed"] == "true"
    assert "retry-after" not in again.headers


def test_a_replay_of_a_running_job_returns_its_current_state(served: Served, clip: bytes) -> None:
    generate(served, clip, "running")
    running_id = running(served).id

    assert generate(served, clip, "running").json()["state"] == "running"
    assert served.http.get(f"/jobs/{running_id}").json()["attempt"] == 1


def test_requests_that_race_make_one_job_and_leave_one_clip(served: Served, clip: bytes) -> None:
    storage = served.services.storage
    assert isinstance(storage, LocalStorage)
    before = set((storage.folder / "jobs").glob("*/input/*"))

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: generate(served, clip, "race"), range(6)))

    ids = {answer.json()["id"] for answer in answers}
    replayed = [answer.headers.get("idempotent-replayed") for answer in answers]
    assert {answer.status_code for answer in answers} == {202}
    assert len(ids) == 1
    assert sorted(replayed, key=str) == [None, *["true"] * 5]
    assert len(set((storage.folder / "jobs").glob("*/input/*")) - before) == 1


def test_a_race_with_another_body_is_refused_and_leaves_no_clip(
    served: Served, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate(served, clip, "late")
    storage, database = served.services.storage, served.services.database
    assert isinstance(storage, LocalStorage)
    before = set((storage.folder / "jobs").glob("*/input/*"))
    made_by, calls = database.idempotency_keys.made_by, []

    def find_nothing_at_first(key: object) -> object:
        calls.append(key)
        return None if len(calls) == 1 else made_by(key)

    monkeypatch.setattr(database.idempotency_keys, "made_by", find_nothing_at_first)

    problem(generate(served, clip, "late", takes="2"), 409, "idempotency_key_reused")

    assert set((storage.folder / "jobs").glob("*/input/*")) == before


def test_a_refused_request_leaves_its_key_free(served: Served, clip: bytes) -> None:
    problem(generate(served, b"no sound", "kept"), 415, "audio_type_unsupported")
    problem(generate(served, clip, "kept", person="bob"), 422, "person_unknown")

    assert generate(served, clip, "kept").status_code == 202


def test_a_replay_does_not_need_the_person(
    served: Served, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = generate(served, clip, "person")
    monkeypatch.setattr(submit_module, "list_people", lambda folder: [])

    assert generate(served, clip, "person").json()["id"] == first.json()["id"]


def test_a_deleted_job_frees_its_key(served: Served, clip: bytes) -> None:
    first = generate(served, clip, "free").json()["id"]
    served.http.delete(f"/jobs/{first}")

    assert generate(served, clip, "free").json()["id"] != first


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, "tab\there"])
def test_an_invalid_key_is_refused(served: Served, clip: bytes, key: str) -> None:
    body = problem(generate(served, clip, key), 422, "invalid_request")

    assert [each["field"].lower() for each in body["errors"]] == ["idempotency-key"]


def test_a_key_may_contain_all_visible_characters(served: Served, clip: bytes) -> None:
    key = "".join(chr(code) for code in range(0x21, 0x7F)) + "x" * 161

    ids = {generate(served, clip, key).json()["id"] for _ in range(2)}

    assert (len(key), len(ids)) == (255, 1)


def test_a_conflict_returns_what_the_other_request_made() -> None:
    found = iter([None, "made before"])

    def make() -> str:
        raise IdempotencyConflict

    accepted = make_once(IdempotencyKey("key", "digest"), find=lambda _: next(found), make=make)

    assert accepted == Accepted("made before", replayed=True)


def test_a_conflict_with_a_deleted_job_makes_another_one() -> None:
    conflicts = iter([IdempotencyConflict()])

    def make() -> str:
        for conflict in conflicts:
            raise conflict
        return "made now"

    accepted = make_once(IdempotencyKey("key", "digest"), find=lambda _: None, make=make)

    assert accepted == Accepted("made now", replayed=False)
