"""Render existing motion in pieces: recorded motion of a dataset, or sampled results.

Each piece is read, rendered and encoded in turn and written atomically; a piece whose file exists
is skipped. Letters: T frames of a scene, N of a piece.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from contracts.errors import InputError
from contracts.files import write_atomically
from models.formats.dataset import SceneFiles, listed_scenes
from models.formats.wav import SAMPLES_PER_FRAME
from models.motion.pipeline import Motion
from worker.pipeline.media.decode import CHANNELS, Audio
from worker.pipeline.motion_stream import TakeMotion
from worker.pipeline.publish import write_output
from worker.pipeline.render import Shot, take_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from contracts.provenance import Origin
    from models.avatar.avatar import Avatar
    from models.formats.dataset import SceneData
    from models.formats.results import Results
    from worker.pipeline.media.container import Encoder
    from worker.pipeline.media.watermark import Watermark
    from worker.pipeline.plan import Plan
    from worker.provenance.manifest import ManifestSigner

    Floats = NDArray[np.floating[Any]]

RECORD = "rendering.json"  # beside the videos: their source and options
AUDIO_FRAMES = 900  # frames of audio read at a time


class PieceError(InputError):
    """Motion that cannot be rendered, or a folder with videos of other options."""


@dataclass(frozen=True)
class Piece:
    """A piece of motion with its audio, both loaded on demand."""

    name: str  # of its file, without the suffix
    frames: int  # N
    motion: Callable[[], Motion]
    samples: Callable[[int, int], NDArray[np.float32]]  # of frames [start, stop): [1600 n, 2]


@dataclass(frozen=True)
class RenderContext:
    """Options and resources of every piece."""

    plan: Plan
    avatar: Avatar
    encoder: Encoder
    scratch: Path  # an empty folder
    origin: Origin
    signer: ManifestSigner | None
    watermark: Watermark | None = None


def scene_pieces(
    folder: Path, *, scenes: Sequence[str], longest: int, most: int | None
) -> list[Piece]:
    """Return a dataset's recorded motion in pieces of `longest` frames, `most` of each scene.

    scenes: names; empty for all. A scene without any face is left out, as in training.
    Raises: DatasetError, PieceError: for missing or invalid files, before anything is rendered.
    """
    pieces = []
    for files in _chosen(folder, scenes):
        scene = files.open()
        if scene.present().any():
            for start in range(0, scene.frames, longest)[:most]:
                pieces.append(_scene_piece(scene, start, min(start + longest, scene.frames)))
    if not pieces:
        raise PieceError(f"{folder}: no scene has a frame with a face; choose other scenes")
    return pieces


def result_pieces(results: Results, faces: Results | None, *, truth: bool) -> list[Piece]:
    """Return every take as `sample00_rep00`, or with `truth` every recording as `sample00_truth`.

    faces: results with face codes of the same cuts, when `results` have none.
    Raises: PieceError: when results and faces do not match.
    """
    if faces is not None:
        _check_same_cuts(results, faces)
    if truth:
        return [_true_piece(results, sample) for sample in range(results.samples)]
    face, pose = results.face if faces is None else faces.face, results.pose
    if pose is None:
        raise PieceError("the results have no poses; sample the body too, or render the truth")
    if face is None:
        raise PieceError("the results have no face codes; pass those of the same cuts with --face")
    if len(face) != len(pose):
        raise PieceError(
            f"{len(face)} takes of each face do not match {len(pose)} of each body; sample the "
            "same number of both"
        )
    takes = [(sample, take) for sample in range(results.samples) for take in range(len(pose))]
    return [
        _piece(results, sample, f"rep{take:02d}", face[take, sample], pose[take, sample])
        for sample, take in takes
    ]


def motion_piece(
    name: str, motion: Motion, sound: NDArray[np.float32] | None, source: str
) -> Piece:
    """Return motion of one take, with the start of a recording [samples, 2] or without audio.

    Raises: PieceError: for values that are not finite.
    """
    _check_finite(motion, source, 0)

    def samples(start: int, stop: int) -> NDArray[np.float32]:
        count = (stop - start) * SAMPLES_PER_FRAME
        heard = sound if sound is not None else np.zeros((0, CHANNELS), np.float32)
        part = heard[start * SAMPLES_PER_FRAME :][:count]
        return np.pad(part, ((0, count - len(part)), (0, 0)))

    return Piece(name, len(motion.pose), lambda: motion, samples)


def open_folder(
    out: Path, pieces: Sequence[Piece], plan: Plan, facts: Mapping[str, Any], *, overwrite: bool
) -> list[Piece]:
    """Make the folder, or continue in it; return the pieces without a video.

    facts: source and options, equal for all videos of a folder.
    Raises: PieceError: when the folder has videos with other facts.
    """
    record = out / RECORD
    existing = [each for each in pieces if video_path(out, each, plan).exists()]
    if overwrite:
        for piece in existing:
            video_path(out, piece, plan).unlink()
        existing = []
    elif record.is_file():
        _check_facts(record, facts)
    elif existing:
        raise PieceError(
            f"{video_path(out, existing[0], plan)} exists already; name another folder, or "
            "--overwrite"
        )
    out.mkdir(parents=True, exist_ok=True)
    with write_atomically(record) as draft:
        draft.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return [piece for piece in pieces if piece not in existing]


def video_path(out: Path, piece: Piece, plan: Plan) -> Path:
    """Return the path of a piece's video."""
    return out / f"{piece.name}{plan.outputs[0].suffix}"


def render_piece(
    piece: Piece, path: Path, context: RenderContext, progress: Callable[[float], None]
) -> None:
    """Render a piece with its audio to `path`. progress: called with 0..1."""
    raw = context.scratch / "sound.f32"
    with raw.open("wb") as file:
        for start in range(0, piece.frames, AUDIO_FRAMES):
            piece.samples(start, min(start + AUDIO_FRAMES, piece.frames)).tofile(file)
    samples: NDArray[np.float32] = np.memmap(raw, np.float32, mode="r").reshape(-1, CHANNELS)
    audio = Audio(raw, samples, partner_speaks=True)  # true for some pieces
    if context.watermark is not None and context.plan.renders:
        audio = context.watermark.audio(audio)
    take = take_of(
        [Shot(TakeMotion.of(piece.motion()), context.plan, context.avatar)],
        audio,
        encoder=context.encoder,
        progress=progress,
        origin=context.origin,
        watermark=context.watermark,
    )
    write_output(context.plan.outputs[0], take, path, context.signer)


def with_face(face: Floats, present: NDArray[np.bool_], start: int, stop: int) -> Floats:
    """Return face codes of frames [start, stop) of [T, 256], missing ones interpolated linearly.

    Frames before the first and after the last visible face repeat it. A scene without any visible
    face is returned as recorded.
    """
    codes: Floats = np.array(face[start:stop], np.float32)
    visible = np.flatnonzero(present)
    missing = start + np.flatnonzero(~present[start:stop])
    if not len(visible) or not len(missing):
        return codes
    index = np.searchsorted(visible, missing)
    after = visible[np.minimum(index, len(visible) - 1)]
    before = np.where(index == 0, after, visible[np.maximum(index - 1, 0)])
    share = ((missing - before) / np.maximum(after - before, 1))[:, None]
    codes[missing - start] = face[before] * (1 - share) + face[after] * share
    return codes


def _chosen(folder: Path, names: Sequence[str]) -> list[SceneFiles]:
    available = {files.name: files for files in listed_scenes(folder)}
    for name in names:
        if name not in available:
            raise PieceError(f"{folder}: unknown scene {name!r}; available: {', '.join(available)}")
    chosen = [available[name] for name in names or available]
    for files in chosen:
        if files.absent:
            raise PieceError(f"{files.absent[0]} is missing; a scene consists of four files")
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
    """Return one sample without its zero padding."""
    frames, name = int(results.lengths[sample]), f"sample{sample:02d}_{take}"
    motion = Motion(*(torch.from_numpy(np.array(x[:frames])) for x in (face, pose)))
    _check_finite(motion, name, 0)
    audio: NDArray[np.float32] = results.audio[sample]

    def samples(start: int, stop: int) -> NDArray[np.float32]:
        return audio[start * SAMPLES_PER_FRAME : stop * SAMPLES_PER_FRAME]

    return Piece(name, frames, lambda: motion, samples)


def _check_finite(motion: Motion, source: str, first: int) -> None:
    for name, values in (("face codes", motion.face), ("pose", motion.pose)):
        invalid = (~values.isfinite().all(1)).nonzero()
        if len(invalid):
            raise PieceError(
                f"{source}: frame {first + int(invalid[0])} has non-finite values in its {name}; "
                f"leave {source} out, or repair it"
            )


def _check_same_cuts(results: Results, faces: Results) -> None:
    """Compare names, frames and the audio itself."""
    for name in ("scenes", "first_frames", "lengths", "audio"):
        if not np.array_equal(getattr(results, name), getattr(faces, name)):
            raise PieceError(
                f"faces and bodies were sampled for different cuts: their {name.replace('_', ' ')} "
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
