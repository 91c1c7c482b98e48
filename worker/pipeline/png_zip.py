"""Frames and sound to a zip of PNGs and a wav: what programs for compositing read."""

from __future__ import annotations

import shutil
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import av

from worker.pipeline.encode import (
    FRAME_RATE,
    PATIENCE,
    SYNTHETIC,
    VideoError,
    check_disk,
    mix,
    voices,
)
from worker.pipeline.ffmpeg import Ffmpeg, FfmpegError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from worker.pipeline.decode import Sound
    from worker.pipeline.encode import Frames

# Told by what differs from the row above and packed lightly: a fifth of the time that ffmpeg's own
# choice takes, for a fifth more bytes.
PACKING = {"pred": "up", "compression_level": "1"}
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file in it: the same pictures are the same bytes


def write_pictures(
    batches: Iterable[Frames],
    sound: Sound,
    archive: Path,
    *,
    progress: Callable[[int], None] = lambda frames: None,
) -> None:
    """Write frames as they come to the zip `archive`, as 000000.png and so on, and sound.wav.

    Nothing is packed twice, and no more than a batch is in memory. progress: told how many frames
    have been written. Raises VideoError where there are none, OSError where the disk is full.
    """
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        raise VideoError("there are no frames to write")
    written = 0
    with ZipFile(archive, "w", ZIP_STORED) as file:
        file.comment = SYNTHETIC.encode()
        for batch in chain([first], batches):
            for picture in _pngs(batch):
                file.writestr(ZipInfo(f"{written:06d}.png", EPOCH), picture)
                written += 1
            progress(written)
        _add_sound(file, sound, archive.with_suffix(".wav"))


def _pngs(frames: Frames) -> Iterator[bytes]:
    """Frames [N, H, W, 3 or 4] as PNGs."""
    _, height, width, channels = frames.shape
    form = "rgba" if channels == 4 else "rgb24"
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, form
    encoder.time_base, encoder.sample_aspect_ratio = Fraction(1, FRAME_RATE), Fraction(1)
    encoder.thread_count, encoder.options = 1, PACKING  # each comes out when it has gone in
    for frame in frames:
        for packet in encoder.encode(av.VideoFrame.from_ndarray(frame, format=form)):
            yield bytes(packet)


def _add_sound(file: ZipFile, sound: Sound, draft: Path) -> None:
    """The same mix that videos have. draft: where it may lie until it is in the zip."""
    heard = [*voices(sound), *mix(sound), "-c:a", "pcm_s16le", "-f", "wav", "-y", f"file:{draft}"]
    try:
        with Ffmpeg(heard, patience=PATIENCE + sound.seconds) as child:
            child.finish()
        with (
            draft.open("rb") as source,
            file.open(ZipInfo("sound.wav", EPOCH), "w", force_zip64=True) as target,
        ):
            shutil.copyfileobj(source, target)
    except FfmpegError as error:
        check_disk(error, draft)
        raise VideoError(f"the sound could not be written: {error.words}") from error
    finally:
        draft.unlink(missing_ok=True)
