"""Warnings about a clip: from the probe to every description of the job."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.model import JobWarning
from jobs.sandbox.audio_formats import MediaLimits
from jobs.sandbox.audio_probe import ClipInfo, inspect_clip
from tests.api.routes.test_batches import batch
from tests.api.routes.test_generate import generate
from tests.api.routes.test_render import job_with_motion, render
from tests.api.services.test_multipart_uploads import uploaded
from tests.api_server import Served
from tests.page_dom import warnings_of_page

pytestmark = pytest.mark.usefixtures("queue")

CUT = {"code": "audio_cut_off", "detail": "The file is cut off at 0.50 s."}


@pytest.fixture(autouse=True)
def _cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every clip has a warning."""

    def probe(path: Path, *, limits: MediaLimits) -> ClipInfo:
        return replace(inspect_clip(path, limits), warnings=(JobWarning(**CUT),))

    monkeypatch.setattr("api.services.upload_intake.probe", probe)


def view(served: Served, job_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = served.http.get(f"/jobs/{job_id}").json()
    return answer


def test_a_job_has_the_warnings_of_its_clip(served: Served, clip: bytes) -> None:
    answer = generate(served, clip).json()

    assert answer["warnings"] == [CUT]
    assert view(served, answer["id"])["warnings"] == [CUT]
    assert served.http.get("/jobs", params={"limit": 1}).json()["jobs"][0]["warnings"] == [CUT]


def test_jobs_of_an_upload_have_its_warnings(served: Served, clip: bytes) -> None:
    upload = {"upload_id": uploaded(served, clip)["id"]}

    single = served.http.post("/generate", json=upload).json()
    items = batch(served, [upload, upload])["items"]

    assert single["warnings"] == [CUT]
    assert [view(served, item["job"])["warnings"] for item in items] == [[CUT], [CUT]]


def test_a_job_that_renders_again_has_the_warnings_of_its_source(
    served: Served, clip: bytes, tmp_path: Path
) -> None:
    source = job_with_motion(served, tmp_path, clip=clip)  # type: ignore[arg-type]

    assert render(served, source.id).json()["warnings"] == [CUT]


def test_the_page_lists_them(served: Served, clip: bytes) -> None:
    job = view(served, generate(served, clip).json()["id"])

    assert warnings_of_page(job) == [CUT["detail"]]
    assert warnings_of_page(job | {"warnings": []}) is None
    assert 'id="warnings"' in served.http.get("/").text
