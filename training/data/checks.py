"""Dataset validation: every problem with its file and frame.

Letters: T frames, C channels. Memory holds one piece of a scene, and a few numbers per frame.
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
PIECE = 1800  # frames in memory
MOST_OF_A_KIND = 20  # findings per file; the rest are counted
JUMP_TIMES, JUMP_LEAST = 10.0, 0.25  # times the 99 % quantile of a channel's steps; rad or dm
FULL_SCALE, CLIPPED_RUN = 0.9995, 4  # amplitude, and consecutive samples of clipping
SILENCE = 10 ** (-70 / 20)  # highest root mean square of an empty channel
MANY_MISSING = 0.5  # fraction of a scene
SMOOTHED = FRAME_RATE // 2  # frames of smoothing for loudness and movement
FITS, FITS_BETTER = 0.2, 0.15  # correlation with the right channel, and its excess over the left


@dataclass(frozen=True)
class Finding:
    """One problem. `frame` is the first frame concerned, None for the whole file."""

    level: str
    kind: str
    file: str
    frame: int | None
    message: str

    def __str__(self) -> str:
        place = self.file if self.frame is None else f"{self.file} frame {self.frame}"
        return f"{self.level}: {place}: {self.message}"


@dataclass(frozen=True)
class CheckReport:
    """Result of a dataset check."""

    scenes: int
    frames: int
    findings: tuple[Finding, ...]

    def count(self, level: str) -> int:
        """Number of findings of a level."""
        return sum(finding.level == level for finding in self.findings)


def check(folder: Path) -> CheckReport:
    """Check all scenes of a folder.

    Raises: DatasetError: when the folder has no scenes.
    """
    scenes = [_SceneCheck(files) for files in listed_scenes(folder)]
    findings = tuple(finding for scene in scenes for finding in scene.findings())
    return CheckReport(len(scenes), sum(scene.frames for scene in scenes), findings)


class _SceneCheck:
    """Check of one scene; each file that opens is checked, even if others are invalid."""

    def __init__(self, files: SceneFiles) -> None:
        self.files, self.frames = files, 0
        self._pose: Array | None = None
        self._face: Array | None = None
        self._audio: WavFile | None = None
        self._missing: Frames | None = None

    def findings(self) -> Iterator[Finding]:
        yield from self._open_files()
        yield from self._check_lengths()
        if self._missing is not None:
            yield from self._check_missing(self._missing)
        if self._pose is not None:
            yield from _find_not_finite(self.files.pose, self._pose, np.zeros(0, np.int64))
            yield from _find_jumps(self.files.pose, self._pose)
        if self._face is not None:
            missing = self._missing if self._missing is not None else np.zeros(0, np.int64)
            yield from _find_not_finite(self.files.face, self._face, missing)
        if self._audio is not None:
            yield from self._check_audio(self._audio)

    def _open_files(self) -> Iterator[Finding]:
        files = self.files
        for path in files.absent:
            yield Finding(ERROR, "file missing", path.name, None, "file not found")
        for path, open_file in (
            (files.pose, self._open_pose),
            (files.face, self._open_face),
            (files.audio, self._open_audio),
            (files.missing, self._open_missing),
        ):
            try:
                if path.is_file():
                    open_file()
            except DatasetError as error:
                yield Finding(ERROR, "unreadable", path.name, None, str(error))

    def _open_pose(self) -> None:
        self._pose = open_motion(self.files.pose, POSE_CHANNELS)

    def _open_face(self) -> None:
        self._face = open_motion(self.files.face, FACE_CHANNELS)

    def _open_audio(self) -> None:
        self._audio = open_audio(self.files.audio)

    def _open_missing(self) -> None:
        self._missing = read_missing(self.files.missing)

    def _check_lengths(self) -> Iterator[Finding]:
        motion = self._pose if self._pose is not None else self._face
        if motion is None:
            return
        self.frames = len(motion)
        if self._face is not None and len(self._face) != self.frames:
            shorter = min(self.frames, len(self._face))
            message = f"{len(self._face)} frames of face codes for {self.frames} of pose"
            yield Finding(ERROR, "length", self.files.face.name, shorter, message)
        if self._audio is not None:
            try:
                check_audio(self._audio, self.frames)
            except DatasetError as error:
                shorter = min(self.frames, len(self._audio) // SAMPLES_PER_FRAME)
                yield Finding(ERROR, "length", self.files.audio.name, shorter, str(error))

    def _check_missing(self, missing: Frames) -> Iterator[Finding]:
        name, frames = self.files.missing.name, self.frames
        if frames == 0 or not len(missing):
            return
        try:
            check_missing(self.files.missing, missing, frames)
        except DatasetError as error:
            outside = int(missing[(missing < 0) | (missing >= frames)][0])
            yield Finding(ERROR, "missing frames", name, outside, str(error))
        inside = np.unique(missing[(missing >= 0) & (missing < frames)])
        if len(inside) < len(missing[(missing >= 0) & (missing < frames)]):
            twice = int(np.sort(missing)[:-1][np.diff(np.sort(missing)) == 0][0])
            yield Finding(
                WARNING, "missing frames", name, twice, "the frame is listed twice or more"
            )
        if not len(inside):
            return
        share = len(inside) / frames
        if share == 1:
            message = "no frame has a face; training skips this scene"
            yield Finding(WARNING, "missing frames", name, 0, message)
            return
        message = f"{len(inside)} of {frames} frames ({share:.1%}) have no face: {ranges(inside)}"
        level = WARNING if share > MANY_MISSING else NOTE
        yield Finding(level, "missing frames", name, int(inside[0]), message)

    def _check_audio(self, audio: WavFile) -> Iterator[Finding]:
        name = self.files.audio.name
        levels = measure_levels(audio)
        if levels.not_a_number is not None:
            frame = levels.not_a_number
            yield Finding(ERROR, "not a number", name, frame, "a sample is NaN or infinite")
            return
        for channel, speaker in enumerate(("the person", "the partner")):
            level = (
                float(np.sqrt(np.mean(np.square(levels.level[:, channel])))) if len(audio) else 0
            )
            if level < SILENCE:
                message = f"channel {channel} ({speaker}) is silent: {_decibels(level)}"
                yield Finding(WARNING, "silent", name, 0, message)
            if levels.clipped[channel]:
                frames = levels.clipped[channel]
                message = f"channel {channel} ({speaker}) is clipped in {len(frames)} frames"
                yield Finding(WARNING, "clipped", name, frames[0], message)
        yield from self._check_channel_order(levels.level)

    def _check_channel_order(self, level: Array) -> Iterator[Finding]:
        """Warn if the face moves with the audio of the right channel and not of the left one."""
        if self._face is None or len(level) != len(self._face) or len(level) < 10 * FRAME_RATE:
            return
        visible = np.ones(len(self._face), np.bool_)
        if self._missing is not None:
            inside = (self._missing >= 0) & (self._missing < len(visible))
            visible[self._missing[inside]] = False
        moves = movement(self._face, visible)
        fits = [correlation(moves, smoothed(np.sqrt(level[:, channel]))) for channel in (0, 1)]
        if fits[1] > FITS and fits[1] - fits[0] > FITS_BETTER:
            message = (
                f"the face moves with channel 1 (correlation {fits[1]:.2f}) and not with channel 0 "
                f"({fits[0]:.2f}); channel 0 must be the person of the scene: are they swapped?"
            )
            yield Finding(WARNING, "channel order", self.files.audio.name, None, message)


def ranges(frames: Frames, most: int = 8) -> str:
    """Format sorted frames as 3-5, 9, 12-40, with the number of further ranges."""
    breaks = np.flatnonzero(np.diff(frames) > 1) + 1
    parts = np.split(frames, breaks)
    shown = [f"{part[0]}-{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts[:most]]
    return ", ".join(shown) + (f" and {len(parts) - most} more" if len(parts) > most else "")


def _find_not_finite(path: Path, motion: Array, missing: Frames) -> Iterator[Finding]:
    """Find NaN and infinity; frames without a face are ignored."""
    wrong: list[int] = []
    for start in range(0, len(motion), PIECE):
        bad = ~np.isfinite(motion[start : start + PIECE]).all(1)
        wrong += (np.flatnonzero(bad) + start).tolist()
    left = np.setdiff1d(np.array(wrong, np.int64), missing)
    if len(left):
        message = f"NaN or infinity in {len(left)} frames: {ranges(left)}"
        yield Finding(ERROR, "not a number", path.name, int(left[0]), message)


def _find_jumps(path: Path, pose: Array) -> Iterator[Finding]:
    """Find steps between frames far above a channel's quick movements."""
    frames = _jump_frames(pose)
    for frame, channel, step in frames[:MOST_OF_A_KIND]:
        message = f"pose channel {channel} jumps by {step:.2f} from the frame before"
        yield Finding(WARNING, "jump", path.name, frame, message)
    if len(frames) > MOST_OF_A_KIND:
        message = f"{len(frames) - MOST_OF_A_KIND} more jumps"
        yield Finding(WARNING, "jump", path.name, frames[MOST_OF_A_KIND][0], message)


def _jump_frames(pose: Array) -> list[tuple[int, int, float]]:
    """Find (frame, channel, step) of each jump."""
    if len(pose) < 3:
        return []
    stride = max(1, len(pose) // 20_000)
    firsts = np.arange(0, len(pose) - 1, stride)
    quick = np.nanquantile(_steps(pose[firsts], pose[firsts + 1]), 0.99, axis=0)
    limit = np.maximum(JUMP_TIMES * quick, JUMP_LEAST)
    jumps = []
    for start in range(0, len(pose) - 1, PIECE):
        piece = np.asarray(pose[start : start + PIECE + 1], np.float32)
        steps = _steps(piece[:-1], piece[1:])
        for row in np.flatnonzero((steps > limit).any(1)):
            channel = int(np.argmax(steps[row] / limit))
            jumps.append((start + int(row) + 1, channel, float(steps[row, channel])))
    return jumps


def _steps(before: Array, after: Array) -> Array:
    """Change of each channel, [n, C]; a full rotation of the wrapped channel counts as 0."""
    with np.errstate(invalid="ignore"):
        steps = np.abs(after - before)
        turned = np.mod(steps[:, WRAPPED_CHANNEL], 2 * np.pi)
        steps[:, WRAPPED_CHANNEL] = np.minimum(turned, 2 * np.pi - turned)
    return np.nan_to_num(steps, nan=0.0, posinf=0.0, neginf=0.0)  # reported by _find_not_finite


@dataclass(frozen=True)
class AudioLevels:
    """Levels of audio, frame by frame."""

    level: Array  # root mean square of each channel, [T, 2]
    clipped: tuple[list[int], list[int]]  # frames, by channel
    not_a_number: int | None  # first frame with NaN or infinity


def measure_levels(audio: WavFile) -> AudioLevels:
    """Measure the levels of audio, read once in pieces."""
    frames = len(audio) // SAMPLES_PER_FRAME
    level = np.zeros((frames, 2))
    clipped: tuple[list[int], list[int]] = ([], [])
    for start in range(0, frames, PIECE):
        count = min(PIECE, frames - start)
        first = start * SAMPLES_PER_FRAME
        samples = audio.read(first, first + count * SAMPLES_PER_FRAME)
        finite = np.isfinite(samples).all(1)
        if not finite.all():
            return AudioLevels(level, clipped, start + int(np.argmin(finite)) // SAMPLES_PER_FRAME)
        by_frame = samples.reshape(count, SAMPLES_PER_FRAME, 2)
        level[start : start + count] = np.sqrt(np.square(by_frame, dtype=np.float64).mean(1))
        for channel, clipped_in_channel in enumerate(clipped):
            clipped_in_channel += [
                start + frame for frame in clipped_frames(by_frame[..., channel])
            ]
    return AudioLevels(level, clipped, None)


def clipped_frames(samples: NDArray[np.float32]) -> list[int]:
    """Frames of [T, 1600] with consecutive samples at full scale."""
    full = np.abs(samples) >= FULL_SCALE
    run = full.copy()
    for later in range(1, CLIPPED_RUN):
        run[:, :-later] &= full[:, later:]
        run[:, -later:] = False
    return np.flatnonzero(run.any(1)).tolist()


def movement(face: Array, visible: NDArray[np.bool_]) -> Array:
    """Movement of the face around each frame, [T], between frames with a visible face."""
    moves = np.zeros(len(face))
    for start in range(0, len(face) - 1, PIECE):
        piece = np.asarray(face[start : start + PIECE + 1], np.float64)
        moves[start + 1 : start + len(piece)] = np.linalg.norm(np.diff(piece, axis=0), axis=1)
    known = visible.copy()
    known[1:] &= visible[:-1]
    known[0] = False
    return smoothed(np.where(known & np.isfinite(moves), moves, 0.0))


def smoothed(values: Array) -> Array:
    """Moving average over half a second around each frame."""
    return np.convolve(values, np.full(SMOOTHED, 1 / SMOOTHED), mode="same")


def correlation(one: Array, other: Array) -> float:
    """Pearson's r; 0 if one of the two is constant."""
    if one.std() < 1e-9 or other.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _decibels(level: float) -> str:
    return f"{20 * np.log10(level):.0f} dB" if level > 0 else "no sample is above 0"
