"""Frames with alpha: each format preserves the colours and the alpha of rendered frames."""

import functools
import io
import wave
import zipfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from models.motion.pipeline import Motion
from tests.worker.pipeline.media.test_encode import CONTAINERS, decoded_audio, tones
from worker.pipeline.media.container import X264
from worker.pipeline.media.decode import Audio
from worker.pipeline.media.encode import SYNTHETIC, VideoError, beyond_edges, encode
from worker.pipeline.motion_stream import TakeMotion
from worker.pipeline.outputs import mp4, png
from worker.pipeline.take import Take

Frames = NDArray[np.uint8]


def disc(frames: int = 3, size: int = 64) -> Frames:
    """Return a red disc with antialiased edges on a transparent background."""
    y, x = np.mgrid[:size, :size] + 0.5
    coverage = np.clip(size / 3 - np.hypot(x - size / 2, y - size / 2) + 0.5, 0, 1)
    alpha = np.round(255 * coverage).astype(np.uint8)
    colour = np.where(alpha[..., None] > 0, (200, 60, 40), 0).astype(np.uint8)
    return np.concatenate([colour, alpha[..., None]], axis=-1)[None].repeat(frames, 0)


def generated(batches: Iterator[Frames]) -> Generator[Frames, None, None]:
    yield from batches


def write_pictures(
    batches: Iterator[Frames],
    audio: Audio,
    path: Path,
    *,
    progress: Callable[[float], None] = lambda share: None,
) -> None:
    """Write five frames by the PNG output. progress: called with the share that is written."""
    motion = TakeMotion.of(Motion(torch.zeros(5, 256), torch.zeros(5, 104)))
    render = functools.partial(generated, batches)
    png.write(Take(motion, audio, render, X264, progress), path)


def in_batches(frames: Frames) -> Iterator[Frames]:
    yield from np.array_split(frames, 2)


def decoded(path: Path) -> Frames:
    """Return the frames as RGBA, by libvpx for VP9, because the decoder of ffmpeg ignores alpha."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context
        if codec.name == "vp9":
            codec = av.CodecContext.create("libvpx-vp9", "r")
            packets = [p for p in container.demux(stream) if p.size]
            pictures = [frame for packet in packets for frame in codec.decode(packet)]
        else:
            pictures = list(container.decode(stream))
        return np.stack([f.to_ndarray(format="rgba", src_colorspace="ITU709") for f in pictures])


def composited(frames: Frames, colour: tuple[int, int, int]) -> NDArray[np.float64]:
    alpha = frames[..., 3:] / 255
    return frames[..., :3] * alpha + np.array(colour) * (1 - alpha)


@pytest.mark.parametrize(("form", "tolerance"), [("mov", 4), ("webm", 16)])
def test_videos_preserve_the_alpha_and_the_colour_of_edges(
    tmp_path: Path, form: str, tolerance: int
) -> None:
    frames = disc()
    place = tmp_path / f"v.{form}"

    encode(in_batches(frames), tones(tmp_path), place, container=CONTAINERS[form])

    found = decoded(place)
    assert found.shape == frames.shape
    assert np.abs(found[..., 3].astype(int) - frames[..., 3]).max() <= tolerance
    inside = frames[..., 3] == 255
    assert np.abs(found[inside][:, :3].astype(int) - (200, 60, 40)).max() <= tolerance
    for colour in ((0, 0, 0), (255, 255, 255)):  # premultiplied colours would be dark on white
        error = composited(found, colour) - composited(frames, colour)
        edge = (frames[..., 3] > 0) & ~inside
        assert abs(error[edge].mean()) < 4
    assert len(decoded_audio(place)) >= 4800


def test_edge_colours_extend_into_transparent_pixels_and_visible_pixels_do_not_change() -> None:
    frames = disc(2, size=66)
    frames[1, ..., 0] //= 2
    grown = beyond_edges(frames)
    seen, changed = frames[..., 3] > 0, (grown != frames).any(-1)
    assert not (changed & seen).any()
    assert np.array_equal(grown[..., 3], frames[..., 3])
    assert changed.sum() > 20
    assert (grown[0][changed[0]] == (200, 60, 40, 0)).all()
    assert (grown[1][changed[1]] == (100, 60, 40, 0)).all()
    beside = seen.copy()  # and all pixels in the same 2x2 block as a visible one
    for row in (0, 1):
        for column in (0, 1):
            beside[:, row::2, column::2] = seen.reshape(2, 33, 2, 33, 2).any((2, 4))
    assert np.array_equal(changed, beside & ~seen)


def test_every_format_with_alpha_accepts_opaque_frames(tmp_path: Path) -> None:
    frames = np.full((3, 64, 64, 3), (200, 60, 40), np.uint8)
    for form in ("mov", "webm"):
        place = tmp_path / f"v.{form}"
        encode(in_batches(frames), tones(tmp_path), place, container=CONTAINERS[form])
        found = decoded(place)
        assert np.abs(found.astype(int) - (200, 60, 40, 255)).max() <= 5


def test_transparent_frames_for_h264_are_a_video_error(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="libx264 has no alpha"):
        encode(in_batches(disc()), tones(tmp_path), tmp_path / "v.mp4", container=mp4.CONTAINER)


@pytest.mark.parametrize("channels", [3, 4])
def test_png_pictures_equal_the_frames(tmp_path: Path, channels: int) -> None:
    frames = disc(frames=5)[..., :channels]
    voices, reported = tones(tmp_path), []

    write_pictures(in_batches(frames), voices, tmp_path / "p.zip", progress=reported.append)

    with zipfile.ZipFile(tmp_path / "p.zip") as archive:
        names = archive.namelist()
        assert archive.comment == SYNTHETIC.encode()
        assert names == [f"{frame:06d}.png" for frame in range(5)] + ["sound.wav"]
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        for frame, name in zip(frames, names, strict=False):
            picture = Image.open(io.BytesIO(archive.read(name)))
            assert picture.info.get("aspect") == (1, 1)
            assert np.array_equal(np.asarray(picture), frame)
        with wave.open(io.BytesIO(archive.read("sound.wav"))) as mixed:
            assert (mixed.getframerate(), mixed.getnchannels(), mixed.getnframes()) == (
                48_000, 2, 4800,
            )  # fmt: skip
    assert reported == [3 / 5, 1.0]
    assert {path.name for path in tmp_path.iterdir()} == {"p.zip", "sound.f32"}


def test_equal_frames_give_equal_zip_files(tmp_path: Path) -> None:
    voices = tones(tmp_path)
    for name in ("a.zip", "b.zip"):
        write_pictures(in_batches(disc()), voices, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_pictures_are_written_batch_by_batch(tmp_path: Path) -> None:
    """The zip grows with each batch, so no frames collect in memory."""
    sizes = []

    def measured_batches() -> Iterator[Frames]:
        noise = np.random.default_rng(0)
        for _ in range(4):
            yield noise.integers(0, 256, (2, 64, 64, 4), np.uint8)
            sizes.append((tmp_path / "p.zip").stat().st_size)

    write_pictures(measured_batches(), tones(tmp_path), tmp_path / "p.zip")
    assert np.diff(sizes).min() > 2 * 64 * 64 * 3


def test_no_frames_are_a_video_error(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no frames"):
        write_pictures(iter(()), tones(tmp_path), tmp_path / "p.zip")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        write_pictures(in_batches(disc()), tones(tmp_path), Path("/dev/full"))
