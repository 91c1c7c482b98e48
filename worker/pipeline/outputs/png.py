"""Zip of PNG pictures and a WAV file: for compositing, with alpha."""

from __future__ import annotations

import shutil
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from contracts.outputs import VIDEO, Output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from worker.pipeline.media.decode import Audio
    from worker.pipeline.take import Frames, Take

# Rows predicted from the row above, compressed lightly: a fifth of the time of ffmpeg's default
# for a fifth more bytes.
PACKING = {"pred": "up", "compression_level": "1"}
EPOCH = (1980, 1, 1, 0, 0, 0)  # date of every member, so that equal frames give equal files


def write(take: Take, path: Path) -> None:
    """Write frames to the zip at `path` as 000000.png and so on, and the audio as sound.wav.

    Members are stored without further compression; one batch of frames is in memory at a time.
    Raises: VideoError: without frames. OSError: when the disk is full.
    """
    from worker.pipeline.media.encode import SYNTHETIC, VideoError

    with take.frames() as batches:
        first = next(batches, None)
        if first is None:
            raise VideoError("there are no frames to write")
        written = 0
        with ZipFile(path, "w", ZIP_STORED) as file:
            file.comment = SYNTHETIC.encode()
            for batch in chain([first], batches):
                for picture in _pngs(batch):
                    file.writestr(ZipInfo(f"{written:06d}.png", EPOCH), picture)
                    written += 1
                take.frames_written(written)
            _add_audio(file, take.audio, path.with_suffix(".wav"))


def _pngs(frames: Frames) -> Iterator[bytes]:
    """Encode frames [N, H, W, 3 or 4] as PNG files."""
    import av

    from worker.pipeline.media.encode import FRAME_RATE

    _, height, width, channels = frames.shape
    form = "rgba" if channels == 4 else "rgb24"
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, form
    encoder.time_base, encoder.sample_aspect_ratio = Fraction(1, FRAME_RATE), Fraction(1)
    encoder.thread_count, encoder.options = 1, PACKING  # one thread: no packet is delayed
    for frame in frames:
        for packet in encoder.encode(av.VideoFrame.from_ndarray(frame, format=form)):
            yield bytes(packet)


def _add_audio(file: ZipFile, audio: Audio, draft: Path) -> None:
    """Add the same stereo mix that videos have. draft: a temporary path for the WAV file."""
    from worker.pipeline.media.encode import PATIENCE, VideoError, check_disk, mix, voices
    from worker.pipeline.media.ffmpeg import Ffmpeg, FfmpegError

    output = ["-c:a", "pcm_s16le", "-f", "wav", "-y", f"file:{draft}"]
    arguments = [*voices(audio), *mix(audio), *output]
    try:
        with Ffmpeg(arguments, patience=PATIENCE + audio.seconds) as child:
            child.finish()
        with (
            draft.open("rb") as source,
            file.open(ZipInfo("sound.wav", EPOCH), "w", force_zip64=True) as target,
        ):
            shutil.copyfileobj(source, target)
    except FfmpegError as error:
        check_disk(error, draft)
        raise VideoError(f"the audio could not be written: {error.output}") from error
    finally:
        draft.unlink(missing_ok=True)


OUTPUT = Output(
    name="png",
    suffix=".zip",
    content_type="application/zip",
    description="zip of PNG pictures with the audio as WAV",
    write=write,
    kind=VIDEO,
    stem="take",
    alpha=True,
    frames=True,
    order=40,
)
