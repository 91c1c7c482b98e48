"""Waiting: events, long polls, polls, time limits, interrupts, warnings."""

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

import visavis
from visavis.core.events import Event, EventDecoder
from visavis.jobs.progress import ProgressLine
from visavis.testing import FakeService, Fault

Handler = Callable[[httpx.Request], httpx.Response]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def fake() -> FakeService:
    return FakeService()


@pytest.fixture
def job(fake: FakeService) -> Iterator[visavis.Job]:
    with visavis.Client(transport=fake) as client:
        yield client.generate(b"sound", takes=2)


def paths(fake: FakeService) -> list[str]:
    """Last segments of the requests after the first."""
    return [request.url.path.rpartition("/")[2] for request in fake.requests[1:]]


def test_events_are_followed_to_the_end(fake: FakeService, job: visavis.Job) -> None:
    seen: list[str] = []

    assert job.wait(progress=lambda each: seen.append(each.state)) is job

    assert seen == ["queued", "running", "succeeded"]
    assert paths(fake) == ["events"]
    assert [take.number for take in job.takes] == [1, 2]
    assert job.takes[1].video is job.outputs[1]


class Broken(httpx.SyncByteStream):
    """Body of a stream that ends with an error."""

    def __init__(self, text: str, error: httpx.TransportError) -> None:
        self.text, self.error = text, error

    def __iter__(self) -> Iterator[bytes]:
        yield self.text.encode()
        raise self.error


def with_broken_streams(fake: FakeService, *streams: Broken) -> httpx.MockTransport:
    """Return a transport that answers the first streams like this, and all else like the fake."""
    left = list(streams)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events") and left:
            fake.requests.append(request)
            headers = {"Content-Type": "text/event-stream"}
            return httpx.Response(200, stream=left.pop(0), headers=headers)
        return fake.handle_request(request)

    return httpx.MockTransport(answer)


def test_a_cut_stream_is_continued_after_its_last_event(
    fake: FakeService, pauses: list[float]
) -> None:
    with visavis.Client(transport=fake) as client:
        job_id = client.generate(b"sound").id
    running = json.dumps({**fake.jobs[job_id], "state": "running"})
    text = f"event: job\nid: e-1\ndata: {running}\n\nevent: jo"
    transport = with_broken_streams(fake, Broken(text, httpx.ReadError("cut")))

    with visavis.Client(transport=transport) as client:
        visavis.Job(client._driver, fake.jobs[job_id]).wait()

    assert paths(fake) == ["events", "events"]
    assert fake.requests[2].headers["last-event-id"] == "e-1"


def test_streams_that_are_held_back_are_replaced_by_polls(
    fake: FakeService, pauses: list[float]
) -> None:
    silent = Broken(": still here\n\n", httpx.ReadTimeout("silent"))
    with visavis.Client(transport=with_broken_streams(fake, silent, silent)) as client:
        job = client.generate(b"sound").wait()

    assert paths(fake) == ["events", "events", job.id, job.id]


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
def test_without_events_the_job_is_polled(outcome: str, pauses: list[float]) -> None:
    fake = FakeService(events=False, outcome=outcome)
    with visavis.Client(transport=fake) as client:
        job = client.generate(b"sound")
        if outcome == "succeeded":
            job.wait()
        else:
            with pytest.raises(visavis.JobFailed, match="clip_unsuitable"):
                job.wait()

    assert paths(fake) == ["events", job.id, job.id]
    assert [request.headers["prefer"] for request in fake.requests[2:]] == ["wait=10"] * 2
    assert pauses == [2.0]  # the fake has no long polls


def test_the_time_limit_leaves_the_job_running(pauses: list[float]) -> None:
    fake = FakeService(events=False)
    fake._advance = lambda job: None  # type: ignore[method-assign]
    with visavis.Client(transport=fake) as client:
        job = client.generate(b"sound")
        with pytest.raises(visavis.WaitTimeout) as caught:
            job.wait(timeout=0.1)

    assert isinstance(caught.value, TimeoutError)
    assert caught.value.job is job
    assert fake.jobs[job.id]["state"] == "queued"


def test_the_time_limit_holds_while_the_service_is_away(
    fake: FakeService, job: visavis.Job
) -> None:
    fake.add_faults(*[Fault()] * 100)

    with pytest.raises(visavis.WaitTimeout):
        job.wait(timeout=0.2)


def test_a_failed_job_is_an_error_with_its_reason() -> None:
    with visavis.Client(transport=FakeService(outcome="failed")) as client:
        job = client.generate(b"sound")
        with pytest.raises(visavis.JobFailed) as caught:
            job.wait()

    assert (caught.value.code, caught.value.job) == ("clip_unsuitable", job)


def test_a_canceled_job_and_a_deleted_one_are_errors(fake: FakeService, job: visavis.Job) -> None:
    job.cancel()
    with pytest.raises(visavis.JobCanceled):
        job.wait()
    job.delete()
    with pytest.raises(visavis.NotFoundError):
        job.wait()


def interrupt(_job: Any) -> None:
    raise KeyboardInterrupt


def test_an_interrupt_cancels_the_job(fake: FakeService, job: visavis.Job) -> None:
    fake._outcome = lambda request: "succeeded"
    fake._events = False

    with pytest.raises(KeyboardInterrupt):
        job.wait(progress=interrupt)

    assert fake.jobs[job.id]["state"] == "canceled"


def test_an_interrupt_can_leave_the_job_running(fake: FakeService, job: visavis.Job) -> None:
    fake._events = False

    with pytest.raises(KeyboardInterrupt):
        job.wait(progress=interrupt, cancel_on_interrupt=False)

    assert fake.jobs[job.id]["state"] == "running"


@pytest.mark.parametrize("fault", [Fault(), Fault(409, code="job_has_ended")])
def test_an_interrupt_is_not_replaced_by_an_error_of_the_cancellation(
    fake: FakeService, job: visavis.Job, pauses: list[float], fault: Fault
) -> None:
    fake._events = False

    def interrupt_and_fail(each: visavis.Job) -> None:
        fake.add_faults(fault, fault)
        interrupt(each)

    with pytest.raises(KeyboardInterrupt):
        job.wait(progress=interrupt_and_fail)

    assert paths(fake)[2] == "cancel"


def test_the_end_of_an_asynchronous_task_cancels_the_job(fake: FakeService) -> None:
    fake._events = False
    fake._advance = lambda job: None  # type: ignore[method-assign]

    async def end() -> str:
        async with visavis.AsyncClient(transport=fake) as client:
            job = await client.generate(b"sound")
            polled = asyncio.Event()
            task = asyncio.create_task(job.wait(progress=lambda _job: polled.set()))
            await polled.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return job.id

    assert fake.jobs[asyncio.run(end())]["state"] == "canceled"


def test_warnings_of_the_clip_are_shown_once(fake: FakeService, job: visavis.Job) -> None:
    fake.jobs[job.id]["warnings"] = [{"code": "audio_clipped", "detail": "Too loud."}]

    with pytest.warns(visavis.ClipWarning, match="audio_clipped: Too loud") as shown:
        job.wait()

    assert len(shown) == 1
    assert shown[0].filename == __file__
    assert job.warnings == [visavis.JobWarning("audio_clipped", "Too loud.")]


def test_progress_is_a_bar_on_a_terminal(job: visavis.Job) -> None:
    terminal = Terminal()
    job.warnings = [visavis.JobWarning("audio_clipped", "Too loud.")]

    for state, progress in (("running", 0.5), ("succeeded", 1.0)):
        job.state, job.progress, job.stage = state, progress, "render"  # type: ignore[assignment]
        ProgressLine(terminal)(job)

    lines = terminal.getvalue().replace("\r", "\n").splitlines()
    assert lines[1:] == [
        "render     [###############...............]  50 %",
        "succeeded  [##############################] 100 %",
        "warning: audio_clipped: Too loud.",
    ]


def test_progress_is_a_line_for_each_stage_in_a_file(
    fake: FakeService, job: visavis.Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.wait(progress=True)

    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"{job.id} queued, 1", f"{job.id} render", f"{job.id} succeeded"]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_events_are_decoded_from_pieces_of_any_size(size: int, end: str) -> None:
    lines = (
        ": comment",
        "retry: 1000",
        "",
        "event: job",
        "id: 1",
        "data: ä",
        "data:b",
        "",
        "x",
        "",
    )
    content = end.join((*lines, "")).encode()
    decoder = EventDecoder()

    pieces = [content[first : first + size] for first in range(0, len(content), size)]
    events = [event for piece in pieces for event in decoder.feed(piece)]

    assert events == [Event("job", "ä\nb", "1")]
