"""Frames with alpha: each format gives back the colours and the cover that the renderer gave it."""

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
from tests.worker.pipeline.test_encode import CONTAINERS, heard, sound, two_tones
from worker.pipeline.container import X264
from worker.pipeline.decode import Sound
from worker.pipeline.encode import SYNTHETIC, VideoError, beyond_edges, encode
from worker.pipeline.outputs import mp4, png
from worker.pipeline.take import Take

Frames = NDArray[np.uint8]


def disc(frames: int = 3, size: int = 64) -> Frames:
    """Red, with an edge that is covered in part, and nothing around it, as a renderer paints it."""
    y, x = np.mgrid[:size, :size] + 0.5
    cover = np.clip(size / 3 - np.hypot(x - size / 2, y - size / 2) + 0.5, 0, 1)
    alpha = np.round(255 * cover).astype(np.uint8)
    colour = np.where(alpha[..., None] > 0, (200, 60, 40), 0).astype(np.uint8)
    return np.concatenate([colour, alpha[..., None]], axis=-1)[None].repeat(frames, 0)


def generated(batches: Iterator[Frames]) -> Generator[Frames, None, None]:
    yield from batches


def write_pictures(
    batches: Iterator[Frames],
    audio: Sound,
    path: Path,
    *,
    progress: Callable[[int], None] = lambda frames: None,
) -> None:
    """Write frames by the PNG output. progress: called with the number of frames written."""
    motion = Motion(torch.zeros(1, 256), torch.zeros(1, 104))  # a share of one frame is a count
    render = functools.partial(generated, batches)
    png.write(Take(motion, audio, render, X264, lambda share: progress(int(share))), path)


def in_batches(frames: Frames) -> Iterator[Frames]:
    yield from np.array_split(frames, 2)


def decoded(path: Path) -> Frames:
    """As RGBA; ffmpeg's own decoder of VP9 does not know alpha."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context
        if codec.name == "vp9":
            codec = av.CodecContext.create("libvpx-vp9", "r")
            packets = [p for p in container.demux(stream) if p.size]
            shown = [frame for packet in packets for frame in codec.decode(packet)]
        else:
            shown = list(container.decode(stream))
        return np.stack([f.to_ndarray(format="rgba", src_colorspace="ITU709") for f in shown])


def over(frames: Frames, colour: tuple[int, int, int]) -> NDArray[np.float64]:
    alpha = frames[..., 3:] / 255
    return frames[..., :3] * alpha + np.array(colour) * (1 - alpha)


@pytest.mark.parametrize(("form", "tolerance"), [("mov", 4), ("webm", 16)])
def test_videos_keep_the_cover_and_the_colour_of_edges(
    tmp_path: Path, form: str, tolerance: int
) -> None:
    frames = disc()
    place = tmp_path / f"v.{form}"

    encode(in_batches(frames), sound(tmp_path, two_tones(0.1)), place, container=CONTAINERS[form])

    found = decoded(place)
    assert found.shape == frames.shape
    assert np.abs(found[..., 3].astype(int) - frames[..., 3]).max() <= tolerance
    inside = frames[..., 3] == 255
    assert np.abs(found[inside][:, :3].astype(int) - (200, 60, 40)).max() <= tolerance
    for colour in ((0, 0, 0), (255, 255, 255)):  # premultiplied ones would be dark before white
        off = over(found, colour) - over(frames, colour)
        edge = (frames[..., 3] > 0) & ~inside
        assert abs(off[edge].mean()) < 4
    assert len(heard(place)) >= 4800


def test_what_is_beside_an_edge_takes_its_colour_and_nothing_that_is_seen_changes() -> None:
    frames = disc(2, size=66)
    frames[1, ..., 0] //= 2
    grown = beyond_edges(frames)
    seen, changed = frames[..., 3] > 0, (grown != frames).any(-1)
    assert not (changed & seen).any()
    assert np.array_equal(grown[..., 3], frames[..., 3])
    assert changed.sum() > 20
    assert (grown[0][changed[0]] == (200, 60, 40, 0)).all()
    assert (grown[1][changed[1]] == (100, 60, 40, 0)).all()
    beside = seen.copy()  # with all pixels that share their 2x2 with one
    for row in (0, 1):
        for column in (0, 1):
            beside[:, row::2, column::2] = seen.reshape(2, 33, 2, 33, 2).any((2, 4))
    assert np.array_equal(changed, beside & ~seen)


def test_opaque_frames_go_into_every_format(tmp_path: Path) -> None:
    frames = np.full((3, 64, 64, 3), (200, 60, 40), np.uint8)
    for form in ("mov", "webm"):
        place = tmp_path / f"v.{form}"
        encode(
            in_batches(frames), sound(tmp_path, two_tones(0.1)), place, container=CONTAINERS[form]
        )
        found = decoded(place)
        assert np.abs(found.astype(int) - (200, 60, 40, 255)).max() <= 5


def test_h264_has_no_alpha_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="libx264 has no alpha"):
        encode(
            in_batches(disc()),
            sound(tmp_path, two_tones(0.1)),
            tmp_path / "v.mp4",
            container=mp4.CONTAINER,
        )


@pytest.mark.parametrize("channels", [3, 4])
def test_pictures_are_the_frames_byte_for_byte(tmp_path: Path, channels: int) -> None:
    frames = disc(frames=5)[..., :channels]
    voices, told = sound(tmp_path, two_tones(0.1)), []

    write_pictures(in_batches(frames), voices, tmp_path / "p.zip", progress=told.append)

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
    assert told == [3, 5]
    assert {path.name for path in tmp_path.iterdir()} == {"p.zip", "sound.f32"}


def test_the_same_pictures_are_the_same_bytes(tmp_path: Path) -> None:
    voices = sound(tmp_path, two_tones(0.1))
    for name in ("a.zip", "b.zip"):
        write_pictures(in_batches(disc()), voices, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_pictures_are_written_as_they_come(tmp_path: Path) -> None:
    """The zip grows while frames come: nothing waits in memory for the end."""
    sizes = []

    def coming() -> Iterator[Frames]:
        noise = np.random.default_rng(0)
        for _ in range(4):
            yield noise.integers(0, 256, (2, 64, 64, 4), np.uint8)
            sizes.append((tmp_path / "p.zip").stat().st_size)

    write_pictures(coming(), sound(tmp_path, two_tones(0.1)), tmp_path / "p.zip")
    assert np.diff(sizes).min() > 2 * 64 * 64 * 3


def test_no_frames_are_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no frames"):
        write_pictures(iter(()), sound(tmp_path, two_tones(0.1)), tmp_path / "p.zip")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        write_pictures(in_batches(disc()), sound(tmp_path, two_tones(0.1)), Path("/dev/full"))
