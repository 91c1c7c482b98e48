"""What is wrong with a dataset: every finding with its file and its frame.

Letters: T frames, C channels. A piece of a scene is in memory at a time, and a few numbers a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.formats.dataset import (
    FACE_CHANNELS,
    POSE_CHANNELS,
    WRAPPED_CHANNEL,
    DatasetError,
    check_audio,
    check_missing,
    listed_scenes,
    open_audio,
    open_motion,
    read_missing,
)
from models.formats.wav import FRAME_RATE, SAMPLES_PER_FRAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from models.formats.dataset import Frames, SceneFiles
    from models.formats.wav import WavFile

    Array = NDArray[np.floating[Any]]

ERROR, WARNING, NOTE = "error", "warning", "note"
PIECE = 1800  # frames that are read at once
MOST_OF_A_KIND = 20  # findings in one file; how many more there are is told
JUMP_TIMES, JUMP_LEAST = 10.0, 0.25  # of a channel's quick steps (99 %), and rad or dm
FULL_SCALE, CLIPPED_RUN = 0.9995, 4  # of a sample, and how many one after the other are clipped
SILENCE = 10 ** (-70 / 20)  # root mean square of a channel in which nobody was recorded
MANY_MISSING = 0.5  # share of a scene
SMOOTHED = FRAME_RATE // 2  # frames, of loudness and of movement
FITS, FITS_BETTER = 0.2, 0.15  # correlation with the partner's channel, and more than with her own


@dataclass(frozen=True)
class Found:
    """One finding. `frame` is the first that it is about, None for the whole file."""

    level: str
    kind: str
    file: str
    frame: int | None
    words: str

    def __str__(self) -> str:
        place = self.file if self.frame is None else f"{self.file} frame {self.frame}"
        return f"{self.level}: {place}: {self.words}"


@dataclass(frozen=True)
class Checked:
    """A whole dataset."""

    scenes: int
    frames: int
    findings: tuple[Found, ...]

    def count(self, level: str) -> int:
        """How many findings there are of a level."""
        return sum(found.level == level for found in self.findings)


def check(folder: Path) -> Checked:
    """Everything that is found in the scenes of a folder. DatasetError where there are none."""
    scenes = [_Check(files) for files in listed_scenes(folder)]
    findings = tuple(found for scene in scenes for found in scene.findings())
    return Checked(len(scenes), sum(scene.frames for scene in scenes), findings)


class _Check:
    """One scene: what can be opened is looked at, whatever else is wrong."""

    def __init__(self, files: SceneFiles) -> None:
        self.files, self.frames = files, 0
        self._pose: Array | None = None
        self._face: Array | None = None
        self._sound: WavFile | None = None
        self._missing: Frames | None = None

    def findings(self) -> Iterator[Found]:
        yield from self._opened()
        yield from self._lengths()
        if self._missing is not None:
            yield from self._missing_frames(self._missing)
        if self._pose is not None:
            yield from _not_numbers(self.files.pose, self._pose, np.zeros(0, np.int64))
            yield from _jumps(self.files.pose, self._pose)
        if self._face is not None:
            missing = self._missing if self._missing is not None else np.zeros(0, np.int64)
            yield from _not_numbers(self.files.face, self._face, missing)
        if self._sound is not None:
            yield from self._heard(self._sound)

    def _opened(self) -> Iterator[Found]:
        files = self.files
        for path in files.absent:
            yield Found(ERROR, "file missing", path.name, None, "it is not there")
        for path, look in (
            (files.pose, self._open_pose),
            (files.face, self._open_face),
            (files.audio, self._open_sound),
            (files.missing, self._open_missing),
        ):
            try:
                if path.is_file():
                    look()
            except DatasetError as error:
                yield Found(ERROR, "unreadable", path.name, None, str(error))

    def _open_pose(self) -> None:
        self._pose = open_motion(self.files.pose, POSE_CHANNELS)

    def _open_face(self) -> None:
        self._face = open_motion(self.files.face, FACE_CHANNELS)

    def _open_sound(self) -> None:
        self._sound = open_audio(self.files.audio)

    def _open_missing(self) -> None:
        self._missing = read_missing(self.files.missing)

    def _lengths(self) -> Iterator[Found]:
        motion = self._pose if self._pose is not None else self._face
        if motion is None:
            return
        self.frames = len(motion)
        if self._face is not None and len(self._face) != self.frames:
            shorter = min(self.frames, len(self._face))
            words = f"{len(self._face)} frames of face codes for {self.frames} of pose"
            yield Found(ERROR, "length", self.files.face.name, shorter, words)
        if self._sound is not None:
            try:
                check_audio(self._sound, self.frames)
            except DatasetError as error:
                shorter = min(self.frames, len(self._sound) // SAMPLES_PER_FRAME)
                yield Found(ERROR, "length", self.files.audio.name, shorter, str(error))

    def _missing_frames(self, missing: Frames) -> Iterator[Found]:
        name, frames = self.files.missing.name, self.frames
        if frames == 0 or not len(missing):
            return
        try:
            check_missing(self.files.missing, missing, frames)
        except DatasetError as error:
            outside = int(missing[(missing < 0) | (missing >= frames)][0])
            yield Found(ERROR, "missing frames", name, outside, str(error))
        inside = np.unique(missing[(missing >= 0) & (missing < frames)])
        if len(inside) < len(missing[(missing >= 0) & (missing < frames)]):
            twice = int(np.sort(missing)[:-1][np.diff(np.sort(missing)) == 0][0])
            yield Found(WARNING, "missing frames", name, twice, "it is named more than once")
        if not len(inside):
            return
        share = len(inside) / frames
        if share == 1:
            words = "no frame has a face; the scene is left out of training"
            yield Found(WARNING, "missing frames", name, 0, words)
            return
        words = f"{len(inside)} of {frames} frames ({share:.1%}) have no face: {ranges(inside)}"
        level = WARNING if share > MANY_MISSING else NOTE
        yield Found(level, "missing frames", name, int(inside[0]), words)

    def _heard(self, sound: WavFile) -> Iterator[Found]:
        name = self.files.audio.name
        heard = listen(sound)
        if heard.not_a_number is not None:
            frame = heard.not_a_number
            yield Found(ERROR, "not a number", name, frame, "a sample is NaN or infinite")
            return
        for channel, who in enumerate(("the person", "the partner")):
            level = float(np.sqrt(np.mean(np.square(heard.level[:, channel])))) if len(sound) else 0
            if level < SILENCE:
                words = f"channel {channel} ({who}) is silent: {_decibels(level)}"
                yield Found(WARNING, "silent", name, 0, words)
            if heard.clipped[channel]:
                frames = heard.clipped[channel]
                words = f"channel {channel} ({who}) is clipped in {len(frames)} frames"
                yield Found(WARNING, "clipped", name, frames[0], words)
        yield from self._channel_order(heard.level)

    def _channel_order(self, level: Array) -> Iterator[Found]:
        """Whether the face moves when the other channel is loud, and not when its own is."""
        if self._face is None or len(level) != len(self._face) or len(level) < 10 * FRAME_RATE:
            return
        seen = np.ones(len(self._face), np.bool_)
        if self._missing is not None:
            seen[self._missing[(self._missing >= 0) & (self._missing < len(seen))]] = False
        moves = movement(self._face, seen)
        fits = [correlation(moves, smoothed(np.sqrt(level[:, channel]))) for channel in (0, 1)]
        if fits[1] > FITS and fits[1] - fits[0] > FITS_BETTER:
            words = (
                f"the face moves with channel 1 (correlation {fits[1]:.2f}) and not with channel 0 "
                f"({fits[0]:.2f}); channel 0 must be the person who is shown: are they swapped?"
            )
            yield Found(WARNING, "channel order", self.files.audio.name, None, words)


def ranges(frames: Frames, most: int = 8) -> str:
    """Sorted frames as 3-5, 9, 12-40; how many ranges more there are."""
    breaks = np.flatnonzero(np.diff(frames) > 1) + 1
    parts = np.split(frames, breaks)
    told = [f"{part[0]}-{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts[:most]]
    return ", ".join(told) + (f" and {len(parts) - most} more" if len(parts) > most else "")


def _not_numbers(path: Path, motion: Array, missing: Frames) -> Iterator[Found]:
    """NaN and infinity; where there is no face they do no harm."""
    wrong: list[int] = []
    for start in range(0, len(motion), PIECE):
        bad = ~np.isfinite(motion[start : start + PIECE]).all(1)
        wrong += (np.flatnonzero(bad) + start).tolist()
    left = np.setdiff1d(np.array(wrong, np.int64), missing)
    if len(left):
        words = f"NaN or infinity in {len(left)} frames: {ranges(left)}"
        yield Found(ERROR, "not a number", path.name, int(left[0]), words)


def _jumps(path: Path, pose: Array) -> Iterator[Found]:
    """Steps from one frame to the next that no body makes: far above a channel's quick ones."""
    frames = _jump_frames(pose)
    for frame, channel, step in frames[:MOST_OF_A_KIND]:
        words = f"pose channel {channel} jumps by {step:.2f} from the frame before"
        yield Found(WARNING, "jump", path.name, frame, words)
    if len(frames) > MOST_OF_A_KIND:
        words = f"{len(frames) - MOST_OF_A_KIND} more jumps"
        yield Found(WARNING, "jump", path.name, frames[MOST_OF_A_KIND][0], words)


def _jump_frames(pose: Array) -> list[tuple[int, int, float]]:
    """(frame, channel, step) of each jump."""
    if len(pose) < 3:
        return []
    stride = max(1, len(pose) // 20_000)
    firsts = np.arange(0, len(pose) - 1, stride)
    quick = np.nanquantile(_steps(pose[firsts], pose[firsts + 1]), 0.99, axis=0)
    limit = np.maximum(JUMP_TIMES * quick, JUMP_LEAST)
    found = []
    for start in range(0, len(pose) - 1, PIECE):
        piece = np.asarray(pose[start : start + PIECE + 1], np.float32)
        steps = _steps(piece[:-1], piece[1:])
        for place in np.flatnonzero((steps > limit).any(1)):
            channel = int(np.argmax(steps[place] / limit))
            found.append((start + int(place) + 1, channel, float(steps[place, channel])))
    return found


def _steps(before: Array, after: Array) -> Array:
    """How far each channel went, [n, C]; a whole turn of the channel that counts turns is none."""
    with np.errstate(invalid="ignore"):
        steps = np.abs(after - before)
        turned = np.mod(steps[:, WRAPPED_CHANNEL], 2 * np.pi)
        steps[:, WRAPPED_CHANNEL] = np.minimum(turned, 2 * np.pi - turned)
    return np.nan_to_num(steps, nan=0.0, posinf=0.0, neginf=0.0)  # told elsewhere


@dataclass(frozen=True)
class Listened:
    """What was heard of a recording, frame by frame."""

    level: Array  # root mean square of each channel, [T, 2]
    clipped: tuple[list[int], list[int]]  # frames, by channel
    not_a_number: int | None  # the first such frame


def listen(sound: WavFile) -> Listened:
    """Read it once, a piece at a time."""
    frames = len(sound) // SAMPLES_PER_FRAME
    level = np.zeros((frames, 2))
    clipped: tuple[list[int], list[int]] = ([], [])
    for start in range(0, frames, PIECE):
        count = min(PIECE, frames - start)
        first = start * SAMPLES_PER_FRAME
        samples = sound.read(first, first + count * SAMPLES_PER_FRAME)
        finite = np.isfinite(samples).all(1)
        if not finite.all():
            return Listened(level, clipped, start + int(np.argmin(finite)) // SAMPLES_PER_FRAME)
        by_frame = samples.reshape(count, SAMPLES_PER_FRAME, 2)
        level[start : start + count] = np.sqrt(np.square(by_frame, dtype=np.float64).mean(1))
        for channel, into in enumerate(clipped):
            into += [start + frame for frame in clipped_frames(by_frame[..., channel])]
    return Listened(level, clipped, None)


def clipped_frames(samples: NDArray[np.float32]) -> list[int]:
    """Frames of [T, 1600] in which a few samples in a row are at full scale."""
    full = np.abs(samples) >= FULL_SCALE
    run = full.copy()
    for later in range(1, CLIPPED_RUN):
        run[:, :-later] &= full[:, later:]
        run[:, -later:] = False
    return np.flatnonzero(run.any(1)).tolist()


def movement(face: Array, seen: NDArray[np.bool_]) -> Array:
    """How much the face moves around each frame, [T]; between frames that were seen."""
    moves = np.zeros(len(face))
    for start in range(0, len(face) - 1, PIECE):
        piece = np.asarray(face[start : start + PIECE + 1], np.float64)
        moves[start + 1 : start + len(piece)] = np.linalg.norm(np.diff(piece, axis=0), axis=1)
    known = seen.copy()
    known[1:] &= seen[:-1]
    known[0] = False
    return smoothed(np.where(known & np.isfinite(moves), moves, 0.0))


def smoothed(values: Array) -> Array:
    """The mean over half a second around each frame."""
    return np.convolve(values, np.full(SMOOTHED, 1 / SMOOTHED), mode="same")


def correlation(one: Array, other: Array) -> float:
    """Pearson's r; 0 where one of the two does not change."""
    if one.std() < 1e-9 or other.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _decibels(level: float) -> str:
    return f"{20 * np.log10(level):.0f} dB" if level > 0 else "no sample is above 0"
