"""Decoding of clips to 48 kHz stereo floats; left is the person, right the partner."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jobs.model import JobWarning
from jobs.sandbox.audio_formats import MediaError
from jobs.sandbox.audio_probe import ROOT, info_of, read_command, samples_in, tone_wav
from jobs.sandbox.recording import check_channels
from worker.pipeline.media.ffmpeg import Child, ChildError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import IO, Literal

    from numpy.typing import NDArray

    from jobs.sandbox.audio_probe import ClipInfo

SAMPLE_RATE = 48_000
CHANNELS = 2
FRAME_BYTES = 4 * CHANNELS  # one sample of both channels, as float32
CHUNK = 8192 * FRAME_BYTES
WALL_SECONDS = 30.0  # for decoding, in addition to the length of the clip
RLIMITS = {
    "AS": 1 << 30,  # the libraries alone map 300 MB
    "FSIZE": 1 << 20,  # of its error output; the audio goes through a pipe
    "CORE": 0,
    "NOFILE": 64,
}
# Signals that the kernel sends for faults of the process; SIGKILL and SIGTERM come from outside.
FAULT_SIGNALS = {
    signal.SIGXCPU, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE,
    signal.SIGILL,
}  # fmt: skip
TONE_SAMPLES = 4800  # of the clip that checks the decoder
SILENT = 0.001  # peak of a silent channel: -60 dBFS
OFFSET = 0.01  # mean of a channel that is removed: -40 dBFS
FULL_SCALE = 0.99  # three equal samples above are clipped
CLIPPED_SHARE = 1e-4  # of the samples


@dataclass(frozen=True)
class Audio:
    """A decoded clip, in a file, so that a long one does not fill the memory."""

    path: Path  # raw float32, the two channels interleaved
    # [samples, 2] in -1..1, mapped from that file: what is read of it stays in the memory of the
    # process, so long clips are read with `chunks`.
    samples: NDArray[np.float32]
    partner_speaks: bool  # False: channel 1 is all zeros
    warnings: tuple[JobWarning, ...] = ()

    def chunks(self) -> Iterator[NDArray[np.float32]]:
        """Yield the samples, a second at a time, read from the file."""
        with self.path.open("rb") as file:
            while len(chunk := np.fromfile(file, np.float32, CHANNELS * SAMPLE_RATE)):
                yield chunk.reshape(-1, CHANNELS)

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


class Levels:
    """Measurements of both channels, taken while the audio arrives."""

    def __init__(self) -> None:
        self.samples = 0
        self.clipped = 0
        self.identical = True
        self.peak = np.zeros(CHANNELS, np.float32)
        self._sum = np.zeros(CHANNELS)
        self._sounding = np.zeros(CHANNELS, np.int64)  # samples that are not exactly zero

    def add(self, samples: NDArray[np.float32]) -> None:
        """Measure a chunk [n, 2]."""
        self.samples += len(samples)
        channels = np.ascontiguousarray(samples.T)  # [2, n]: sums along rows are much faster
        magnitude = np.abs(channels)
        self.peak = np.maximum(self.peak, magnitude.max(axis=1, initial=0))
        self.identical = self.identical and np.array_equal(*channels)
        self._sum += channels.sum(axis=1, dtype=np.float64)
        self._sounding += np.count_nonzero(channels, axis=1)
        middle = channels[:, 1:-1]
        flat = (channels[:, 2:] == middle) & (middle == channels[:, :-2])
        self.clipped += int((flat & (magnitude[:, 2:] >= FULL_SCALE)).sum())

    @property
    def is_clipped(self) -> bool:
        """Check for flat tops at full scale."""
        return self.clipped > max(2, CLIPPED_SHARE * self.samples)

    @property
    def offset(self) -> NDArray[np.float32]:
        """Mean of each channel where it is to be removed, else 0; silence does not count."""
        mean = self._sum / np.maximum(self._sounding, 1)
        # The mean of a short or clipped channel is that of its waves.
        unclear = (self._sounding < SAMPLE_RATE) | (np.abs(mean) < OFFSET) | self.is_clipped
        return np.where(unclear, 0.0, mean).astype(np.float32)

    def check_both(self) -> None:
        """Raises: MediaError: when two people would say the same."""
        if self.identical and self.peak[0] >= SILENT:
            raise MediaError(
                "audio_channels",
                "both channels are identical, so both people would say the same; send a recording "
                "with one voice in each channel or a file of each, or leave out both",
            )

    def warnings(self, info: ClipInfo, *, both: bool = False) -> list[JobWarning]:
        """Return the warnings about these measurements. both: the partner is shown, too."""
        found = []
        if self.is_clipped:
            found.append(
                JobWarning(
                    "audio_clipped",
                    "The audio is clipped: its loudest parts are cut at full scale; record with a "
                    "lower level.",
                )
            )
        if self.peak[0] < SILENT:
            rest = "" if self.peak[1] < SILENT else ", and the other channel is not"
            found.append(
                JobWarning(
                    "left_channel_silent",
                    f"The channel of the person is silent{rest}; the person is the left channel "
                    "unless person_channel is right.",
                )
            )
        elif info.channels > 1 and self.identical:
            found.append(
                JobWarning(
                    "channels_identical",
                    "Both channels are identical, so the person and the partner say the same; "
                    "send a mono file if the partner is not recorded.",
                )
            )
        if both and self.peak[1] < SILENT <= self.peak[0]:
            found.append(
                JobWarning(
                    "partner_silent",
                    "The channel of the partner is silent, so the second person only listens; for "
                    "two voices send a recording with one in each channel, or a file of each.",
                )
            )
        if self.offset.any():
            found.append(
                JobWarning(
                    "dc_offset_removed",
                    f"A constant offset of {np.abs(self.offset).max():.3f} was removed.",
                )
            )
        return found


def decode(
    clip: Path,
    raw: Path,
    *,
    max_seconds: float,
    wall_seconds: float | None = None,
    progress: Callable[[float], None] = lambda share: None,
    partner: Path | None = None,
    person_channel: Literal["left", "right"] = "left",
    both: bool = False,
) -> Audio:
    """Decode at most `max_seconds` of `clip` into the file `raw`. progress: called with 0..1.

    Channels are never mixed; a mono clip gets a silent partner, or the one of the mono file
    `partner`. person_channel: "right" exchanges the channels. both: the partner is shown, too.

    Raises:
        MediaError: when the clip cannot be decoded, or has one voice for two people.
        ChildError: when the decoder was killed or cannot be started.
    """
    patience = wall_seconds if wall_seconds is not None else WALL_SECONDS + max_seconds
    command = read_command(clip, max_seconds=max_seconds, partner=partner)
    rlimits = RLIMITS | {"CPU": int(patience) + 1}
    most = samples_in(max_seconds) * FRAME_BYTES
    levels = Levels()
    try:
        with Child(command, patience=patience, rlimits=rlimits, folder=ROOT) as child:
            _receive(
                child.pipe, raw, most, lambda size: progress(size / most), levels, person_channel
            )
            child.finish()
            info = _info(child.last_line())
    except ChildError as error:
        if (media_error := _media_error(error)) is None:
            raise  # it was killed or not started, which is not the fault of the clip
        raise media_error from error
    if partner is None:
        check_channels(person_channel, info.channels, partner=False)
    if raw.stat().st_size == 0:
        raise MediaError(
            "audio_empty", "the file contains no decodable audio after its header; export it again"
        )
    if both:
        levels.check_both()
    if levels.offset.any():
        _remove_offset(raw, levels.offset)
    samples: NDArray[np.float32] = np.memmap(raw, np.float32, mode="c").reshape(-1, CHANNELS)
    warnings = (*info.warnings, *levels.warnings(info, both=both))
    return Audio(raw, samples, bool(levels.peak[1]), warnings)


def _info(line: str) -> ClipInfo:
    """Return the result of the child, in the last line of its error output."""
    try:
        return info_of(json.loads(line))
    except MediaError:
        raise
    except (KeyError, TypeError, ValueError):
        raise _unreadable() from None


def _receive(
    pipe: IO[bytes],
    raw: Path,
    most: int,
    progress: Callable[[int], None],
    levels: Levels,
    person_channel: str,
) -> None:
    """Write the decoded audio to `raw` as finite numbers in -1..1.

    progress: called with the number of bytes received.

    This process writes the file, so that a full disk is an OSError here and not a fault of the
    clip. At most `most` bytes are written.
    """
    order = slice(None, None, -1 if person_channel == "right" else 1)
    with raw.open("wb") as file:
        while chunk := pipe.read(CHUNK):
            chunk = chunk[: most - file.tell()]
            whole = len(chunk) // FRAME_BYTES * FRAME_BYTES
            samples = np.frombuffer(chunk[:whole], np.float32).reshape(-1, CHANNELS)[:, order]
            samples = np.clip(np.nan_to_num(samples, nan=0.0), -1.0, 1.0)
            levels.add(samples)
            file.write(samples.tobytes())
            progress(file.tell())


def _remove_offset(raw: Path, offset: NDArray[np.float32]) -> None:
    """Subtract the offset of each channel where it is not silent."""
    with raw.open("r+b") as file:
        while len(part := np.fromfile(file, np.float32, CHANNELS * CHUNK)):
            samples = part.reshape(-1, CHANNELS)
            samples = np.clip(np.where(samples == 0, samples, samples - offset), -1.0, 1.0)
            file.seek(-part.nbytes, os.SEEK_CUR)
            samples.astype(np.float32, copy=False).tofile(file)
            file.seek(0, os.SEEK_CUR)  # a file needs it between writing and reading


def decoder_fault(folder: Path) -> str | None:
    """Decode a tone in `folder`; return the reason of a failure, or None."""
    tone, raw = folder / "tone.wav", folder / "tone.f32"
    seconds = TONE_SAMPLES / SAMPLE_RATE
    try:
        tone.write_bytes(tone_wav(TONE_SAMPLES))
        audio = decode(tone, raw, max_seconds=seconds, wall_seconds=WALL_SECONDS)
    except (MediaError, ChildError, OSError) as error:
        return str(error)
    return None if len(audio.samples) == TONE_SAMPLES else "the decoder loses samples"


def _media_error(error: ChildError) -> MediaError | None:
    if error.not_started:
        return None
    if error.stalled or -(error.status or 0) in FAULT_SIGNALS or (error.status or 0) > 0:
        return _unreadable()
    return None


def _unreadable() -> MediaError:
    return MediaError(
        "audio_unreadable",
        "the audio could not be decoded within the time and memory limits for a clip of this "
        "length; convert it to wav and send it again",
    )
