"""Audio to motion, for clips of any length: the networks of a person, from its directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.motion.denoiser import BodyDenoiser, Denoiser, load_body, load_face, load_student
from models.motion.guide import load_guide
from models.motion.lips import load_lip_units, load_lips
from models.motion.sampling import ClipFeatures as ClipFeatures
from models.motion.sampling import Motion as Motion
from models.motion.sampling import MotionError as MotionError
from models.motion.sampling import MotionSampler, joined, no_progress
from models.motion.sampling import Networks as Networks
from models.motion.sampling import Sampling as Sampling
from models.motion.sampling import Students as Students
from models.motion.sampling import denoising as denoising
from models.motion.sampling import take_generators as take_generators
from models.motion.sampling import take_seed as take_seed
from models.motion.speech import FRAME_RATE, load_speech
from models.motion.speech import SAMPLES_PER_FRAME as SAMPLES_PER_FRAME
from models.motion.statistics import load_statistics
from models.motion.tokenizer import load_tokenizer
from models.motion.windows import WINDOWS, count_parts, stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import torch
    from torch import Tensor

    from models.motion.sampling import Progress
    from models.motion.windows import WindowConfig

LIPS = "lips.safetensors"  # optional: lip features are an input of the face denoiser
LIP_UNITS = "lip-units.safetensors"  # optional: lips that finishing gives to the face
STUDENTS = {"face": "student-face.safetensors", "body": "student-body.safetensors"}  # optional
LONGEST_SECONDS = 24 * 3600.0  # of a clip in windows; an operator sets a lower limit


class Animator(MotionSampler):
    """The motion networks of a person, for any number of clips."""

    @property
    def max_seconds(self) -> float:
        """Longest clip: any, in windows, unless the networks are too small for a window."""
        return LONGEST_SECONDS if self._fits_windows else self.max_frames / FRAME_RATE

    def stream(
        self,
        chunks: Iterable[Tensor],
        sampling: Sampling,
        *,
        windows: WindowConfig = WINDOWS,
        progress: Progress = no_progress,
    ) -> Iterator[list[Motion]]:
        """Yield the motion of audio that arrives in chunks [n, 2] in [-1, 1], in parts.

        A part is one motion for each seed; the first ones of a long clip may have no frames. The
        parts of a clip that the networks take whole are one. Memory does not depend on the length
        of the clip. Progress is that of each part.
        Raises: as `animate`.
        """
        return stream(self, chunks, sampling, windows=windows, progress=progress)

    def animate(
        self,
        audio: Tensor,  # [n, 2] in [-1, 1]
        sampling: Sampling,
        *,
        progress: Progress = no_progress,
    ) -> list[Motion]:
        """Return one motion for each seed, T = ceil(n / 1600) frames each.

        An exception from `progress` ends the work.
        Raises: MotionError: for an empty clip, or one that is too long for small networks.
        ValueError: for another shape.
        """
        frames = -(-len(audio) // SAMPLES_PER_FRAME)
        if frames <= self.max_frames or not self._fits_windows or audio.ndim != 2:
            return self.whole(audio, sampling, progress=progress)
        takes = zip(*self.stream([audio], sampling, progress=progress), strict=True)
        return [joined(parts) for parts in takes]

    def count_parts(self, frames: int, sampling: Sampling) -> int:
        """Return how many parts `stream` yields for a clip."""
        return count_parts(self, frames, sampling)

    @property
    def _fits_windows(self) -> bool:
        return WINDOWS.longest <= self.max_frames


def load_animator(
    person_folder: Path,
    *,
    device: torch.device,
    make: Callable[[Networks], Animator] | None = None,
) -> Animator:
    """Load the motion networks of a person. Raises: CheckpointError: for damaged files.

    make: makes another kind of animator.
    """

    def path(name: str) -> Path:
        return person_folder / f"{name}.safetensors"

    networks = Networks(
        speech=load_speech(path("speech"), device=device),
        lips=load_lips(person_folder / LIPS, device=device)
        if (person_folder / LIPS).is_file()
        else None,
        face=load_face(path("face"), device=device),
        body=load_body(path("body"), device=device),
        guide=load_guide(path("guide"), device=device),
        tokenizer=load_tokenizer(path("tokenizer"), device=device),
        statistics=load_statistics(person_folder / "stats.json", device=device),
        students=load_students(person_folder, device=device),
        lip_units=load_lip_units(person_folder / LIP_UNITS, device=device)
        if (person_folder / LIP_UNITS).is_file()
        else None,
    )
    return make(networks) if make is not None else Animator(networks, device=device)


def load_students(person_folder: Path, *, device: torch.device) -> Students | None:
    """Load a person's student networks; None without both. Raises: CheckpointError: if damaged."""
    face, body = (person_folder / STUDENTS[name] for name in ("face", "body"))
    if not (face.is_file() and body.is_file()):
        return None
    return Students(
        load_student(face, Denoiser, device=device), load_student(body, BodyDenoiser, device=device)
    )
