"""Uploads in parts and downloads, with connections that are cut."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import visavis
from visavis.testing import FakeService, Fault

CONTENT = bytes(range(256)) * 40


def puts(fake: FakeService) -> list[str]:
    return [each.url.path.rpartition("/")[2] for each in fake.requests if each.method == "PUT"]


@pytest.fixture
def fake() -> FakeService:
    return FakeService(part_bytes=4000, content=CONTENT)


@pytest.fixture
def client(fake: FakeService) -> Iterator[visavis.Client]:
    with visavis.Client(transport=fake, api_key="vv_key") as made:
        yield made


def test_a_large_recording_is_sent_in_parts(
    fake: FakeService, client: visavis.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visavis.client.INLINE_BYTES", 1000)
    sent: list[tuple[int, int]] = []
    with visavis.Client(transport=fake, api_key="vv_key") as limited:
        job = limited.generate(CONTENT, takes=2)
    announced: list[visavis.Upload] = []
    upload = client.uploads.create(
        CONTENT, progress=lambda *bytes: sent.append(bytes), announced=announced.append
    )
    assert [(each.id, each.state) for each in announced] == [(upload.id, "open")]
    again = client.generate(upload)

    assert fake.recordings[job.id] == fake.recordings[again.id] == CONTENT
    assert upload.state == "ready"
    assert sent == [(4000, 10240), (8000, 10240), (10240, 10240), (10240, 10240)]


def test_a_recording_that_is_too_large_for_a_request_is_sent_in_parts(
    fake: FakeService, client: visavis.Client
) -> None:
    fake.add_faults(Fault(413))

    assert fake.recordings[client.generate(CONTENT).id] == CONTENT
    assert puts(fake) == ["1", "2", "3"]


def test_addresses_of_parts_get_no_key(fake: FakeService, client: visavis.Client) -> None:
    client.uploads.create(CONTENT)

    keys = {each.method: each.headers.get("authorization") for each in fake.requests}
    assert keys == {"POST": "Bearer vv_key", "PUT": None}


@pytest.mark.parametrize("fault", [Fault(), Fault(503), Fault(lost=True)])
def test_only_the_part_that_was_cut_is_sent_again(
    fake: FakeService, client: visavis.Client, pauses: list[float], fault: Fault
) -> None:
    client.uploads.create(
        CONTENT, progress=lambda sent, _all: sent == 4000 and fake.add_faults(fault)
    )

    assert puts(fake) == ["1", "2", "2", "3"]


def test_an_expired_address_of_a_part_is_renewed(fake: FakeService, client: visavis.Client) -> None:
    answers = iter([None, Fault(403, code="link_invalid")])
    handle = fake.handler

    def expire_one(request: httpx.Request) -> httpx.Response:
        if request.method == "PUT" and (fault := next(answers, None)):
            fake.add_faults(fault)
        return handle(request)

    fake.handler = expire_one
    client.uploads.create(CONTENT)

    assert puts(fake) == ["1", "2", "2", "3"]


def test_an_upload_that_was_interrupted_is_resumed_by_its_id(
    fake: FakeService, client: visavis.Client, pauses: list[float]
) -> None:
    def cut_after_the_first(sent: int, _all: int) -> None:
        if sent == 4000:
            fake.add_faults(*[Fault()] * 6)

    with pytest.raises(visavis.UploadError) as caught:
        client.uploads.create(CONTENT, progress=cut_after_the_first)
    fake.requests.clear()

    with visavis.Client(transport=fake) as later:
        upload = later.uploads.resume(caught.value.upload_id, CONTENT)
        assert later.uploads.resume(upload.id, CONTENT).state == "ready"  # nothing is left to send

    assert puts(fake) == ["2", "3"]
    assert fake.recordings[client.generate(upload).id] == CONTENT


def test_another_file_does_not_continue_an_upload(
    fake: FakeService, client: visavis.Client, pauses: list[float]
) -> None:
    with pytest.raises(visavis.UploadError) as caught:
        client.uploads.create(CONTENT, progress=lambda *_: fake.add_faults(*[Fault()] * 6))

    with pytest.raises(visavis.UploadError, match="10240 bytes, and the file has 5"):
        client.uploads.resume(caught.value.upload_id, b"other")


@pytest.fixture
def output(client: visavis.Client) -> visavis.Output:
    return client.generate(b"sound").wait().outputs[0]


def test_a_file_is_written_to_a_path_or_a_folder(
    output: visavis.Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert output.download("new/folder/me.mp4") == Path("new/folder/me.mp4")
    assert output.download(tmp_path / "new") == tmp_path / "new" / "take-1.mp4"
    assert output.download() == Path("take-1.mp4")

    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.read_bytes() for path in files} == {CONTENT}
    assert len(files) == 3
    umask = os.umask(0)
    os.umask(umask)
    assert files[0].stat().st_mode & 0o777 == 0o666 & ~umask


class Cutting(httpx.BaseTransport):
    """Transport that cuts downloads after each 3000 bytes; their tags count up by `changing`."""

    def __init__(self, fake: FakeService, *, changing: bool = False) -> None:
        self.fake, self.changing = fake, changing
        self.ranges: list[str | None] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if "/outputs/" not in request.url.path:
            return self.fake.handle_request(request)
        self.ranges.append(request.headers.get("range"))
        tag = f'"{len(self.ranges)}"' if self.changing and len(self.ranges) < 3 else '"last"'
        if request.headers.get("if-range", tag) != tag:
            del request.headers["range"]
        answer = self.fake.handle_request(request)
        answer.headers["etag"] = tag
        content = answer.content

        class Body(httpx.SyncByteStream):
            def __iter__(self) -> Iterator[bytes]:
                yield content[:3000]
                if len(content) > 3000:
                    raise httpx.RemoteProtocolError("cut")

        headers = {
            name: answer.headers[name] for name in answer.headers if name != "content-length"
        }
        return httpx.Response(answer.status_code, headers=headers, stream=Body())


@pytest.mark.parametrize(
    ("changing", "ranges"),
    [
        (False, [None, "bytes=3000-", "bytes=6000-", "bytes=9000-"]),
        (True, [None, "bytes=3000-", "bytes=3000-", "bytes=3000-", "bytes=6000-", "bytes=9000-"]),
    ],
)
def test_a_cut_download_is_continued(
    fake: FakeService, tmp_path: Path, pauses: list[float], changing: bool, ranges: list[str | None]
) -> None:
    """A file that has changed meanwhile is read from its start."""
    transport = Cutting(fake, changing=changing)
    with visavis.Client(transport=transport, max_retries=3) as client:
        path = client.generate(b"sound").wait().takes[0].download(tmp_path / "out.mp4")

    assert path.read_bytes() == CONTENT
    assert transport.ranges == ranges


def test_a_file_of_another_size_is_not_written(
    fake: FakeService, output: visavis.Output, tmp_path: Path
) -> None:
    (tmp_path / "out.mp4").write_bytes(b"before")
    output.bytes -= 1

    with pytest.raises(visavis.DownloadError, match=re.escape("10240 bytes, not 10239")):
        output.download(tmp_path / "out.mp4")

    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert (tmp_path / "out.mp4").read_bytes() == b"before"


def test_a_file_that_does_not_arrive_leaves_nothing(
    fake: FakeService, output: visavis.Output, tmp_path: Path, pauses: list[float]
) -> None:
    fake.add_faults(*[Fault()] * 6)

    with pytest.raises(visavis.APIConnectionError):
        output.download(tmp_path / "out.mp4")

    assert list(tmp_path.iterdir()) == []
