"""Motion that is there already, rendered piece by piece: a dataset's own, or what was sampled.

A piece is read when it is its turn, painted while it is encoded, and takes its place when it is
whole; one whose file is there is not made again. Letters: T frames of a scene, N of a piece.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from jobs.request import SUFFIXES
from models.formats.dataset import SceneFiles, listed_scenes
from models.formats.wav import SAMPLES_PER_FRAME
from models.motion.pipeline import Motion
from worker.pipeline.atomic_file import replacing
from worker.pipeline.decode import CHANNELS, Sound
from worker.pipeline.render import film

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.formats.dataset import SceneData
    from models.formats.results import Results
    from worker.pipeline.encode import Encoder
    from worker.pipeline.persons import Renders
    from worker.pipeline.plan import Plan

    Floats = NDArray[np.floating[Any]]

RECORD = "rendering.json"  # beside the videos: what they were made of, and how
SOUND_FRAMES = 900  # that are read at a time


class PieceError(ValueError):
    """Motion that cannot be rendered, or a folder with other videos: one sentence."""


@dataclass(frozen=True)
class Piece:
    """A stretch of motion with its sound. Nothing of it is in memory before it is asked for."""

    name: str  # of its file, without an ending
    frames: int  # N
    motion: Callable[[], Motion]
    samples: Callable[[int, int], NDArray[np.float32]]  # of frames [start, stop): [1600 n, 2]


@dataclass(frozen=True)
class RenderContext:
    """What every piece is rendered with."""

    plan: Plan
    avatar: Renders
    encoder: Encoder
    scratch: Path  # an empty folder


def scene_pieces(
    folder: Path, *, scenes: Sequence[str], longest: int, most: int | None
) -> list[Piece]:
    """A dataset's own motion in pieces of `longest` frames, the first `most` of each scene.

    scenes: by name, none for all. One without a face anywhere is left out, as in training. Raises
    DatasetError or PieceError, before anything is rendered, for what is missing or does not fit.
    """
    pieces = []
    for files in _chosen(folder, scenes):
        scene = files.open()
        if scene.present().any():
            for start in range(0, scene.frames, longest)[:most]:
                pieces.append(_scene_piece(scene, start, min(start + longest, scene.frames)))
    if not pieces:
        raise PieceError(f"no face is seen in the scenes of {folder}; there is nothing to render")
    return pieces


def result_pieces(results: Results, faces: Results | None, *, truth: bool) -> list[Piece]:
    """Every take as `sample00_rep00`, or with `truth` every recording as `sample00_truth`.

    faces: where face codes come from when `results` hold none, sampled for the same cuts. Raises
    PieceError for what does not belong together.
    """
    if faces is not None:
        _check_same_cuts(results, faces)
    if truth:
        return [_true_piece(results, sample) for sample in range(results.samples)]
    face, pose = results.face if faces is None else faces.face, results.pose
    if pose is None:
        raise PieceError("the results hold no poses; sample the body, too, or render the truth")
    if face is None:
        raise PieceError("the results hold no face codes; give those of the same cuts with --face")
    if len(face) != len(pose):
        raise PieceError(
            f"there are {len(face)} takes of each face and {len(pose)} of each body; sample as "
            "many of both"
        )
    takes = [(sample, take) for sample in range(results.samples) for take in range(len(pose))]
    return [
        _piece(results, sample, f"rep{take:02d}", face[take, sample], pose[take, sample])
        for sample, take in takes
    ]


def open_folder(
    out: Path, pieces: Sequence[Piece], plan: Plan, facts: Mapping[str, Any], *, overwrite: bool
) -> list[Piece]:
    """Make the folder, or go on in it: answers the pieces that are not there yet.

    facts: what must be the same for all of its videos. Raises PieceError where it has others.
    """
    record, there = out / RECORD, [each for each in pieces if place_of(out, each, plan).exists()]
    if overwrite:
        for piece in there:
            place_of(out, piece, plan).unlink()
        there = []
    elif record.is_file():
        _check_facts(record, facts)
    elif there:
        raise PieceError(
            f"{place_of(out, there[0], plan)} is there already; name another folder, or --overwrite"
        )
    out.mkdir(parents=True, exist_ok=True)
    with replacing(record) as draft:
        draft.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return [piece for piece in pieces if piece not in there]


def place_of(out: Path, piece: Piece, plan: Plan) -> Path:
    """Where the video of a piece lies."""
    return out / f"{piece.name}{SUFFIXES[plan.format]}"


def render_piece(
    piece: Piece, place: Path, studio: RenderContext, progress: Callable[[float], None]
) -> None:
    """Paint a piece and write it with its sound to `place`. progress: told 0..1."""
    raw = studio.scratch / "sound.f32"
    with raw.open("wb") as file:
        for start in range(0, piece.frames, SOUND_FRAMES):
            piece.samples(start, min(start + SOUND_FRAMES, piece.frames)).tofile(file)
    samples: NDArray[np.float32] = np.memmap(raw, np.float32, mode="r").reshape(-1, CHANNELS)
    sound = Sound(raw, samples, partner_speaks=True)  # in some piece or other
    with replacing(place) as draft:
        film(
            piece.motion(),
            studio.plan,
            studio.avatar,
            sound,
            draft,
            encoder=studio.encoder,
            progress=progress,
        )


def with_face(face: Floats, present: NDArray[np.bool_], start: int, stop: int) -> Floats:
    """Face codes of frames [start, stop) of [T, 256], with a face in every one.

    Where it was not seen it moves straight from how it was seen last to how it is seen next; before
    the first and behind the last time it stands still. What was never seen stays as recorded.
    """
    codes: Floats = np.array(face[start:stop], np.float32)
    seen = np.flatnonzero(present)
    gone = start + np.flatnonzero(~present[start:stop])
    if not len(seen) or not len(gone):
        return codes
    next_seen = np.searchsorted(seen, gone)
    after = seen[np.minimum(next_seen, len(seen) - 1)]
    before = np.where(next_seen == 0, after, seen[np.maximum(next_seen - 1, 0)])
    share = ((gone - before) / np.maximum(after - before, 1))[:, None]
    codes[gone - start] = face[before] * (1 - share) + face[after] * share
    return codes


def _chosen(folder: Path, names: Sequence[str]) -> list[SceneFiles]:
    found = {files.name: files for files in listed_scenes(folder)}
    for name in names:
        if name not in found:
            raise PieceError(f"{folder} has no scene {name!r}; there are {', '.join(found)}")
    chosen = [found[name] for name in names or found]
    for files in chosen:
        if files.absent:
            raise PieceError(f"{files.absent[0]} is missing; a scene is four files")
    return chosen


def _scene_piece(scene: SceneData, start: int, stop: int) -> Piece:
    name, read = f"{scene.name}_{start:06d}", partial(_scene_motion, scene, start, stop)
    _check_finite(read(), f"scene {scene.name}", start)
    return Piece(
        name, stop - start, read, lambda low, high: scene.samples(start + low, start + high)
    )


def _scene_motion(scene: SceneData, start: int, stop: int) -> Motion:
    face = with_face(scene.face, scene.present(), start, stop)
    pose = np.array(scene.pose[start:stop], np.float32)
    return Motion(torch.from_numpy(face), torch.from_numpy(pose))


def _true_piece(results: Results, sample: int) -> Piece:
    face, present = results.true_face[sample], results.face_present[sample]
    known = present & (np.arange(len(present)) < results.lengths[sample])
    face = with_face(face, known, 0, len(face)).astype(np.float32)
    return _piece(results, sample, "truth", face, results.true_pose[sample])


def _piece(
    results: Results,
    sample: int,
    take: str,
    face: Floats,  # [T, 256]
    pose: Floats,  # [T, 104]
) -> Piece:
    """One sample as long as it is: what lies behind is zero."""
    frames, name = int(results.lengths[sample]), f"sample{sample:02d}_{take}"
    motion = Motion(*(torch.from_numpy(np.array(x[:frames])) for x in (face, pose)))
    _check_finite(motion, name, 0)
    sound: NDArray[np.float32] = results.audio[sample]

    def samples(start: int, stop: int) -> NDArray[np.float32]:
        return sound[start * SAMPLES_PER_FRAME : stop * SAMPLES_PER_FRAME]

    return Piece(name, frames, lambda: motion, samples)


def _check_finite(motion: Motion, whose: str, first: int) -> None:
    for what, values in (("face codes", motion.face), ("pose", motion.pose)):
        bad = (~values.isfinite().all(1)).nonzero()
        if len(bad):
            raise PieceError(
                f"{whose}: the {what} of frame {first + int(bad[0])} are no numbers that can be "
                "rendered; leave it out, or repair it"
            )


def _check_same_cuts(results: Results, faces: Results) -> None:
    """Not by name alone: the sound itself must be the same."""
    for name in ("scenes", "first_frames", "lengths", "audio"):
        if not np.array_equal(getattr(results, name), getattr(faces, name)):
            raise PieceError(
                f"faces and bodies were sampled for other cuts: their {name.replace('_', ' ')} "
                "differ; sample both with the same seed, split and number of samples"
            )


def _check_facts(record: Path, facts: Mapping[str, Any]) -> None:
    try:
        before = json.loads(record.read_text(encoding="utf-8"))
        differing = [name for name in facts if before.get(name) != facts[name]]
    except (ValueError, AttributeError) as error:
        raise PieceError(f"{record} is damaged; name another folder, or --overwrite") from error
    if differing:
        name = differing[0]
        raise PieceError(
            f"{record.parent} has videos with {name} {before.get(name)!r}, not {facts[name]!r}; "
            "name another folder, or --overwrite"
        )
