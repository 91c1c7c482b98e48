"""POST /detect, and requests for uses that a person's consent does not cover."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from contracts.outputs import OUTPUTS
from contracts.person import write_manifest
from contracts.provenance import Origin
from jobs.database import open_database
from jobs.settings import Settings
from jobs.store.api_keys import Scope
from tests.api.routes.test_people import FACTS
from tests.api_server import Served, serving, write_person
from tests.new_database import create_database
from worker.provenance.manifest import open_signer, sidecar_of

LICENSED = {"kind": "licence", "licence": "CC BY-NC 4.0", "uses": ["non-commercial"]}
ENDED = {"kind": "given", "given_by": "x", "until": "2020-01-01", "uses": ["non-commercial"]}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("detect")
    people = write_person(write_person(folder / "people", "ended"), "licensed")
    for name, consent in (("ended", ENDED), ("licensed", LICENSED)):
        facts = {key: value for key, value in FACTS.items() if key != "media"}
        write_manifest(people / name, facts | {"name": name, "consent": consent}, [])
    return Settings(data=folder / "data", people=people, access="keys", detect="open")


@pytest.fixture(scope="module")
def server(settings: Settings) -> Iterator[Served]:
    create_database(settings.database_url)
    with closing(open_database(settings)) as database:
        token = database.api_keys.create("acme", "a test", [Scope.READ, Scope.WRITE]).token
    with serving(settings) as served:
        served.http.headers["X-Test-Key"] = token
        yield served


def test_a_file_is_examined_for_everybody_where_the_operator_allows_it(
    server: Served, settings: Settings, tmp_path: Path
) -> None:
    signer, path = open_signer(settings), tmp_path / "motion-1.csv"
    assert signer is not None
    path.write_text("a,b\n1,2\n")
    signer.sign(path, OUTPUTS["csv"], Origin("r", "licensed", "d"), {"seed": 1})
    files = {"file": path.read_bytes(), "manifest": sidecar_of(path).read_bytes()}

    answers = [
        server.http.post("/detect", files=given).json()["manifest"]
        for given in (files, files | {"file": b"a,b\n1,3\n"}, {"file": files["file"]})
    ]

    assert [answer["state"] for answer in answers] == ["valid", "invalid", "absent"]
    assert answers[0]["trusted"] and answers[0]["claims"]["seed"] == 1
    assert answers[1]["reasons"] == ["the file was changed after it was signed"]


def test_uses_beyond_the_consent_are_refused(server: Served, clip: bytes) -> None:
    key = {"Authorization": f"Bearer {server.http.headers['X-Test-Key']}"}

    def refused(**fields: str) -> str:
        answer = server.http.post("/generate", files={"audio": clip}, data=fields, headers=key)
        assert (answer.status_code, answer.json()["code"]) == (422, "consent_refused")
        return str(answer.json()["detail"])

    assert refused(person="licensed", use="commercial") == (
        "use: the licence of 'licensed', CC BY-NC 4.0, does not cover commercial use; choose "
        "another person."
    )
    assert refused(person="ended").startswith("person: the consent of 'ended' ended on 2020-01-01")
    accepted = server.http.post(
        "/generate", files={"audio": clip}, data={"person": "licensed"}, headers=key
    )
    assert accepted.status_code == 202 and accepted.json()["consent"] == LICENSED
