"""Audio clips for tests, encoded on demand: the repository contains no clips."""

import subprocess
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np

# suffix: (encoder, sample format, sample rate)
ENCODERS = {
    "wav": ("pcm_s16le", "s16", 48_000),
    "flac": ("flac", "s16", 44_100),
    "mp3": ("libmp3lame", "s16p", 44_100),
    "opus": ("libopus", "s16", 48_000),
    "m4a": ("aac", "fltp", 48_000),
    "webm": ("libopus", "s16", 48_000),
}
FORMATS = {"opus": "ogg", "m4a": "mp4"}
LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1"}


def write_clip(
    path: Path, *, seconds: float = 0.5, channels: int = 2, rate: int | None = None
) -> Path:
    """Write a tone in the format of the suffix of `path`."""
    if path.suffix == ".ogg":
        return _vorbis(path, seconds, channels)
    codec, sample_format, usual_rate = ENCODERS[path.suffix[1:]]
    sample_rate = rate or usual_rate
    kind = FORMATS.get(path.suffix[1:], path.suffix[1:])
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream(codec, rate=sample_rate, layout=LAYOUTS[channels])
        resampler = av.AudioResampler(sample_format, LAYOUTS[channels], sample_rate, 960)
        for frame in resampler.resample(_tone(seconds, channels, sample_rate)):
            container.mux(stream.encode(frame))
        for frame in resampler.resample(None):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _vorbis(path: Path, seconds: float, channels: int) -> Path:
    """Encode by ffmpeg, because the libraries in PyAV have no Vorbis encoder."""
    wav = write_clip(path.with_suffix(".wav"), seconds=seconds, channels=channels)
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    command = [ffmpeg, "-v", "error", "-y", "-i", wav, "-c:a", "libvorbis", "-f", "ogg", path]
    subprocess.run(command, check=True)
    wav.unlink()
    return path


def _tone(seconds: float, channels: int, rate: int) -> av.AudioFrame:
    time = np.arange(round(seconds * rate)) / rate
    wave = np.round(8000 * np.sin(2 * np.pi * 220 * time)).astype(np.int16)
    signs = np.array([1, -1, 1], np.int16)[:channels]  # identical channels would be a warning
    interleaved = (wave[:, None] * signs).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(interleaved, format="s16", layout=LAYOUTS[channels])
    frame.sample_rate = rate
    return frame
