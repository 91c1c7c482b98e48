"""`visavis send`: files, warnings, failures, Ctrl-C."""

import errno
import os
from pathlib import Path

import httpx
import pytest

from tests.client.command.conftest import Call
from visavis.testing import FakeService


def files() -> set[str]:
    """Files of the working directory except the recording."""
    return {path.name for path in Path().iterdir() if path.is_file()} - {"talk.wav"}


def test_the_video_is_written_and_its_path_printed(call: Call, service: FakeService) -> None:
    ended = call("send", "talk.wav", "-o", "hello.mp4")

    assert (ended.status, ended.stdout) == (0, "hello.mp4\n")
    assert Path("hello.mp4").read_bytes() == b"video"
    assert "render" in ended.stderr and "succeeded" in ended.stderr
    assert list(service.recordings.values()) == [b"sound"]


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        ([], {"talk.mp4"}),
        (["-o", "a.webm"], {"a.webm"}),
        (["-o", "a.npz"], {"a.npz"}),
        (["-o", "a.zip", "--takes", "2"], {"a-take-1.zip", "a-take-2.zip"}),
        (["-o", "a.npz", "--outputs", "video,motion", "--format", "mov"], {"a.mov", "a.npz"}),
    ],
)
def test_the_suffix_selects_the_output(call: Call, arguments: list[str], written: set[str]) -> None:
    ended = call("send", "talk.wav", *arguments)

    assert ended.status == 0, ended.stderr
    assert files() == written == set(ended.stdout.split())


def test_a_folder_receives_files_named_after_the_recording(call: Call) -> None:
    assert call("send", "talk.wav", "-o", "new/").stdout == "new/talk.mp4\n"
    assert call("send", "talk.wav", "-o", "new", "--takes", "2").stdout.split() == [
        "new/talk-take-1.mp4",
        "new/talk-take-2.mp4",
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-o", "old.mp4"], "old.mp4 exists; name another file, or add --overwrite"),
        (["-o", "a.avi"], "--out: a.avi has the unknown suffix '.avi'; write one of .mp4, "),
        (["-o", "a"], "--out: a has no suffix; write one of .mp4, "),
        (["-o", "a.mp4", "--format", "webm"], "--out: a.mp4 contradicts --format or --outputs"),
        (["-o", "none/a.mp4"], "--out: no folder none for a.mp4; create it first"),
        (["-o", "old.mp4/"], "--out: no file can be written to old.mp4; name another folder"),
        (["-o", "a.mp4", "--no-wait"], "--out: --no-wait fetches no files; use "),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_sent(
    call: Call, service: FakeService, arguments: list[str], sentence: str
) -> None:
    Path("old.mp4").write_bytes(b"old")

    ended = call("send", "talk.wav", *arguments)

    assert (ended.status, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert ended.stderr.startswith(sentence)
    assert (service.requests, Path("old.mp4").read_bytes()) == ([], b"old")


def test_an_existing_file_is_replaced_on_request(call: Call) -> None:
    Path("old.mp4").write_bytes(b"old")

    assert call("send", "talk.wav", "-o", "old.mp4", "--overwrite").status == 0
    assert Path("old.mp4").read_bytes() == b"video"


def test_a_job_that_is_not_waited_for_is_printed(call: Call, service: FakeService) -> None:
    ended = call("send", "talk.wav", "--no-wait", "-q")

    assert (ended.status, ended.stdout.split(), ended.stderr) == (0, list(service.jobs), "")
    assert files() == set()


def test_warnings_of_the_recording_are_printed(call: Call, service: FakeService) -> None:
    def warned(request: httpx.Request) -> httpx.Response:
        response = service.handle_request(request)
        for job in service.jobs.values():
            job["warnings"] = [{"code": "audio_clipped", "detail": "The audio is clipped."}]
        return response

    quiet = call("send", "talk.wav", "-q", transport=warned)
    (document,) = call("send", "talk.wav", "--json", "--overwrite", transport=warned).documents

    assert quiet.stderr == "warning: audio_clipped: The audio is clipped.\n"
    assert document["warnings"][0]["code"] == "audio_clipped"
    assert document["files"] == ["talk.mp4"]


def test_a_failed_job_has_its_reason_and_writes_nothing(call: Call) -> None:
    failing = FakeService(outcome="failed").handle_request

    text = call("send", "talk.wav", "-q", transport=failing)
    document = call("send", "talk.wav", "--json", transport=failing)

    assert (text.status, text.stdout, document.status, document.stderr) == (1, "", 1, "")
    assert "failed: clip_unsuitable: the fake service refuses it; `visavis retry " in text.stderr
    assert document.documents[0]["error"]["code"] == "clip_unsuitable"
    assert document.documents[0]["files"] == []
    assert files() == set()


def test_files_that_cannot_be_written_can_be_fetched_later(
    call: Call, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: Path, _target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "talk.mp4")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        ended = call("send", "talk.wav", "-q")

    (job_id,) = service.jobs
    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr == (
        "talk.mp4: No space left on device; free some space; then fetch the files by "
        f"`visavis wait {job_id} -o FOLDER`\n"
    )
    assert call("wait", job_id, "-o", "later", "-q").status == 0


@pytest.mark.parametrize("reachable", [True, False])
def test_ctrl_c_cancels_the_job(call: Call, service: FakeService, reachable: bool) -> None:
    def interrupted(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            raise KeyboardInterrupt
        if request.url.path.endswith("/cancel") and not reachable:
            return httpx.Response(403, json={"code": "scope_missing", "detail": "not allowed"})
        return service.handle_request(request)

    ended = call("send", "talk.wav", "-q", transport=interrupted)

    ((job_id, job),) = service.jobs.items()
    assert (ended.status, ended.stdout) == (130, "")
    if reachable:
        assert (job["state"], ended.stderr) == ("canceled", f"canceled job {job_id}\n")
    else:
        assert ended.stderr.startswith(f"job {job_id} may run on (403 scope_missing: not allowed)")
        assert ended.stderr.endswith(f"`visavis cancel {job_id}` cancels it\n")


def test_ctrl_c_during_the_upload_submits_nothing(call: Call, service: FakeService) -> None:
    def interrupted(_request: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    ended = call("send", "talk.wav", "--json", transport=interrupted)

    assert (ended.status, service.jobs) == (130, {})
    assert ended.documents[0]["error"]["code"] == "interrupted"


def test_a_large_recording_is_sent_in_parts(
    call: Call, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visavis.command.send.INLINE_BYTES", 1000)
    large = os.urandom(5000)
    Path("large.wav").write_bytes(large)

    ended = call("send", "large.wav", "--partner", "talk.wav")

    assert ended.status == 0, ended.stderr
    assert list(service.recordings.values()) == [large]
    assert [request.url.path for request in service.requests].count("/uploads") == 2
