"""Recordings of many kinds by a form and by an upload: the same length, counted in samples."""

from collections.abc import Iterator

import pytest

from jobs.settings import Settings
from tests.api.services.test_multipart_uploads import uploaded
from tests.api_server import Served, serving, write_person
from tests.jobs.sandbox.test_audio_cases import CASES, FILES, Case


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server for clips of up to 20 seconds."""
    folder = tmp_path_factory.mktemp("cases")
    people = write_person(folder / "people", "demo", max_seconds=20.0)
    with serving(Settings(data=folder / "data", people=people)) as server:
        yield server


@pytest.mark.parametrize("case", FILES, ids=lambda case: case.name)
def test_a_recording_has_the_same_length_by_every_way(served: Served, case: Case) -> None:
    content = (CASES / case.name).read_bytes()

    form = served.http.post("/generate", files={"audio": (case.name, content)})
    upload = served.http.post("/generate", json={"upload_id": uploaded(served, content)["id"]})

    for answer in (form, upload):
        assert answer.status_code == 202, answer.text
        job = answer.json()
        assert round(job["clip_seconds"] * 48_000) == case.samples
        assert [warning["code"] for warning in job["warnings"]] == list(case.warnings)
