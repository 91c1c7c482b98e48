"""The same tests for every storage: a local folder, and S3 on a real server on loopback."""

import os
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest

from jobs.settings import Settings
from jobs.storage.base import part_key
from jobs.storage.factory import (
    LocalStorage,
    ObjectMissing,
    S3Storage,
    StorageError,
    open_storage,
)
from jobs.storage.keys import IDENTITY_KEY

KEY = "jobs/a1/attempt-1/take-1.mp4"


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "video.mp4"
    path.write_bytes(bytes(range(256)) * 4000)  # more than three chunks
    return path


def test_a_stored_object_is_read_back(storage: LocalStorage, video: Path, tmp_path: Path) -> None:
    storage.put(KEY, video, "video/mp4")
    storage.get(KEY, tmp_path / "back.mp4")

    assert (tmp_path / "back.mp4").read_bytes() == video.read_bytes()
    assert b"".join(storage.open(KEY)) == video.read_bytes()
    info = storage.stat(KEY)
    assert (info.key, info.bytes, info.content_type) == (KEY, 1_024_000, "video/mp4")


def test_a_range_can_be_read(storage: LocalStorage, video: Path) -> None:
    storage.put(KEY, video, "video/mp4")

    assert b"".join(storage.open(KEY, start=300, length=5)) == bytes(range(44, 49))
    assert b"".join(storage.open(KEY, start=1_023_999)) == b"\xff"


def test_a_copy_remains_when_its_original_is_deleted(storage: LocalStorage, video: Path) -> None:
    storage.put(KEY, video, "video/mp4")
    other = "jobs/b2/attempt-0/take-1.mp4"

    storage.copy(KEY, other)
    storage.delete("jobs/a1")

    assert b"".join(storage.open(other)) == video.read_bytes()
    assert storage.stat(other).content_type == "video/mp4"
    with pytest.raises(ObjectMissing, match=KEY):
        storage.copy(KEY, other)


def test_storing_again_replaces_the_object(
    storage: LocalStorage, video: Path, tmp_path: Path
) -> None:
    storage.put(KEY, video, "video/mp4")
    (tmp_path / "other").write_bytes(b"other")
    storage.put(KEY, tmp_path / "other", "video/mp4")

    assert b"".join(storage.open(KEY)) == b"other"


def test_the_error_names_a_missing_object(storage: LocalStorage, tmp_path: Path) -> None:
    for read in (
        lambda: storage.stat(KEY),
        lambda: storage.get(KEY, tmp_path / "x"),
        lambda: list(storage.open(KEY)),
    ):
        with pytest.raises(ObjectMissing, match=KEY):
            read()


def test_delete_removes_a_folder_and_not_its_neighbour(storage: LocalStorage, video: Path) -> None:
    for key in ("jobs/a1/input/audio.wav", "jobs/a1/attempt-1/motion.npz", "jobs/a11/x.mp4"):
        kind = {"wav": "audio/wav", "npz": "application/octet-stream", "mp4": "video/mp4"}
        storage.put(key, video, kind[key[-3:]])

    storage.delete("jobs/a1")
    storage.delete("jobs/a1")

    with pytest.raises(ObjectMissing):
        storage.stat("jobs/a1/attempt-1/motion.npz")
    assert storage.stat("jobs/a11/x.mp4").bytes == 1_024_000


def test_all_objects_are_listed_in_pages_and_can_be_removed(
    storage: LocalStorage, video: Path
) -> None:
    keys = [
        f"jobs/{job}/{place}"
        for job in ("a", "a-b", "a1", "b")
        for place in ("attempt-1/take-1.mp4", "attempt-10/take-1.mp4", "input/x.mp4")
    ]
    for key in [*keys, "other/x.mp4"]:
        storage.put(key, video, "video/mp4")
    pages, after = [], None
    while page := storage.page("jobs", after=after, limit=5):
        pages.append(page)
        after = page[-1].key
        storage.remove([page[0].key])  # a removal in between does not change later pages

    found = [one.key for page in pages for one in page]
    assert sorted(found) == sorted(keys)
    assert [len(page) for page in pages] == [5, 5, 2]
    assert {one.job_id for one in pages[0]} <= {"a", "a-b", "a1", "b"}
    assert abs((pages[0][0].modified - datetime.now(UTC)).total_seconds()) < 600
    storage.remove(keys)
    storage.remove(keys)
    storage.remove([])
    assert storage.page("jobs", after=None, limit=5) == []
    assert storage.stat("other/x.mp4").bytes == 1_024_000


def test_drafts_that_a_crash_has_left_are_removed(tmp_path: Path, video: Path) -> None:
    storage = open_storage(Settings(data=tmp_path))
    storage.make_root("identity")
    assert isinstance(storage, LocalStorage)
    storage.put(KEY, video, "video/mp4")
    old, new = (storage.path(KEY).with_name(f".draft-{name}") for name in ("old", "new"))
    for draft in (old, new):
        draft.write_bytes(b"half")
    os.utime(old, (1, 1))

    assert [one.key for one in storage.page("jobs", after=None, limit=9)] == [KEY]

    assert (old.exists(), new.exists()) == (False, True)


@pytest.mark.parametrize(
    "key",
    ["../secret", "jobs/../../x", "/etc/passwd", "jobs//x", "jobs/.hidden", "jobs/x/", "", "a\\b",
     "jobs/a b", "jobs/a\nb", "jobs/ä", "x" * 256, "jobs/a%2e"],
)  # fmt: skip
def test_a_key_cannot_leave_the_storage(storage: LocalStorage, video: Path, key: str) -> None:
    with pytest.raises(StorageError, match="invalid key"):
        storage.put(key, video, "video/mp4")
    with pytest.raises(StorageError, match="invalid key"):
        storage.stat(key)
    with pytest.raises(StorageError, match="invalid key"):
        storage.delete(key)


def test_check_passes_when_objects_can_be_stored(storage: LocalStorage) -> None:
    storage.check()
    with pytest.raises(ObjectMissing):
        storage.stat(KEY)


@pytest.mark.services
def test_a_link_to_s3_downloads_with_its_file_name(s3_settings: Settings, video: Path) -> None:
    storage = open_storage(s3_settings)
    storage.put(KEY, video, "video/mp4")

    answer = httpx.get(storage.link(KEY, filename="my take.mp4", seconds=60))

    assert answer.content == video.read_bytes()
    assert answer.headers["content-type"] == "video/mp4"
    assert "my%20take.mp4" in answer.headers["content-disposition"]
    storage.close()


@pytest.mark.services
def test_s3_without_its_bucket_fails_the_check(s3_settings: Settings, s3_address: str) -> None:
    url = f"s3://nowhere?endpoint_url={s3_address}"
    storage = open_storage(s3_settings.model_copy(update={"storage_url": url}))
    with pytest.raises(StorageError, match="nowhere"):
        storage.check()
    storage.close()


@pytest.mark.usefixtures("s3_credentials")
def test_an_unavailable_s3_raises_a_storage_error(tmp_path: Path, video: Path) -> None:
    url = "s3://bucket?endpoint_url=http://127.0.0.1:9&region=us-east-1"
    storage = open_storage(Settings(data=tmp_path, storage_url=url))
    for act in (storage.check, lambda: storage.put(KEY, video, "video/mp4")):
        with pytest.raises(StorageError, match="did not answer"):
            act()
    storage.close()


class Wall:
    """A wall clock that is set by tests."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def signed(storage: LocalStorage, *, seconds: int = 60) -> dict[str, str]:
    link = urlsplit(storage.link(KEY, filename="take.mp4", seconds=seconds))
    query = {name: values[0] for name, values in parse_qs(link.query).items()}
    return {
        "key": unquote(link.path).removeprefix("/files/"),
        "filename": query["name"],
        "expires": query["expires"],
        "signature": query["signature"],
    }


def test_a_local_link_is_valid_until_it_expires(tmp_path: Path) -> None:
    wall = Wall()
    storage = LocalStorage(tmp_path, address="", signing_key=b"secret", now=wall)
    link = signed(storage)

    assert storage.allows(**link)
    wall.now += 61
    assert not storage.allows(**link)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("key", "jobs/a2/attempt-1/take-1.mp4"),
        ("filename", "virus.exe"),
        ("expires", "9999999999"),
        ("expires", "∞"),
        ("expires", ""),
        ("signature", "0" * 64),
        ("signature", ""),
        ("signature", "ü"),
    ],
)
def test_an_altered_local_link_is_invalid(tmp_path: Path, part: str, value: str) -> None:
    storage = LocalStorage(tmp_path, address="", signing_key=b"secret", now=Wall())

    assert not storage.allows(**(signed(storage) | {part: value}))


def test_a_link_signed_with_another_secret_is_invalid(tmp_path: Path) -> None:
    ours = LocalStorage(tmp_path, address="", signing_key=b"secret", now=Wall())
    theirs = LocalStorage(tmp_path, address="", signing_key=b"guess", now=Wall())

    assert not ours.allows(**signed(theirs))


def test_a_local_link_starts_with_the_public_address(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, public_url="https://video.example/")

    link = open_storage(settings).link(KEY, filename="a.mp4", seconds=9)

    assert link.startswith(f"https://video.example/files/{KEY}?")


def test_an_interrupted_write_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, video: Path
) -> None:
    storage = LocalStorage(tmp_path / "objects", address="", signing_key=b"secret")
    storage.make_root("identity")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        storage.put(KEY, video, "video/mp4")

    files = [path.name for path in (tmp_path / "objects").rglob("*") if path.is_file()]
    assert files == [IDENTITY_KEY]


def test_a_content_type_that_contradicts_the_suffix_is_rejected(
    tmp_path: Path, video: Path
) -> None:
    storage = LocalStorage(tmp_path, address="", signing_key=b"secret")

    with pytest.raises(StorageError, match="content type text/html, expected video/mp4"):
        storage.put(KEY, video, "text/html")


@pytest.mark.parametrize(
    "url", ["ftp://host/x", "s3://", "nonsense", "s3://bucket?endpoint=http://x"]
)
def test_an_invalid_storage_url_is_rejected(tmp_path: Path, url: str) -> None:
    with pytest.raises(StorageError, match="VISAVIS_STORAGE_URL"):
        open_storage(Settings(data=tmp_path, storage_url=url))


def test_a_folder_that_cannot_be_written_fails_the_check(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    storage = LocalStorage(tmp_path / "file", address="", signing_key=b"secret")

    with pytest.raises(StorageError, match="cannot make"):
        storage.make_root("identity")
    with pytest.raises(StorageError, match="mount the storage"):
        storage.check()


def test_nothing_makes_a_missing_root_again(tmp_path: Path, video: Path) -> None:
    storage = LocalStorage(tmp_path / "objects", address="", signing_key=b"secret")
    storage.make_root("identity")
    storage.put(KEY, video, "video/mp4")
    assert storage.owner() == "identity"
    storage.check()
    mounted = (tmp_path / "objects").rename(tmp_path / "elsewhere")

    def receive() -> None:
        with storage.receiving(part_key(KEY, 1)) as file:
            file.write(b"x")

    uses = {
        "put": lambda: storage.put(KEY, video, "video/mp4"),
        "get": lambda: storage.get(KEY, tmp_path / "copy"),
        "copy": lambda: storage.copy(KEY, KEY),
        "stat": lambda: storage.stat(KEY),
        "delete": lambda: storage.delete("jobs"),
        "remove": lambda: storage.remove([KEY]),
        "page": lambda: storage.page("jobs", after=None, limit=1),
        "receiving": receive,
        "join_parts": lambda: storage.join_parts(KEY, "", []),
        "check": storage.check,
    }
    for folder in ("absent", "an empty mount point"):
        for name, use in uses.items():
            with pytest.raises(StorageError, match="mount the storage") as caught:
                use()
            assert not isinstance(caught.value, ObjectMissing), name
        assert storage.owner() is None
        assert (folder == "absent") is not storage.folder.exists()
        storage.folder.mkdir(exist_ok=True)
    storage.folder.rmdir()
    mounted.rename(storage.folder)

    assert storage.stat(KEY).bytes == video.stat().st_size


@pytest.mark.services
def test_links_have_the_public_address_and_a_missing_bucket_is_created(
    s3_credentials: None, s3_address: str, video: Path
) -> None:
    public = s3_address.replace("127.0.0.1", "localhost")
    url = f"s3://new-bucket?endpoint_url={s3_address}&public_endpoint_url={public}"
    storage = open_storage(Settings(storage_url=f"{url}&region=eu-central-1"))
    assert isinstance(storage, S3Storage)

    assert [storage.create_bucket(), storage.create_bucket()] == [True, False]
    storage.put(KEY, video, "video/mp4")
    link = storage.link(KEY, filename="a.mp4", seconds=60)
    storage.close()

    assert link.startswith(f"{public}/new-bucket/{KEY}?")
    assert httpx.get(link).content == video.read_bytes()
