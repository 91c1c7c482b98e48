"""Scenes for tests: dataset files, and short scenes whose motion follows the features."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.formats.wav import SAMPLE_RATE, open_wav
from training.data.audio import SAMPLES_PER_FRAME, write_wav
from training.data.scenes import Scene


def read_wav(path: Path) -> NDArray[np.float32]:
    """Read a whole 48 kHz file as [N, channels] in [-1, 1]. Raises WavError."""
    recording = open_wav(path)
    if recording.rate != SAMPLE_RATE:
        raise ValueError(f"{path} has {recording.rate} Hz; a dataset has {SAMPLE_RATE}")
    return recording.read()


def write_scene(folder: Path, name: str, frames: int, *, missing: list[int] | None = None) -> None:
    """Noise; face code 0 is the frame number, pose channel 7 is constant."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(frames)
    write_wav(
        folder / f"{name}_audio.wav",
        rng.uniform(-0.5, 0.5, (frames * SAMPLES_PER_FRAME, 2)).astype(np.float32),
    )
    face = rng.normal(3, 2, (frames, 256)).astype(np.float32)
    face[:, 0] = np.arange(frames)
    pose = rng.normal(-1, 0.5, (frames, 104)).astype(np.float32)
    pose[:, 7] = 0
    np.save(folder / f"{name}_face_expression.npy", face)
    np.save(folder / f"{name}_body_pose.npy", pose)
    np.save(folder / f"{name}_missing_face_frames.npy", np.array(missing or [], np.int64))


def write_two_scenes(folder: Path) -> Path:
    """Write scene `a` of 90 frames, and `b` of 40 with two missing faces; return the folder."""
    write_scene(folder, "a", 90)
    write_scene(folder, "b", 40, missing=[3, 4])
    return folder


def write_turns(folder: Path, name: str, frames: int) -> None:
    """A scene whose speakers take turns of a second, then a second of silence.

    Face codes are zero except while the person speaks.
    """
    write_scene(folder, name, frames)
    audio_path, face_path = (
        folder / f"{name}_{end}" for end in ("audio.wav", "face_expression.npy")
    )
    audio, face = read_wav(audio_path), np.load(face_path)
    turn = np.arange(frames) // 30 % 3
    for channel in (0, 1):
        audio[np.repeat(turn, SAMPLES_PER_FRAME) != channel, channel] = 0
    face[turn != 0] = 0
    write_wav(audio_path, audio)
    np.save(face_path, face)


def following(frames: int, *, channels: int = 6, audio: int = 8, seed: int = 1) -> Scene:
    """A scene in memory: smooth features, and motion that is a linear function of them."""
    rng = np.random.default_rng(seed)
    turns = rng.uniform(0.05, 0.4, audio)[None] * np.arange(frames)[:, None]
    features = np.sqrt(2) * np.sin(turns + rng.uniform(0, 6, audio))
    mixture = np.random.default_rng(0).normal(0, audio**-0.5, (audio, channels))
    return Scene(
        f"scene-{seed}",
        torch.from_numpy(features).float(),
        torch.from_numpy(features @ mixture).float(),
        torch.ones(frames),
    )
