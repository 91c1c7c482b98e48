"""Multipart uploads to a folder and to a bucket."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from jobs.settings import Settings
from jobs.storage.factory import LocalStorage, ObjectMissing, PartMissing, S3Storage, open_storage

KEY = "uploads/u1/clip.bin"
SECOND = bytes(range(200))
FIRST = b"a" * (5 << 20)  # the smallest part of S3, except for the last one


def send(
    storage: LocalStorage | S3Storage, session: str, number: int, content: bytes
) -> httpx.Response | None:
    """Upload a part: over HTTP to a bucket, as the route does to a folder."""
    link = storage.part_link(KEY, session, number, bytes=len(content), seconds=60)
    if isinstance(storage, S3Storage):
        return httpx.put(link, content=content)
    with storage.receiving(urlsplit(link).path.removeprefix("/files/")) as file:
        file.write(content)
    return None


def test_parts_are_joined_to_an_object(storage: LocalStorage | S3Storage) -> None:
    session = storage.begin_parts(KEY)
    send(storage, session, 2, SECOND)  # in any order
    send(storage, session, 1, b"bad")
    send(storage, session, 1, FIRST)  # a repeated part replaces the first one

    with pytest.raises(ObjectMissing):
        storage.stat(KEY)
    storage.join_parts(KEY, session, [len(FIRST), len(SECOND)])
    storage.join_parts(KEY, session, [len(FIRST), len(SECOND)])

    assert b"".join(storage.open(KEY)) == FIRST + SECOND


def test_the_error_names_a_missing_part(storage: LocalStorage | S3Storage) -> None:
    session = storage.begin_parts(KEY)
    send(storage, session, 1, FIRST)

    with pytest.raises(PartMissing, match="part 2 is missing"):
        storage.join_parts(KEY, session, [len(FIRST), 5])
    with pytest.raises(PartMissing, match=f"part 1 has {len(FIRST)} of 7 bytes"):
        storage.join_parts(KEY, session, [7, 5])


def test_abandoned_parts_are_removed(storage: LocalStorage | S3Storage) -> None:
    session = storage.begin_parts(KEY)
    send(storage, session, 1, SECOND)

    storage.abandon_parts(KEY, session)
    storage.abandon_parts(KEY, session)

    with pytest.raises((ObjectMissing, PartMissing)):
        storage.join_parts(KEY, session, [len(SECOND)])


def test_a_link_is_valid_for_one_part_of_one_size(tmp_path: Path) -> None:
    storage = open_storage(Settings(data=tmp_path))
    storage.make_root("identity")
    assert isinstance(storage, LocalStorage)
    link = urlsplit(storage.part_link(KEY, "", 1, bytes=200, seconds=60))
    query = {name: values[0] for name, values in parse_qs(link.query).items()}
    signed = {"expires": query["expires"], "signature": query["signature"]}

    assert storage.allows_part(f"{KEY}.part-1", bytes=200, **signed)
    assert not storage.allows_part(f"{KEY}.part-1", bytes=201, **signed)
    assert not storage.allows_part(f"{KEY}.part-2", bytes=200, **signed)
    assert not storage.allows(f"{KEY}.part-1", filename="200", **signed)  # not a download link


def test_an_interrupted_part_leaves_no_file(tmp_path: Path) -> None:
    storage = open_storage(Settings(data=tmp_path))
    storage.make_root("identity")
    assert isinstance(storage, LocalStorage)

    with pytest.raises(ValueError, match="broken"), storage.receiving(f"{KEY}.part-1") as file:
        file.write(b"half")
        raise ValueError("broken off")

    files = [path.name for path in storage.folder.rglob("*") if path.is_file()]
    assert files == ["database.txt"]
