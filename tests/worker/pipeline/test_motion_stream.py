"""Motion that is read while it is sampled."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
import torch

from models.motion.pipeline import Motion
from worker.pipeline.motion_stream import MotionStream, TakeMotion
from worker.pipeline.progress import Progress

SIZES = (4, 3, 2)


def noise(frames: int, seed: int) -> Motion:
    generator = torch.Generator().manual_seed(seed)
    face = torch.randn(frames, 256, generator=generator)
    return Motion(face, torch.randn(frames, 104, generator=generator))


PARTS = [[noise(size, size), noise(size, size + 10)] for size in SIZES]


class Sampler:
    """Yield the parts, each after the event of its number, and report progress; end after that
    of the number that follows.
    """

    def __init__(self, *, after: dict[int, Event] | None = None, error: Exception | None = None):
        self.after, self.error = after or {}, error
        self.stopped = Event()

    def __call__(self, progress: Progress) -> Iterator[list[Motion]]:
        for number in range(len(PARTS) + 1):
            while (event := self.after.get(number)) and not event.wait(0.01):
                try:
                    progress("face", number / 3)
                except BaseException:
                    self.stopped.set()
                    raise
            if number == 1 and self.error is not None:
                raise self.error
            if number < len(PARTS):
                yield PARTS[number]
                progress("face", (number + 1) / 3)


def stream_of(sampler: Sampler, folder: Path, **options: object) -> MotionStream:
    known = {"progress": lambda *_: None} | options
    return MotionStream(
        lambda progress: [sampler(progress)], folder, frames=sum(SIZES), takes=2,
        **known,  # type: ignore[arg-type]
    )  # fmt: skip


def test_the_first_part_is_read_before_the_second_is_sampled(tmp_path: Path) -> None:
    go_on = Event()
    with stream_of(Sampler(after={1: go_on}), tmp_path) as stream:
        take = stream.takes[1]
        first = take.span(0)
        assert torch.equal(first.face, PARTS[0][1].face)
        go_on.set()
        whole = take.between(0, take.frames)

    assert torch.equal(whole.pose, torch.cat([part[1].pose for part in PARTS]))


def test_every_second_frame_is_that_of_the_whole(tmp_path: Path) -> None:
    with stream_of(Sampler(), tmp_path) as stream:
        halved, done, faces = stream.takes[0].every(2), 0, []
        while done < halved.frames:
            faces.append(halved.span(done).face)
            done += len(faces[-1])

    whole = torch.cat([part[0].face for part in PARTS])
    assert torch.equal(torch.cat(faces), whole[::2])


def test_completion_is_announced_once_and_progress_is_that_of_the_readers_thread(
    tmp_path: Path,
) -> None:
    complete: list[list[TakeMotion]] = []
    reports: list[tuple[str, float]] = []
    options = {"on_complete": complete.append, "progress": lambda *each: reports.append(each)}
    with stream_of(Sampler(), tmp_path, **options) as stream:
        stream.finish()
        stream.finish()
        stream.report("render", 0.5)

    assert len(complete) == 1
    assert [take.frames for take in complete[0]] == [9, 9]
    assert reports[-1] == ("render", 0.5)
    assert reports[-2] == ("face", 1.0)


def test_all_motion_is_announced_before_a_reader_with_its_last_frames_reports(
    tmp_path: Path,
) -> None:
    go_on = Event()
    calls: list[str] = []
    options = {
        "on_complete": lambda _: calls.append("complete"),
        "progress": lambda stage, _: calls.append(stage),
    }
    with stream_of(Sampler(after={len(PARTS): go_on}), tmp_path, **options) as stream:
        take = stream.takes[0]
        take.between(0, take.frames)
        stream.report("render", 0.5)
        assert calls.index("complete") < calls.index("render")
        go_on.set()
        stream.finish()

    assert calls.count("complete") == 1


def test_an_error_of_the_sampling_reaches_the_reader(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="out of luck"),
        stream_of(Sampler(error=RuntimeError("out of luck")), tmp_path) as stream,
    ):
        stream.finish()


def test_an_error_of_the_reader_ends_the_sampling(tmp_path: Path) -> None:
    sampler = Sampler(after={1: Event()})

    def progress(stage: str, share: float) -> None:
        raise KeyError(stage)

    with (
        pytest.raises(KeyError),
        stream_of(sampler, tmp_path, progress=progress) as stream,
    ):
        take = stream.takes[0]
        take.span(len(take.span(0).face))
    assert sampler.stopped.is_set()


def test_the_second_part_is_sampled_when_the_reader_comes_back_for_more(tmp_path: Path) -> None:
    began = Event()

    def sampler(progress: Progress) -> Iterator[list[Motion]]:
        yield PARTS[0]
        began.set()
        yield from PARTS[1:]

    options = {"frames": 9, "takes": 2, "progress": lambda *_: None}
    with MotionStream(lambda report: [sampler(report)], tmp_path, **options) as stream:  # type: ignore[arg-type]
        take = stream.takes[0]
        take.span(0)
        take.span(0)
        assert not began.wait(0.05)
        take.span(4)
        assert began.is_set()
    with MotionStream(lambda report: [sampler(report)], tmp_path, **options) as stream:  # type: ignore[arg-type]
        stream.takes[0].span(0)  # a reader that has enough ends the thread


def test_the_first_frames_are_a_second_and_a_batch(tmp_path: Path) -> None:
    take = TakeMotion.of(noise(100, 1))
    assert len(take.span(0).face) == 40
    assert torch.equal(take.span(40).face, take.between(40, 100).face)


def test_too_few_frames_are_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="9 of 10 frames"),
        MotionStream(
            lambda progress: [Sampler()(progress)],
            tmp_path,
            frames=10,
            takes=2,
            progress=lambda *_: None,
        ) as stream,
    ):
        stream.finish()
