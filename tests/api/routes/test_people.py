"""GET /people, and the pictures of persons."""

from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import httpx
import pytest

from contracts.person import write_manifest
from jobs.database import open_database
from jobs.settings import Settings
from jobs.store.api_keys import Scope
from tests.api_server import Served, serving, write_person
from tests.new_database import create_database

PICTURE, LOOP = b"RIFF....WEBP", b"....ftypisom"
FACTS = {
    "name": "demo",
    "title": "Demo",
    "licence": "CC0-1.0",
    "limits": {"max_seconds": 5.0},
    "defaults": {
        "steps": 50,
        "guidance_face": 1.5,
        "guidance_body": 1.5,
        "diversity": 0.97,
        "size": "512x512",
    },
    "media": {"picture": "picture.webp", "loop": "loop.mp4"},
}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that wants keys, with one person who has a picture and one who has none."""
    folder = tmp_path_factory.mktemp("people")
    people = write_person(write_person(folder / "people", "ada"), "demo")
    (people / "demo" / "picture.webp").write_bytes(PICTURE)
    (people / "demo" / "loop.mp4").write_bytes(LOOP)
    write_manifest(people / "demo", FACTS, ["picture.webp", "loop.mp4"])
    settings = Settings(data=folder / "data", people=people, access="keys")
    create_database(settings.database_url)
    with closing(open_database(settings)) as database:
        token = database.api_keys.create("acme", "a test", [Scope.READ]).token
    with serving(settings) as server:
        server.http.headers["Authorization"] = f"Bearer {token}"
        yield server


@pytest.fixture
def people(keyed: Served) -> dict[str, dict[str, str | None]]:
    return {person["name"]: person for person in keyed.http.get("/people").json()["people"]}


def address(url: str | None) -> str:
    assert url is not None
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def test_a_picture_is_shown_without_a_key_and_cached_forever(
    keyed: Served, people: dict[str, dict[str, str | None]]
) -> None:
    for kind, content, media_type in (
        ("picture", PICTURE, "image/webp"),
        ("loop", LOOP, "video/mp4"),
    ):
        url = people["demo"][kind]
        assert url is not None and url.startswith(str(keyed.http.base_url))
        answer = httpx.get(url)
        assert (answer.status_code, answer.content) == (200, content)
        assert answer.headers["content-type"] == media_type
        assert "immutable" in answer.headers["cache-control"]
        assert "content-disposition" not in answer.headers


def test_a_film_is_sent_in_ranges(keyed: Served, people: dict[str, dict[str, str | None]]) -> None:
    loop = address(people["demo"]["loop"])

    assert keyed.http.get(loop, headers={"Range": "bytes=4-7"}).content == b"ftyp"
    assert keyed.http.get(loop, headers={"Range": "bytes=99-"}).status_code == 416


def test_a_person_without_pictures_has_none(people: dict[str, dict[str, str | None]]) -> None:
    assert people["ada"]["picture"] is None
    assert people["ada"]["loop"] is None
    assert "files" not in people["demo"]


@pytest.mark.parametrize(
    "path",
    [
        "/people/demo/picture.webp?version=0123",
        "/people/demo/person.json?version={version}",
        "/people/ada/picture.webp?version={version}",
        "/people/demo/..%2F..%2Fdata?version={version}",
    ],
)
def test_other_files_are_not_shown(
    keyed: Served, people: dict[str, dict[str, str | None]], path: str
) -> None:
    version = address(people["demo"]["picture"]).partition("version=")[2]

    assert keyed.http.get(path.format(version=version)).status_code == 404
