"""429 when a quota is reached: with its numbers, and without stored files."""

from pathlib import Path

import httpx
import pytest

from jobs.settings import Settings
from jobs.storage.factory import LocalStorage
from tests.api_server import Served, serving
from tests.problems import problem


def send(served: Served, clip: bytes) -> httpx.Response:
    return served.http.post("/generate", files={"audio": ("talk.wav", clip)})


@pytest.mark.parametrize(
    ("quota", "code", "waits"),
    [
        ({"quota_jobs_in_flight": 1}, "quota_jobs", False),
        ({"quota_seconds_a_day": 0.9}, "quota_seconds", True),
        ({"quota_stored_bytes": 150_000}, "quota_bytes", False),
    ],
)
def test_a_request_beyond_a_quota_is_refused(
    settings: Settings,
    clip: bytes,
    tmp_path: Path,
    quota: dict[str, float],
    code: str,
    waits: bool,
) -> None:
    own = {"database_url": f"sqlite:///{tmp_path / 'v.db'}", "storage_url": tmp_path.as_uri()}
    with serving(settings.model_copy(update=own | quota)) as served:
        accepted = send(served, clip)
        refusal = send(served, clip)
        storage = served.services.storage

    body = problem(refusal, 429, code)
    assert accepted.status_code == 202
    assert body["quota"]["limit"] == next(iter(quota.values()))
    assert body["quota"]["used"] + body["quota"]["asked"] > body["quota"]["limit"]
    assert ("retry-after" in refusal.headers) is waits
    assert isinstance(storage, LocalStorage)
    assert len(list((storage.folder / "jobs").glob("*/input/*"))) == 1
