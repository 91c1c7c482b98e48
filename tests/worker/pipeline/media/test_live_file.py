"""Pieces of a file while it grows, and the fragmented MP4 that is cut into them."""

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.worker.pipeline.media.test_encode import tones
from worker.pipeline.media.encode import encode
from worker.pipeline.media.live_file import FIRST_SECONDS, LONGEST_SECONDS, LiveFile
from worker.pipeline.outputs.fmp4 import CONTAINER


class Pieces:
    """Received pieces and a clock."""

    def __init__(self, path: Path) -> None:
        self.content: list[bytes] = []
        self.sizes: list[int] = []
        self.seconds = 0.0
        self.file = LiveFile(path, self.receive, now=lambda: self.seconds)

    def receive(self, piece: Path, number: int, size: int) -> None:
        self.content.append(piece.read_bytes())
        self.sizes.append(size)
        assert number == len(self.content)


def test_new_bytes_are_published_once_and_less_often_with_time(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    pieces = Pieces(path)
    pieces.file.follow()  # there is no file yet
    with path.open("wb") as file:
        for number in range(6000):
            file.write(bytes([number % 256]))
            file.flush()
            pieces.file.follow()
            pieces.seconds += 0.05

    whole = path.read_bytes()
    joined = b"".join(pieces.content)
    assert joined == whole[: len(joined)]
    assert pieces.sizes[-1] == len(joined)
    assert pieces.sizes[1] - pieces.sizes[0] == pytest.approx(FIRST_SECONDS / 0.05, abs=1)
    assert pieces.sizes[-1] - pieces.sizes[-2] == pytest.approx(LONGEST_SECONDS / 0.05, abs=1)
    assert [each.name for each in tmp_path.iterdir()] == ["video.mp4"]


def test_the_first_pieces_of_a_video_are_played_before_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    pieces = Pieces(path)
    frames = np.zeros((150, 64, 64, 3), np.uint8)
    frames[:, :, :, 0] = np.arange(150, dtype=np.uint8)[:, None, None]

    def batches() -> Iterator[NDArray[np.uint8]]:
        for start in range(0, 150, 5):
            yield frames[start : start + 5]
            if start == 90:  # no frame follows before the first second can be played
                wait_until(one_second_is_playable)

    def one_second_is_playable() -> bool:
        pieces.seconds += 10
        pieces.file.follow()
        return 30 <= playable(b"".join(pieces.content)) < 150

    encode(batches(), tones(tmp_path, 5.0), path, container=CONTAINER)

    whole = path.read_bytes()
    assert whole.startswith(b"".join(pieces.content))
    with av.open(io.BytesIO(whole)) as video:
        assert video.duration == pytest.approx(5_000_000, abs=100_000)
        assert sum(1 for _ in video.decode(video=0)) == 150
        video.seek(3_000_000)
        assert float(next(video.decode(video=0)).time or 0) <= 3.0


def wait_until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def playable(content: bytes) -> int:
    """Frames that can be decoded of the start of a file."""
    try:
        with av.open(io.BytesIO(content)) as video:
            return sum(1 for _ in video.decode(video=0))
    except av.FFmpegError:
        return 0
