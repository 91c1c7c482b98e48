"""Encoding of frames and audio to video files."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.worker.fakes import stuck_ffmpeg
from worker.pipeline.media.container import X264, Encoder
from worker.pipeline.media.decode import SAMPLE_RATE, Audio
from worker.pipeline.media.encode import (
    SAMPLES_PER_FRAME,
    SYNTHETIC,
    VideoError,
    choose_encoder,
    encode,
    encoder_fault,
)
from worker.pipeline.media.ffmpeg import FfmpegError, executable
from worker.pipeline.outputs import fmp4, mov, mp4, preview, webm

OPAQUE = {
    ".mp4": mp4.CONTAINER,
    "-fragments.mp4": fmp4.CONTAINER,
    ".webm": webm.CONTAINER,
    "-preview.mp4": preview.CONTAINER,
}
CONTAINERS = {"mp4": mp4.CONTAINER, "mov": mov.CONTAINER, "webm": webm.CONTAINER}


def stored_audio(folder: Path, samples: NDArray[np.float32]) -> Audio:
    path = folder / "sound.f32"
    samples.astype(np.float32).tofile(path)
    return Audio(path, samples, partner_speaks=bool(samples[:, 1].any()))


def two_tones(seconds: float) -> NDArray[np.float32]:
    """Return a 300 Hz tone for the person and a 1000 Hz tone for the partner, at full scale."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.sin(2 * np.pi * np.outer(time, [300, 1000])).astype(np.float32)


def tones(folder: Path, seconds: float = 0.1) -> Audio:
    return stored_audio(folder, two_tones(seconds))


def batches(frames: int, size: int = 64, colour: tuple[int, ...] = (200, 30, 40)) -> Iterator:
    remaining = frames
    while remaining:
        count = min(8, remaining)
        yield np.broadcast_to(np.array(colour, np.uint8), (count, size, size, 3))
        remaining -= count


def decoded_audio(path: Path) -> NDArray[np.float32]:
    """Return the audio of a video, [samples, channels]."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return np.concatenate(frames, axis=1).T


def encode_mp4(frames: Iterator, folder: Path, *, seconds: float = 0.1) -> None:
    """Encode frames with two tones to v.mp4."""
    encode(frames, tones(folder, seconds), folder / "v.mp4", container=mp4.CONTAINER)


@pytest.mark.parametrize("seconds", [0.1, 1.0, 1.51])
def test_a_video_is_h264_with_aac_and_as_long_as_its_audio(tmp_path: Path, seconds: float) -> None:
    voices = tones(tmp_path, seconds)
    frames = -(-len(voices.samples) // SAMPLES_PER_FRAME)
    reported: list[int] = []

    encode(
        batches(frames),
        voices,
        tmp_path / "v.mp4",
        progress=reported.append,
        container=mp4.CONTAINER,
    )

    assert reported[-1] == frames
    with av.open(str(tmp_path / "v.mp4")) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.format.name) == ("h264", "yuv420p")
        assert (video.average_rate, video.width, video.height) == (30, 64, 64)
        assert (audio.codec_context.name, audio.sample_rate) == ("aac", 48_000)
        assert video.frames == frames
        assert abs(float(video.duration * video.time_base) - seconds) <= 1 / 30
        assert abs(float(audio.duration * audio.time_base) - seconds) <= 1 / 30


def test_a_video_can_be_played_before_the_download_ends(tmp_path: Path) -> None:
    encode_mp4(batches(3), tmp_path)

    content = (tmp_path / "v.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize("form", ["mp4", "mov", "webm"])
def test_the_metadata_of_a_video_marks_it_as_synthetic(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"v.{form}"
    encode(batches(3), tones(tmp_path), path, container=CONTAINERS[form])

    with av.open(str(path)) as container:
        metadata = {name.lower(): value for name, value in container.metadata.items()}
    assert metadata["comment"] == SYNTHETIC


def test_encoding_preserves_colours(tmp_path: Path) -> None:
    encode_mp4(batches(3), tmp_path)

    with av.open(str(tmp_path / "v.mp4")) as container:
        picture = next(container.decode(video=0))
        assert picture.colorspace == 1  # BT.709, declared in the file
        pixel = picture.to_ndarray(format="rgb24", src_colorspace="ITU709")[32, 32]
    assert np.abs(pixel.astype(int) - (200, 30, 40)).max() <= 4


def moving_pictures(frames: int = 12, size: int = 96) -> NDArray[np.uint8]:
    """Return smooth colours with a few edges, which move."""
    y, x = np.mgrid[:size, :size]
    pictures = []
    for frame in range(frames):
        waves = [128 + 100 * np.sin((x + k * y) / (9 + k) + frame / 5 + k) for k in range(3)]
        picture = np.stack(waves, -1)
        picture[20 + frame : 40 + frame, 30:60] = (210, 150, 130)
        pictures.append(picture.round().clip(0, 255).astype(np.uint8))
    return np.stack(pictures)


def colour_tags(path: Path) -> tuple[int, ...]:
    """Return matrix, range, primaries and transfer of the first frame."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        context = container.streams.video[0].codec_context
        tags = frame.colorspace, frame.color_range, context.color_primaries, context.color_trc
        return tuple(int(tag) for tag in tags)


def decoded(path: Path) -> NDArray[np.float64]:
    with av.open(str(path)) as container:
        return np.stack(
            [
                frame.to_ndarray(format="rgb24", src_colorspace="ITU709").astype(float)
                for frame in container.decode(video=0)
            ]
        )


@pytest.mark.parametrize("form", OPAQUE)
def test_frames_converted_here_look_like_those_that_ffmpeg_converts(
    tmp_path: Path, form: str
) -> None:
    pictures = moving_pictures()
    audio, container = tones(tmp_path, 0.4), OPAQUE[form]
    paths = {planes: tmp_path / f"{planes}{form}" for planes in (True, False)}
    for planes, path in paths.items():
        encode(iter([pictures[:8], pictures[8:]]), audio, path, container=container, planes=planes)

    assert colour_tags(paths[True]) == colour_tags(paths[False]) == (1, 1, 1, 1)
    ours, theirs = decoded(paths[True]), decoded(paths[False])
    errors = [np.square(each - pictures).mean() for each in (ours, theirs)]
    assert errors[0] <= 1.1 * errors[1]  # of both encoders to the frames before them
    assert 10 * np.log10(255**2 / np.square(ours - theirs).mean()) > 32  # dB


def test_sides_of_odd_length_are_left_to_ffmpeg(tmp_path: Path) -> None:
    pictures = moving_pictures(4, size=65)
    container = replace(mp4.CONTAINER, encoder=Encoder("mpeg4", ()))

    encode(iter([pictures]), tones(tmp_path), tmp_path / "v.mp4", container=container)

    assert decoded(tmp_path / "v.mp4").shape == (4, 65, 65, 3)


def test_both_channels_contain_both_voices_without_clipping(tmp_path: Path) -> None:
    encode_mp4(batches(30), tmp_path, seconds=1.0)

    mixed = decoded_audio(tmp_path / "v.mp4")[4800:43_200]
    spectrum = np.abs(np.fft.rfft(mixed, axis=0)) / (len(mixed) / 2)
    person, partner = (spectrum[round(hertz * len(mixed) / SAMPLE_RATE)] for hertz in (300, 1000))
    assert person == pytest.approx([0.6, 0.4], abs=0.06)
    assert partner == pytest.approx([0.4, 0.6], abs=0.06)
    assert np.abs(mixed).max() <= 1.05  # AAC overshoots a little


def test_a_person_without_a_partner_is_in_the_middle_at_the_recorded_volume(tmp_path: Path) -> None:
    voices = two_tones(0.5) * np.array([0.5, 0.0], np.float32)

    encode(batches(15), stored_audio(tmp_path, voices), tmp_path / "v.mp4", container=mp4.CONTAINER)

    mixed = decoded_audio(tmp_path / "v.mp4")[4800:19_200]
    assert np.abs(mixed).max(axis=0) == pytest.approx([0.5, 0.5], abs=0.02)


def test_the_error_of_a_failed_encoder_contains_the_output_of_ffmpeg(tmp_path: Path) -> None:
    with pytest.raises(
        VideoError, match=r"libx264 failed at frame .* 63x63: .*width not divisible"
    ):
        encode_mp4(batches(30, size=63), tmp_path, seconds=1.0)


def test_an_error_of_the_renderer_ends_the_encoder(tmp_path: Path) -> None:
    def failing_batches() -> Iterator:
        yield from batches(8)
        raise LookupError("no such frame")

    with pytest.raises(LookupError):
        encode_mp4(failing_batches(), tmp_path, seconds=1.0)


def test_an_encoder_that_reads_no_frames_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(stuck_ffmpeg(tmp_path)))
    monkeypatch.setattr("worker.pipeline.media.encode.PATIENCE", 0.1)

    with pytest.raises(VideoError, match=r"at frame 0 .*no progress in ffmpeg for 0\.1 s"):
        encode_mp4(batches(30, size=512), tmp_path, seconds=1.0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_raises_an_oserror_and_not_a_video_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        encode(
            batches(3),
            tones(tmp_path),
            Path("/dev/full"),
            container=mp4.CONTAINER,
        )


def test_no_frames_are_a_video_error(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no frames"):
        encode_mp4(iter(()), tmp_path)


def test_an_encoder_is_tried_before_it_is_used() -> None:
    assert encoder_fault(X264) is None
    assert "nothing_such" in str(encoder_fault(Encoder("nothing_such", ())))


def test_the_message_contains_the_path_of_an_ffmpeg_that_cannot_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")

    assert encoder_fault(X264) == "/nowhere/ffmpeg cannot be started: No such file or directory"


def test_nvenc_is_not_tried_without_a_gpu() -> None:
    assert choose_encoder("cpu") is X264


def test_ffmpeg_is_found_in_the_wheel_and_otherwise_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE", raising=False)
    assert "imageio_ffmpeg" in executable()
    monkeypatch.setattr("worker.pipeline.media.ffmpeg.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FfmpegError, match="set IMAGEIO_FFMPEG_EXE"):
        executable()
    stuck_ffmpeg(tmp_path).rename(tmp_path / "ffmpeg")
    assert executable() == str(tmp_path / "ffmpeg")
