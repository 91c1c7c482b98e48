"""`visavis batch`: results, folders, mistakes, Ctrl-C; kills are in ../test_killed_batch.py."""

from pathlib import Path

import httpx
import pytest

from tests.client.command.conftest import Call
from visavis.testing import FakeService


def test_results_are_lines_and_failures_set_the_status(call: Call) -> None:
    Path("more").mkdir()
    for name in ("more/ada.wav", "more/ben.flac", "more/notes.txt"):
        Path(name).write_bytes(name.encode())
    service = FakeService(
        outcome=lambda request: "failed" if request["takes"] == 2 else "succeeded"
    )

    good = call("batch", "talk.wav", "more", "-o", "out", transport=service.handle_request)
    again = call(
        "batch", "talk.wav", "more", "-o", "out", "--json", transport=service.handle_request
    )
    bad = call("batch", "talk.wav", "-o", "bad", "--takes", "2", transport=service.handle_request)

    assert good.status == 0, good.stderr
    assert sorted(Path(line).name for line in good.stdout.splitlines()) == [
        "ada.mp4", "ben.mp4", "talk.mp4",
    ]  # fmt: skip
    assert {each["resumed"] for each in again.documents} == {True}
    assert len(service.jobs) == 4
    assert (bad.status, bad.stdout) == (
        1,
        "talk.wav: clip_unsuitable: the fake service refuses it\n",
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none.wav", "-o", "out"], "no recording at none.wav; check the path"),
        (["home", "-o", "out"], "no recording in home; name files"),
        (["talk.wav"], "Missing option '--out' / '-o'; `visavis batch --help` lists the options"),
    ],
)
def test_missing_recordings_are_reported_before_anything_is_sent(
    call: Call, service: FakeService, arguments: list[str], sentence: str
) -> None:
    ended = call("batch", *arguments)

    assert (ended.status, ended.stdout, ended.stderr) == (2, "", f"{sentence}\n")
    assert (service.requests, Path("out").exists()) == ([], False)


def test_ctrl_c_leaves_the_jobs_for_the_next_run(call: Call, service: FakeService) -> None:
    def interrupted(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            raise KeyboardInterrupt
        return service.handle_request(request)

    stopped = call("batch", "talk.wav", "-o", "out", transport=interrupted)
    done = call("batch", "talk.wav", "-o", "out")

    assert stopped.status == 130
    assert "its jobs run on, and the same command continues the batch" in stopped.stderr
    assert (done.status, len(service.jobs)) == (0, 1)
