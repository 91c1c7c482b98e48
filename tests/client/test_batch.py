"""Batches: killed at every point and resumed, names, failures, changes, faults of the service."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

import visavis
from visavis.core.drivers import Driver, Execution
from visavis.core.steps import Steps
from visavis.testing import FakeService, Fault

NAMES = ("ada", "ben", "cleo")
VIDEO = b"video" * 20


class Killed(BaseException):
    """Death of the client: its steps get no chance to clean up."""


class MortalDriver(Driver):
    """Driver that dies before its effect number `left`."""

    def __init__(self, driver: Driver, left: int) -> None:
        super().__init__(driver.config, driver._http)
        self.left = left
        self.dead: list[Any] = []  # kept, because Python ends forgotten steps in an orderly way

    def run(self, steps: Steps[Any]) -> Any:
        execution = Execution(steps)
        while (effect := execution.next()) is not None:
            if self.left == 0:
                self.dead.append(execution)
                raise Killed
            self.left -= 1
            with execution:
                execution.value = self._perform(effect)
        return execution.result

    def run_all(self, steps: Sequence[Steps[Any]], concurrency: int) -> list[Any]:
        return [self.run(each) for each in steps]


@pytest.fixture
def fake() -> FakeService:
    return FakeService(content=VIDEO)


@pytest.fixture
def client(fake: FakeService) -> Iterator[visavis.Client]:
    with visavis.Client(transport=fake) as made:
        yield made


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    """Three recordings with different content."""
    (tmp_path / "calls").mkdir()
    return [written(tmp_path / "calls" / f"{name}.wav", name) for name in NAMES]


def written(path: Path, content: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode())
    return path


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "batch.jsonl")


def submitted(fake: FakeService) -> list[str]:
    return sorted(content.decode() for content in fake.recordings.values())


@pytest.mark.parametrize("inline_bytes", [1000, 1], ids=["in the request", "in parts"])
def test_a_batch_that_is_killed_anywhere_goes_on_where_it_was(
    clips: list[Path], tmp_path: Path, inline_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visavis.client.INLINE_BYTES", inline_bytes)
    kills, points = 0, 0
    while kills == points:
        fake = FakeService(content=VIDEO, part_bytes=2)
        out = tmp_path / f"videos-{points}"
        for _ in range(2):  # the second time later, because it skips what is complete
            with visavis.Client(transport=fake) as client:
                mortal = MortalDriver(client._driver, points)
                client._use(mortal)
                try:
                    client.batch(clips, out=out)
                except Killed:
                    kills += 1
                    break
        points += 1
        with visavis.Client(transport=fake) as client:
            report = client.batch(clips, out=out)

        assert [each.state for each in report.results] == ["succeeded"] * 3
        assert submitted(fake) == sorted(NAMES), points
        assert {each.job_id for each in report.results} == set(fake.jobs)
        assert files_of(out) == [f"{name}.mp4" for name in NAMES]
        assert {path.read_bytes() for path in out.glob("*.mp4")} == {VIDEO}
        parts = [request.url.path for request in fake.requests if request.method == "PUT"]
        assert len(parts) == len(set(parts))

    assert kills > 30


def test_a_batch_that_has_ended_sends_nothing(
    fake: FakeService, client: visavis.Client, clips: list[Path], tmp_path: Path
) -> None:
    first = client.batch(clips, out=tmp_path / "videos")
    fake.requests.clear()
    report = client.batch(clips, out=tmp_path / "videos")

    assert fake.requests == []
    assert [each.resumed for each in first.results] == [False] * 3
    assert [each.resumed for each in report.results] == [True] * 3
    assert [each.files for each in report.results] == [
        (tmp_path / "videos" / f"{name}.mp4",) for name in NAMES
    ]
    assert report.raise_for_failures() is report


def test_half_a_line_at_the_end_of_the_journal_is_ignored(
    fake: FakeService, client: visavis.Client, clips: list[Path], tmp_path: Path
) -> None:
    journal = tmp_path / "journal.jsonl"
    client.batch(clips, out=tmp_path / "videos", resume=journal)
    whole = journal.read_bytes()
    last = whole[:-1].rfind(b"\n") + 1

    for length in range(last, len(whole), 7):
        journal.write_bytes(whole[:length])
        assert client.batch(clips, out=tmp_path / "videos", resume=journal).failed == ()
        lines = journal.read_bytes().splitlines()
        assert [json.loads(line)["event"] for line in lines].count("ended") == 3

    assert submitted(fake) == sorted(NAMES)


@pytest.mark.parametrize("line", ['{"event": "sub', '{"event": "batch", "version": 99}', "[]"])
def test_a_damaged_journal_is_refused_and_its_line_named(
    client: visavis.Client, clips: list[Path], tmp_path: Path, line: str
) -> None:
    journal = tmp_path / "journal.jsonl"
    client.batch(clips[:1], out=tmp_path, resume=journal)
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([lines[0], line, *lines[2:], ""]))

    with pytest.raises(visavis.BatchError, match="line 2: damaged or of another version"):
        client.batch(clips, out=tmp_path, resume=journal)


def test_a_journal_belongs_to_one_batch_at_a_time(
    fake: FakeService, client: visavis.Client, clips: list[Path], tmp_path: Path
) -> None:
    refused: list[str] = []

    def begin_another(_progress: visavis.BatchProgress) -> None:
        with pytest.raises(visavis.BatchError) as caught:
            client.batch(clips, out=tmp_path / "videos")
        refused.append(str(caught.value))

    client.batch(clips, out=tmp_path / "videos", on_progress=begin_another)

    assert all("in use by another batch" in each for each in refused) and refused
    assert submitted(fake) == sorted(NAMES)
    assert client.batch(clips, out=tmp_path / "videos").failed == ()  # unlocked at its end


def test_a_recording_that_has_changed_is_sent_again(
    fake: FakeService, client: visavis.Client, clips: list[Path], tmp_path: Path
) -> None:
    client.batch(clips, out=tmp_path / "videos")
    written(clips[1], "new")
    clips[2].touch()

    report = client.batch(clips, out=tmp_path / "videos")

    assert submitted(fake) == sorted((*NAMES, "new"))
    assert [each.resumed for each in report.results] == [True, False, True]
    assert files_of(tmp_path / "videos") == [f"{name}.mp4" for name in NAMES]


def test_other_fields_of_the_video_are_new_jobs_and_a_priority_is_not(
    fake: FakeService, client: visavis.Client, clips: list[Path], tmp_path: Path
) -> None:
    client.batch(clips[:1], out=tmp_path / "videos")
    client.batch(clips[:1], out=tmp_path / "videos", priority=5, metadata={"a": "b"})
    assert len(fake.jobs) == 1

    client.batch(clips[:1], out=tmp_path / "videos", takes=2)
    assert len(fake.jobs) == 2
    assert files_of(tmp_path / "videos") == ["ada-take-1.mp4", "ada-take-2.mp4", "ada.mp4"]


def test_names_of_files_do_not_collide(
    fake: FakeService, client: visavis.Client, tmp_path: Path
) -> None:
    out = tmp_path / "videos"
    clips = [
        written(tmp_path / "a" / "talk.wav", "1"),
        written(tmp_path / "b" / "talk.wav", "2"),
        written(tmp_path / "b" / "Talk.mp3", "3"),
        written(tmp_path / "b" / "one-take-1.wav", "4"),
        written(tmp_path / "b" / "one.wav", "5"),
        written(out / "input.mp4", "6"),
        written(tmp_path / "b" / f"{'x' * 240}.wav", "7"),
    ]

    first = client.batch(clips, out=out)
    later = written(tmp_path / "c" / "one.wav", "8")
    second = client.batch([*clips, later, clips[0]], out=out)

    files = [path for each in second.results for path in each.files]
    assert len(set(files)) == len(clips) + 1 == len({str(path).casefold() for path in files})
    assert [each.files for each in second.results[: len(clips)]] == [
        each.files for each in first.results
    ]
    assert all(path.read_bytes() == VIDEO for path in files)
    assert (out / "input.mp4").read_bytes() == b"6"
    assert (out / "one.mp4") in files
    assert len(fake.jobs) == len(clips) + 1


def test_failures_are_listed_and_sent_again_when_asked(clips: list[Path], tmp_path: Path) -> None:
    outcomes = {"now": "failed"}
    fake = FakeService(outcome=lambda _request: outcomes["now"])  # type: ignore[arg-type, return-value]
    missing = clips[0].with_name("missing.wav")
    with visavis.Client(transport=fake) as client:
        fake.add_faults(Fault(422, code="audio_damaged"))
        first = client.batch([*clips, missing], out=tmp_path / "videos", concurrency=1)
        outcomes["now"] = "succeeded"
        written(missing, "late")
        second = client.batch([*clips, missing], out=tmp_path / "videos")
        third = client.batch([*clips, missing], out=tmp_path / "videos", retry_failed=True)

    assert [each.code for each in first.results] == [
        "audio_damaged",
        "clip_unsuitable",
        "clip_unsuitable",
        "file_unreadable",
    ]
    with pytest.raises(visavis.BatchError, match=r"4 of 4 failed: ada\.wav: audio_damaged"):
        first.raise_for_failures()
    assert [each.state for each in second.results] == ["failed"] * 3 + ["succeeded"]
    assert [each.state for each in third.results] == ["succeeded"] * 4


def test_a_file_that_was_removed_is_fetched_again_without_a_new_job(
    fake: FakeService, client: visavis.Client, clips: list[Path], tmp_path: Path
) -> None:
    client.batch(clips, out=tmp_path / "videos")
    (tmp_path / "videos" / "ben.mp4").unlink()
    (tmp_path / "videos" / "cleo.mp4").write_bytes(b"half")

    client.batch(clips, out=tmp_path / "videos")

    assert len(fake.jobs) == 3
    assert {path.read_bytes() for path in (tmp_path / "videos").glob("*.mp4")} == {VIDEO}


def test_a_recording_may_have_a_partner_and_fields_of_its_own(
    fake: FakeService, client: visavis.Client, clips: list[Path], tmp_path: Path
) -> None:
    inputs = [
        visavis.BatchInput(clips[0], partner=clips[1]),
        visavis.BatchInput(clips[0], partner=clips[2], fields={"takes": 3}),
    ]

    report = client.batch(inputs, out=tmp_path / "videos", seed=7)

    requests = [job["request"] for job in fake.jobs.values()]
    assert sorted((each["takes"], each["seed"]) for each in requests) == [(1, 7), (3, 7)]
    assert len({path for each in report.results for path in each.files}) == 4
    bodies = [request.content for request in fake.requests if request.url.path == "/generate"]
    assert sorted(b"ben" in body for body in bodies) == [False, True]


def test_a_service_that_is_away_is_waited_for(
    fake: FakeService,
    client: visavis.Client,
    clips: list[Path],
    tmp_path: Path,
    pauses: list[float],
) -> None:
    fake.add_faults(*[Fault(), Fault(502), Fault(lost=True)] * 30)

    report = client.batch(clips, out=tmp_path / "videos")

    assert report.failed == ()
    assert submitted(fake) == sorted(NAMES)
    assert len(pauses) >= 90


def test_a_longer_outage_ends_the_batch_which_can_be_resumed(
    fake: FakeService,
    client: visavis.Client,
    clips: list[Path],
    tmp_path: Path,
    pauses: list[float],
) -> None:
    fake.add_faults(*[Fault(lost=True)] * 100)
    with pytest.raises(visavis.APIConnectionError):
        client.batch(clips, out=tmp_path / "videos", outage_seconds=0)
    fake._faults.clear()

    assert client.batch(clips, out=tmp_path / "videos").failed == ()
    assert submitted(fake) == sorted(NAMES)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(401, code="key_invalid"), visavis.AuthenticationError),
        (Fault(404, code="route_not_found"), visavis.NotFoundError),
        (Fault(429, code="quota_bytes"), visavis.QuotaError),
        (Fault(500), visavis.ServerError),
    ],
)
def test_faults_that_every_recording_would_meet_end_the_batch(
    fake: FakeService,
    client: visavis.Client,
    clips: list[Path],
    tmp_path: Path,
    fault: Fault,
    kind: type[visavis.APIStatusError],
) -> None:
    fake.add_faults(fault)
    with pytest.raises(kind):
        client.batch(clips, out=tmp_path / "videos", concurrency=1)

    assert client.batch(clips, out=tmp_path / "videos").failed == ()
    assert submitted(fake) == sorted(NAMES)


def test_a_full_quota_of_jobs_is_waited_for(
    fake: FakeService,
    client: visavis.Client,
    clips: list[Path],
    tmp_path: Path,
    pauses: list[float],
) -> None:
    fake.add_faults(*[Fault(429, code="quota_jobs")] * 50)

    assert client.batch(clips, out=tmp_path / "videos", outage_seconds=0).failed == ()
    assert 5.0 in pauses


def test_progress_is_told_by_one_thread_at_a_time(
    client: visavis.Client, clips: list[Path], tmp_path: Path
) -> None:
    told: list[visavis.BatchProgress] = []
    busy = threading.Lock()

    def tell(progress: visavis.BatchProgress) -> None:
        assert busy.acquire(blocking=False)
        time.sleep(0.001)
        told.append(progress)
        busy.release()

    client.batch(clips, out=tmp_path / "videos", on_progress=tell)

    states = [each.job.state for each in told if each.job and each.audio == clips[0].resolve()]
    assert states == ["queued", "queued", "running", "succeeded"]
    assert [each.result.audio.stem for each in told if each.result] != []
    assert (told[-1].total, told[-1].succeeded, told[-1].failed) == (3, 3, 0)


def test_an_interrupt_leaves_the_jobs_running(
    fake: FakeService, client: visavis.Client, clips: list[Path], tmp_path: Path
) -> None:
    fake._events = False

    def interrupt(progress: visavis.BatchProgress) -> None:
        if progress.job and progress.job.state == "running":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.batch(clips, out=tmp_path / "videos", concurrency=1, on_progress=interrupt)
    assert [job["state"] for job in fake.jobs.values()] == ["running"]

    assert client.batch(clips, out=tmp_path / "videos").failed == ()
    assert submitted(fake) == sorted(NAMES)


def test_no_more_recordings_run_at_once_than_asked(clips: list[Path], tmp_path: Path) -> None:
    running: list[int] = []
    active = set[int]()

    def answer(request: httpx.Request) -> httpx.Response:
        active.add(threading.get_ident())
        running.append(len(active))
        return fake.handle_request(request)

    fake = FakeService()
    many = [written(tmp_path / "many" / f"{number}.wav", str(number)) for number in range(12)]
    with visavis.Client(transport=httpx.MockTransport(answer)) as client:
        client.batch(many, out=tmp_path / "videos", concurrency=3)

    assert 1 < max(running) <= 3
    assert len(fake.jobs) == 12


def test_the_asynchronous_batch_shares_the_journal(
    fake: FakeService, client: visavis.Client, clips: list[Path], tmp_path: Path
) -> None:
    async def batch() -> visavis.BatchReport:
        async with visavis.AsyncClient(transport=fake) as asynchronous:
            return await asynchronous.batch(clips, out=tmp_path / "videos", concurrency=2)

    client.batch(clips[:1], out=tmp_path / "videos")
    report = asyncio.run(batch())

    assert [each.resumed for each in report.results] == [True, False, False]
    assert submitted(fake) == sorted(NAMES)
    assert files_of(tmp_path / "videos") == [f"{name}.mp4" for name in NAMES]


def test_an_error_ends_the_asynchronous_batch(
    fake: FakeService, clips: list[Path], tmp_path: Path
) -> None:
    async def batch() -> visavis.BatchReport:
        async with visavis.AsyncClient(transport=fake) as asynchronous:
            return await asynchronous.batch(clips, out=tmp_path / "videos")

    fake.add_faults(Fault(401, code="key_missing"))
    with pytest.raises(visavis.AuthenticationError):
        asyncio.run(batch())

    assert asyncio.run(batch()).failed == ()
    assert submitted(fake) == sorted(NAMES)
