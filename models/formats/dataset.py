"""Released layout of a dataset: a folder of scenes with audio and motion, memory-mapped.

Letters: T frames (30 per second), C channels of motion.

    <scene>_audio.wav                 48 kHz, 2 channels (left the person, right the partner),
                                      1600 T samples
    <scene>_body_pose.npy             [T, 104] joint angles in rad and a few lengths
    <scene>_face_expression.npy       [T, 256] face codes
    <scene>_missing_face_frames.npy   frames with invalid face codes
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from contracts.errors import InputError
from contracts.wav import CONVERT
from models.formats.wav import SAMPLE_RATE, SAMPLES_PER_FRAME, WavError, WavFile, open_wav

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]
    Frames = NDArray[np.int64]

AUDIO, POSE, FACE, MISSING = (
    "_audio.wav", "_body_pose.npy", "_face_expression.npy", "_missing_face_frames.npy"
)  # fmt: skip
ENDINGS = (AUDIO, POSE, FACE, MISSING)
POSE_CHANNELS, FACE_CHANNELS = 104, 256
AUDIO_CHANNELS = 2
WRAPPED_CHANNEL = 3  # pose channel that is wrapped to [0, 2 pi)
UNWRAPPED_PEOPLE = ("PXB184", "RLW104")  # folder names of the people recorded without wrapping


class DatasetError(InputError):
    """Incomplete or invalid scene, or a folder without scenes."""


@dataclass(frozen=True)
class SceneFiles:
    """Paths of the four files of a scene."""

    folder: Path
    name: str

    @property
    def audio(self) -> Path:
        """Path of the audio: left (first) channel the person, right the partner."""
        return self.folder / f"{self.name}{AUDIO}"

    @property
    def pose(self) -> Path:
        """Path of the body pose."""
        return self.folder / f"{self.name}{POSE}"

    @property
    def face(self) -> Path:
        """Path of the face codes."""
        return self.folder / f"{self.name}{FACE}"

    @property
    def missing(self) -> Path:
        """Path of the list of frames with invalid face codes."""
        return self.folder / f"{self.name}{MISSING}"

    @property
    def absent(self) -> list[Path]:
        """Paths of the files that do not exist."""
        paths = (self.audio, self.pose, self.face, self.missing)
        return [path for path in paths if not path.is_file()]

    def open(self) -> SceneData:
        """Open the scene, memory-mapped.

        Raises: DatasetError: when a file is invalid or the lengths of the files differ.
        """
        scene = SceneData(
            self,
            open_audio(self.audio),
            open_motion(self.pose, POSE_CHANNELS),
            open_motion(self.face, FACE_CHANNELS),
            read_missing(self.missing),
        )
        frames = len(scene.pose)
        if len(scene.face) != frames:
            raise DatasetError(
                f"{self.face}: {len(scene.face)} frames of face codes for {frames} frames of pose; "
                f"scene {self.name} must have as many of both"
            )
        check_audio(scene.audio, frames)
        check_missing(self.missing, scene.missing, frames)
        return scene


@dataclass(frozen=True)
class SceneData:
    """One scene. Motion and audio are read from disk on access."""

    files: SceneFiles
    audio: WavFile
    pose: Array  # [T, 104], memory-mapped
    face: Array  # [T, 256], memory-mapped
    missing: Frames  # with invalid face codes

    @property
    def name(self) -> str:
        """Name of the scene, the prefix of its files."""
        return self.files.name

    @property
    def frames(self) -> int:
        """Number of frames, T."""
        return len(self.pose)

    def present(self) -> NDArray[np.bool_]:
        """Mask of frames with valid face codes, [T]."""
        present = np.ones(self.frames, np.bool_)
        present[self.missing] = False
        return present

    def poses(self, start: int, stop: int) -> Array:
        """Read frames [start, stop) of the pose, WRAPPED_CHANNEL wrapped; float32 [n, 104]."""
        poses = np.array(self.pose[start:stop], np.float32)
        if self.files.folder.resolve().name in UNWRAPPED_PEOPLE:
            poses[:, WRAPPED_CHANNEL] = wrap_angle(poses[:, WRAPPED_CHANNEL])
        return poses

    def codes(self, start: int, stop: int) -> Array:
        """Read frames [start, stop) of the face codes, float32 [n, 256], also invalid ones."""
        return np.array(self.face[start:stop], np.float32)

    def samples(self, start: int, stop: int) -> NDArray[np.float32]:
        """Read the audio of frames [start, stop), [1600 (stop - start), 2]."""
        return self.audio.read(start * SAMPLES_PER_FRAME, stop * SAMPLES_PER_FRAME)


def listed_scenes(folder: Path) -> list[SceneFiles]:
    """List the scenes with at least one file, by name.

    Raises: DatasetError: when the folder does not exist or contains no scenes.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: folder not found; name the folder of the scenes")
    names = {
        path.name.removesuffix(ending)
        for path in folder.iterdir()
        for ending in ENDINGS
        if path.name.endswith(ending) and not path.name.startswith(".")
    }
    if not names:
        raise DatasetError(
            f"{folder}: no scenes (*{AUDIO}); `python -m training data make-demo` makes some"
        )
    return [SceneFiles(folder, name) for name in sorted(names)]


def find_scenes(folder: Path) -> list[SceneFiles]:
    """List the scenes of a folder, by name.

    Raises: DatasetError: when there are no scenes or a scene is incomplete.
    """
    scenes = listed_scenes(folder)
    absent = [path.name for scene in scenes for path in scene.absent]
    if absent:
        more = f" and {len(absent) - 4} more" if len(absent) > 4 else ""
        raise DatasetError(
            f"{folder}: missing {', '.join(absent[:4])}{more}; a scene has four files: add them, "
            "or remove the others of that scene"
        )
    return scenes


def open_motion(path: Path, channels: int) -> Array:
    """Open pose or face codes [T, channels], memory-mapped.

    Raises: DatasetError: when the file is missing, damaged or of another shape.
    """
    motion = _array(path, mapped=True)
    if motion.ndim != 2 or motion.shape[1] != channels or motion.dtype.kind != "f":
        raise DatasetError(
            f"{path}: must be [frames, {channels}] of floats, found {list(motion.shape)} of "
            f"{motion.dtype}"
        )
    return motion


def open_audio(path: Path) -> WavFile:
    """Open the audio of a scene, memory-mapped.

    Raises: DatasetError: when the file is invalid, or its rate or number of channels differs.
    """
    try:
        audio = open_wav(path)
    except WavError as error:
        raise DatasetError(str(error)) from error
    if audio.rate != SAMPLE_RATE or audio.channels != AUDIO_CHANNELS:
        raise DatasetError(
            f"{path}: must have {SAMPLE_RATE} Hz and {AUDIO_CHANNELS} channels, found "
            f"{audio.rate} Hz and {audio.channels} channel(s); {CONVERT}"
        )
    return audio


def read_missing(path: Path) -> Frames:
    """Read the frames with invalid face codes, in any order.

    An empty array of any type means that there are none.

    Raises: DatasetError: when the file is damaged or holds other values than integers.
    """
    frames = _array(path, mapped=False).reshape(-1)
    if not len(frames):
        return np.zeros(0, np.int64)
    if frames.dtype.kind not in "iuf" or bool((frames != np.floor(frames)).any()):
        raise DatasetError(f"{path}: must be integers, found {frames.dtype}")
    return frames.astype(np.int64)


def check_audio(audio: WavFile, frames: int) -> None:
    """Check that audio and motion have the same length.

    Raises: DatasetError: when the lengths differ.
    """
    if len(audio) != frames * SAMPLES_PER_FRAME:
        raise DatasetError(
            f"{audio.path}: {len(audio)} samples for {frames} frames of motion; "
            f"{frames * SAMPLES_PER_FRAME} are needed, {SAMPLES_PER_FRAME} per frame"
        )


def check_missing(path: Path, missing: Frames, frames: int) -> None:
    """Check that the frames with invalid face codes exist.

    Raises: DatasetError: when a number is outside the scene.
    """
    outside = missing[(missing < 0) | (missing >= frames)]
    if len(outside):
        raise DatasetError(
            f"{path}: frame {outside[0]} does not exist; the scene has {frames}, counted from 0"
        )


def wrap_angle(angle: Array) -> Array:
    """Wrap angles to [0, 2 pi), as needed for pose column 3 of PXB184 and RLW104.

    The reference shifts by pi and wraps, twice, which has the same result.
    """
    return np.mod(angle, 2 * np.pi)


def _array(path: Path, *, mapped: bool) -> NDArray[Any]:
    """Load a numpy array; pickles are refused."""
    try:
        return np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, EOFError) as error:
        if "Object arrays" in str(error) or "Python objects" in str(error):
            raise DatasetError(
                f"{path}: contains Python objects, which are not loaded; save it as numbers"
            ) from error
        raise DatasetError(
            f"{path}: truncated or not a numpy array ({error}); get it again"
        ) from error
