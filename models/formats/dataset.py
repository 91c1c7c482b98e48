"""The released layout of a dataset: scenes of sound and motion in a folder, mapped into memory.

Letters: T frames (30 a second), C channels of motion.

    <scene>_audio.wav                 48 kHz, 2 channels (the person, the partner), 1600 T samples
    <scene>_body_pose.npy             [T, 104] joint angles in rad, and a few lengths
    <scene>_face_expression.npy       [T, 256] face codes
    <scene>_missing_face_frames.npy   frames whose face codes mean nothing
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

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
WRAPPED_CHANNEL = 3  # the pose channel that counts turns
UNWRAPPED_PEOPLE = ("PXB184", "RLW104")  # whose recordings have it, told by the name of the folder


class DatasetError(ValueError):
    """A scene that is not whole, or a folder without any: one sentence, with what to do."""


@dataclass(frozen=True)
class SceneFiles:
    """Where the four files of a scene are."""

    folder: Path
    name: str

    @property
    def audio(self) -> Path:
        """Sound: channel 0 the person, channel 1 the partner."""
        return self.folder / f"{self.name}{AUDIO}"

    @property
    def pose(self) -> Path:
        """Body pose."""
        return self.folder / f"{self.name}{POSE}"

    @property
    def face(self) -> Path:
        """Face codes."""
        return self.folder / f"{self.name}{FACE}"

    @property
    def missing(self) -> Path:
        """Frames without a face."""
        return self.folder / f"{self.name}{MISSING}"

    @property
    def absent(self) -> list[Path]:
        """Those of the four that are not there."""
        paths = (self.audio, self.pose, self.face, self.missing)
        return [path for path in paths if not path.is_file()]

    def open(self) -> SceneData:
        """The scene, mapped into memory. DatasetError where its files do not fit each other."""
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
                f"scene {self.name} has {frames} frames of pose and {len(scene.face)} of face "
                f"codes; both must have the same: {self.face}"
            )
        check_audio(scene.audio, frames)
        check_missing(self.missing, scene.missing, frames)
        return scene


@dataclass(frozen=True)
class SceneData:
    """One scene. Motion and sound stay on disk until they are cut."""

    files: SceneFiles
    audio: WavFile
    pose: Array  # [T, 104], mapped
    face: Array  # [T, 256], mapped
    missing: Frames

    @property
    def name(self) -> str:
        """What its files begin with."""
        return self.files.name

    @property
    def frames(self) -> int:
        """T."""
        return len(self.pose)

    def present(self) -> NDArray[np.bool_]:
        """False where the face codes mean nothing, [T]."""
        present = np.ones(self.frames, np.bool_)
        present[self.missing] = False
        return present

    def poses(self, start: int, stop: int) -> Array:
        """Frames [start, stop) of the pose, counted turns wrapped; float32 [n, 104]."""
        cut = np.array(self.pose[start:stop], np.float32)
        if self.files.folder.resolve().name in UNWRAPPED_PEOPLE:
            cut[:, WRAPPED_CHANNEL] = wrapped(cut[:, WRAPPED_CHANNEL])
        return cut

    def codes(self, start: int, stop: int) -> Array:
        """Frames [start, stop) of the face codes, float32 [n, 256]; missing ones mean nothing."""
        return np.array(self.face[start:stop], np.float32)

    def samples(self, start: int, stop: int) -> NDArray[np.float32]:
        """The sound of frames [start, stop), [1600 (stop - start), 2]."""
        return self.audio.read(start * SAMPLES_PER_FRAME, stop * SAMPLES_PER_FRAME)


def listed_scenes(folder: Path) -> list[SceneFiles]:
    """All scenes of which there is at least one file, by name. DatasetError for none."""
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder; name the one that has the scenes")
    names = {
        path.name.removesuffix(ending)
        for path in folder.iterdir()
        for ending in ENDINGS
        if path.name.endswith(ending) and not path.name.startswith(".")
    }
    if not names:
        raise DatasetError(
            f"no scenes (*{AUDIO}) in {folder}; `python -m training data make-demo` makes some"
        )
    return [SceneFiles(folder, name) for name in sorted(names)]


def find_scenes(folder: Path) -> list[SceneFiles]:
    """The scenes of a folder, by name. DatasetError for none, and for one that lacks a file."""
    scenes = listed_scenes(folder)
    absent = [path.name for scene in scenes for path in scene.absent]
    if absent:
        more = f" and {len(absent) - 4} more" if len(absent) > 4 else ""
        raise DatasetError(
            f"{folder} lacks {', '.join(absent[:4])}{more}; a scene is four files: get them, or "
            "take away what is left of that scene"
        )
    return scenes


def open_motion(path: Path, channels: int) -> Array:
    """Pose or face codes [T, channels], mapped. DatasetError for anything else."""
    motion = _array(path, mapped=True)
    if motion.ndim != 2 or motion.shape[1] != channels or motion.dtype.kind != "f":
        raise DatasetError(
            f"{path} must be [frames, {channels}] of floats, found {list(motion.shape)} of "
            f"{motion.dtype}"
        )
    return motion


def open_audio(path: Path) -> WavFile:
    """The sound of a scene, mapped. DatasetError for other rates or another count of channels."""
    try:
        sound = open_wav(path)
    except WavError as error:
        raise DatasetError(str(error)) from error
    if sound.rate != SAMPLE_RATE or sound.channels != AUDIO_CHANNELS:
        raise DatasetError(
            f"{path} has {sound.rate} Hz and {sound.channels} channel(s); a dataset has "
            f"{SAMPLE_RATE} Hz and {AUDIO_CHANNELS}"
        )
    return sound


def read_missing(path: Path) -> Frames:
    """Frames whose face codes mean nothing, in any order. DatasetError for other than whole ones.

    Nothing is missing where the array is empty, of whatever type.
    """
    found = _array(path, mapped=False).reshape(-1)
    if not len(found):
        return np.zeros(0, np.int64)
    if found.dtype.kind not in "iuf" or bool((found != np.floor(found)).any()):
        raise DatasetError(f"{path} must be whole numbers of frames, found {found.dtype}")
    return found.astype(np.int64)


def check_audio(sound: WavFile, frames: int) -> None:
    """DatasetError where the sound is not as long as its motion."""
    if len(sound) != frames * SAMPLES_PER_FRAME:
        raise DatasetError(
            f"{sound.path} has {len(sound)} samples for {frames} frames of motion; "
            f"{SAMPLES_PER_FRAME} samples belong to a frame, {frames * SAMPLES_PER_FRAME} to these"
        )


def check_missing(path: Path, missing: Frames, frames: int) -> None:
    """DatasetError where a frame is named that the scene has not."""
    outside = missing[(missing < 0) | (missing >= frames)]
    if len(outside):
        raise DatasetError(
            f"{path} names frame {outside[0]}; the scene has {frames}, counted from 0"
        )


def wrapped(angle: Array) -> Array:
    """Angles brought to [0, 2 pi): pose column 3 of PXB184 and RLW104, whose turns are counted.

    The reference shifts by pi and wraps, twice, which comes to this.
    """
    return np.mod(angle, 2 * np.pi)


def _array(path: Path, *, mapped: bool) -> NDArray[Any]:
    """What numpy.save wrote; pickles are refused."""
    try:
        return np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        if "Object arrays" in str(error) or "Python objects" in str(error):
            raise DatasetError(
                f"{path} holds Python objects, which are not opened; save it again as numbers"
            ) from error
        raise DatasetError(
            f"{path} is cut off or no array of numpy ({error}); get it again"
        ) from error
