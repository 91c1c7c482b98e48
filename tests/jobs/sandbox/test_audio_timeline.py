"""Random recordings: the reader agrees with a plain reading of their timestamps."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import imageio_ffmpeg
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.sandbox.audio_formats import MediaLimits
from jobs.sandbox.audio_reader import SAMPLE_RATE, ClipReader

NOISE = "anoisesrc=r={rate}:d={seconds}:seed=1:a=0.5"
BLOCK = SAMPLE_RATE // 50
FORMATS = [
    ("mkv", "aac"), ("mkv", "libopus"), ("mkv", "flac"), ("mkv", "pcm_s16le"),
    ("webm", "libopus"), ("webm", "libvorbis"), ("m4a", "aac"), ("mp4", "libopus"),
    ("mov", "pcm_s16be"), ("mov", "alac"), ("ogg", "libvorbis"), ("ogg", "libopus"),
    ("ogg", "flac"), ("wav", "adpcm_ms"), ("wav", "pcm_s24le"), ("aac", "aac"),
    ("caf", "alac"), ("aiff", "pcm_s16be"), ("flac", "flac"), ("mp3", "libmp3lame"),
]  # fmt: skip
TIMED = {"mkv", "webm", "m4a", "mp4", "mov", "ogg"}
JOINED = {"mkv", "webm", "ogg", "aac", "m4a", "mp4", "wav", "caf", "aiff", "flac", "mp3"}


@dataclass(frozen=True)
class Recipe:
    """A random file."""

    container: str
    codec: str
    rate: int
    channels: int
    seconds: float
    offset: float  # before the audio, in formats with timestamps
    dropped: tuple[int, int]  # first packet without data, and their number
    joins: int  # copies of the file in the file

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Return the whole file, and one of its copies."""
        source = NOISE.format(rate=self.rate, seconds=self.seconds)
        plain, part, whole = (folder / f"{name}.{self.container}" for name in ("a", "b", "c"))
        layout = ("-ac", str(self.channels))
        _ffmpeg("-f", "lavfi", "-i", source, *layout, "-c:a", self.codec, "-strict", "-2", plain)
        if self.container not in TIMED:
            part = plain
        else:
            first, count = self.dropped
            drop = f"noise=drop=gte(n\\,{first})*lt(n\\,{first + count})"
            offset = ("-itsoffset", str(self.offset))
            _ffmpeg(*offset, "-i", plain, "-c", "copy", "-bsf:a", drop, "-strict", "-2", part)
        whole.write_bytes(part.read_bytes() * self.joins)
        return whole, part


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    container, codec = draw(st.sampled_from(FORMATS))
    rates = (16_000, 24_000, 48_000) if codec == "libopus" else (16_000, 24_000, 44_100, 48_000)
    return Recipe(
        container,
        codec,
        draw(st.sampled_from(rates)),
        draw(st.sampled_from((1, 2))),
        draw(st.integers(20, 300)) / 100,
        draw(st.sampled_from((0.0, 0.0, 0.25, 1.37))),
        (draw(st.integers(5, 12)), draw(st.sampled_from((0, 0, 6, 20)))),
        draw(st.sampled_from((1, 2, 3))) if container in JOINED else 1,
    )


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(recipe=recipes())
def test_length_and_places_are_those_of_the_timestamps(recipe: Recipe) -> None:
    with TemporaryDirectory() as folder:
        whole, part = recipe.write(Path(folder))
        expected, frame = sounding(part, timed=recipe.container in TIMED)
        reader = ClipReader(whole, MediaLimits(max_seconds=60.0))
        samples = np.frombuffer(b"".join(reader.stereo()), np.float32).reshape(-1, 2)

    # Later recordings of these formats may count time from the first one: their offset is nothing.
    continued = recipe.container in ("ogg", "webm", "mkv")
    later = expected[np.flatnonzero(expected)[0] if continued else 0 :]
    expected = np.concatenate([expected] + [later] * (recipe.joins - 1))
    padding = frame + SAMPLE_RATE // 500  # of the encoder, and ticks of a millisecond
    assert abs(len(samples) - len(expected)) <= recipe.joins * padding
    assert reader.channels == recipe.channels
    assert [warning.code for warning in reader.warnings] == []
    assert (recipe.channels == 1) == (not samples[:, 1].any())
    assert_equal_places(samples[:, 0] != 0, expected, 2 + (recipe.joins - 1) * padding // BLOCK)


def sounding(path: Path, *, timed: bool) -> tuple[np.ndarray, int]:
    """Return a mask of the samples at 48 kHz that have audio, and the longest frame."""
    spans = []
    end = 0.0
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            start = float(frame.pts * frame.time_base) if timed and frame.pts is not None else end
            end = start + frame.samples / frame.sample_rate
            spans.append((round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)))
    mask = np.zeros(max(last for _, last in spans), bool)
    for first, last in spans:
        mask[max(0, first) : last] = True
    return mask, max(last - first for first, last in spans)


def assert_equal_places(found: np.ndarray, expected: np.ndarray, slack: int) -> None:
    """Compare in blocks of 20 ms; the edges of pauses may move by `slack` blocks."""
    both = min(len(found), len(expected)) // BLOCK  # beyond, one of them has padding
    masks = []
    for mask in (found, expected):
        count = len(mask) // BLOCK
        masks.append(mask[: count * BLOCK].reshape(count, BLOCK).mean(axis=1) > 0.5)
    for mask, other in (masks, masks[::-1]):
        near = np.convolve(other, np.ones(2 * slack + 1))[slack:] > 0
        assert not (mask[:both] & ~near[:both]).any()


def _ffmpeg(*arguments: str | Path) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True)
