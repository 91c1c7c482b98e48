"""What a person's frozen networks hear in a dataset: made once for each scene, kept on disk.

Letters: T frames, P pieces of a scene, L feature rows of a piece, A features of a row, G numbers of
lip geometry in a frame.

    <folder>/speech-<digest>/features.json           how the scenes were heard
    <folder>/speech-<digest>/<scene>.<digest>.npy    [P, L, A]
    <folder>/speech-<digest>/<scene>.sound.json      of which sound, in which pieces; written last
    <folder>/lips-<digest>/...                       the same, [P, T, G]

The digest of a folder is that of the network and of the statistics that sound is normalised with:
another network never finds the features of this one. That of an array is of its sound and pieces:
it is written whole, then its record is replaced, so processes that hear the same scene at once, or
read it meanwhile, do each other no harm.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from contracts.files import sha256_of
from models.formats.wav import FRAME_RATE, SAMPLES_PER_FRAME
from models.motion.lips import lip_geometry, lip_rows, load_lips
from models.motion.speech import ConvSpeech, MelSpeech, load_speech
from models.motion.statistics import load_statistics
from training.data.scenes import filled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.formats.dataset import SceneData
    from models.motion.lips import LipRegressor
    from models.motion.statistics import Statistics

    Stored = NDArray[np.floating[Any]]

logger = logging.getLogger(__name__)

SPEECH, LIPS = "speech", "lips"
FOLDER = "features"  # of a dataset
SETTINGS = "features.json"
DIGITS = 12  # of a digest, in the name of a folder


class FeaturesError(ValueError):
    """Features that are not there or of another sound: one sentence, with what to do."""


@dataclass(frozen=True)
class Pieces:
    """A scene is heard in pieces, each as if it were a whole clip."""

    frames: int  # of a piece; a shorter scene is one
    hop: int  # frames from the start of one to the next
    dtype: str = "float32"  # as which they are kept

    def __post_init__(self) -> None:
        if not 1 <= self.hop <= self.frames:
            raise ValueError(f"a hop must be 1 to {self.frames} frames, got {self.hop}")
        if self.dtype not in ("float16", "float32"):
            raise ValueError(f"features are kept as float16 or float32, not as {self.dtype}")

    def starts(self, frames: int) -> list[int]:
        """First frames of the pieces of a scene; the last piece ends with it."""
        last = max(0, frames - self.frames)
        return [*range(0, last, self.hop), last]


# Rows of convolutions depend on the whole clip by its GroupNorm, and clips last 20 s when people
# are served. Log-mel rows only share a level, so scenes are as long as memory allows.
CLIPS = Pieces(frames=20 * FRAME_RATE, hop=10 * FRAME_RATE, dtype="float16")
SCENES = Pieces(frames=600 * FRAME_RATE, hop=580 * FRAME_RATE)


@dataclass(frozen=True)
class FeatureExtractor:
    """What of a person hears: frozen networks, and statistics of sound."""

    folder: Path
    speech: ConvSpeech | MelSpeech
    lips: LipRegressor | None
    statistics: Statistics
    device: torch.device

    @property
    def pieces(self) -> Pieces:
        """How scenes are heard, if nobody says otherwise."""
        return SCENES if isinstance(self.speech, MelSpeech) else CLIPS

    def prepared(self, sound: NDArray[np.float32]) -> Tensor:
        """Sound [n, 2] -> normalised, [1, n, 2]."""
        return self.statistics.normalised_audio(torch.from_numpy(sound).to(self.device))[None]

    def extract(self, part: str, sound: Tensor) -> Tensor:
        """Normalised sound [1, n, 2] -> speech features [L, A] or lips [T, G]."""
        if part == SPEECH:
            return self.speech(sound)[0]
        assert self.lips is not None
        return lip_geometry(self.lips, sound)[0]

    def rows(self, part: str, frames: int) -> int:
        """L of speech, T of lips."""
        return self.speech.rows(frames) if part == SPEECH else frames

    def digest(self, part: str) -> str:
        """Of the network and the statistics: the same for the same features."""
        facts = {
            "network": sha256_of(self.folder / f"{part}.safetensors"),
            "audio_mean": self.statistics.audio_mean.tolist(),
            "audio_std": self.statistics.audio_std,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def load_ears(person: Path, *, device: torch.device) -> FeatureExtractor:
    """Of a person directory. CheckpointError for one that lacks a part."""
    lips = person / f"{LIPS}.safetensors"
    return FeatureExtractor(
        person,
        load_speech(person / f"{SPEECH}.safetensors", device=device),
        load_lips(lips, device=device) if lips.is_file() else None,
        load_statistics(person / "stats.json", device=device),
        device,
    )


@dataclass(frozen=True)
class FeatureCache:
    """Where the features of one part are kept, and how."""

    folder: Path
    part: str
    pieces: Pieces

    def record(self, scene: str) -> Path:
        """What is known of the features of a scene."""
        return self.folder / f"{scene}.sound.json"

    def array(self, scene: str, facts: Mapping[str, Any]) -> Path:
        """The features of a scene of which these facts are known."""
        told = json.dumps([facts["pieces"], facts["bytes"], facts["sha256"]])
        digest = hashlib.sha256(told.encode()).hexdigest()
        return self.folder / f"{scene}.{digest[:DIGITS]}.npy"


def shelf(
    ears: FeatureExtractor, part: str, folder: Path, pieces: Pieces | None = None
) -> FeatureCache:
    """Where a part of these ears is kept below a folder; pieces as they are there, if not given."""
    place = folder / f"{part}-{ears.digest(part)[:DIGITS]}"
    settings = place / SETTINGS
    if pieces is None and settings.is_file():
        pieces = Pieces(**json.loads(settings.read_text(encoding="utf-8")))
    return FeatureCache(place, part, pieces or ears.pieces)


def keep(
    ears: FeatureExtractor,
    kept: FeatureCache,
    scenes: Sequence[SceneData],
    *,
    progress: Callable[[str, int, int], None] = lambda _scene, _done, _all: None,
) -> int:
    """Hear the scenes whose features are not there or of another sound; answers how many.

    One piece is in memory at a time. A scene that is whole is not heard again, so a call that was
    cut off is continued by the next.
    """
    made = 0
    for number, scene in enumerate(scenes, 1):
        if not fresh(kept, scene):
            _keep_one(ears, kept, scene)
            made += 1
        progress(scene.name, number, len(scenes))
    return made


@torch.no_grad()  # not inference mode: what it makes could not be trained on
def _keep_one(ears: FeatureExtractor, kept: FeatureCache, scene: SceneData) -> None:
    kept.folder.mkdir(parents=True, exist_ok=True)
    _write(kept.folder / SETTINGS, asdict(kept.pieces))
    facts = _facts(kept, scene)
    starts = kept.pieces.starts(scene.frames)
    frames = min(kept.pieces.frames, scene.frames)
    path = kept.array(scene.name, facts)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        array: Stored | None = None
        for place, start in enumerate(starts):
            heard = ears.extract(
                kept.part, ears.prepared(scene.samples(start, start + frames))
            ).cpu()
            if array is None:
                shape = (len(starts), *heard.shape)
                array = np.lib.format.open_memmap(draft, "w+", np.dtype(kept.pieces.dtype), shape)
            assert array is not None
            array[place] = heard.numpy()
        assert isinstance(array, np.memmap)
        array.flush()
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _write(kept.record(scene.name), facts)
    for old in kept.folder.glob(f"{glob.escape(scene.name)}.{'?' * DIGITS}.npy"):
        if old != path:
            old.unlink(missing_ok=True)


def fresh(kept: FeatureCache, scene: SceneData) -> Path | None:
    """The features of a scene, if they are there, in these pieces and of the sound it has now.

    A sound of the same size and time is the same; one of another time is looked into.
    """
    record, sound = kept.record(scene.name), scene.files.audio
    if not record.is_file():
        return None
    facts = json.loads(record.read_text(encoding="utf-8"))
    now = sound.stat()
    if facts["pieces"] != asdict(kept.pieces) or facts["bytes"] != now.st_size:
        return None
    if facts["modified"] != now.st_mtime_ns and facts["sha256"] != sha256_of(sound):
        return None
    path = kept.array(scene.name, facts)
    return path if path.is_file() else None


def _facts(kept: FeatureCache, scene: SceneData) -> dict[str, Any]:
    found = scene.files.audio.stat()
    return {
        "pieces": asdict(kept.pieces),
        "bytes": found.st_size,
        "modified": found.st_mtime_ns,
        "sha256": sha256_of(scene.files.audio),
    }


def _write(path: Path, facts: dict[str, Any]) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(facts) + "\n", encoding="utf-8")
    draft.replace(path)


@dataclass(frozen=True)
class _Kept:
    """One part of a scene, mapped."""

    array: Stored  # [P, L, A]
    starts: NDArray[np.int64]
    frames: int  # of a piece

    def fitting(self, start: int, frames: int) -> int:
        if frames > self.frames:
            raise FeaturesError(
                f"features were made of pieces of {self.frames} frames, and {frames} are asked "
                "for; make them again, of longer pieces"
            )
        first = int(self.starts[self._piece(start)])
        return min(start, first + self.frames - frames)

    def cut(self, start: int, frames: int, rows: int, *, rate: float) -> Tensor:
        """`rows` rows from that of frame `start`, of which there are `rate` in a frame."""
        piece = self._piece(start)
        first = round((start - int(self.starts[piece])) * rate)
        first = min(first, self.array.shape[1] - rows)
        # Copied before it becomes float32: torch does that faster than numpy.
        return torch.from_numpy(np.array(self.array[piece, first : first + rows])).float()

    def _piece(self, start: int) -> int:
        return int(np.searchsorted(self.starts, start, side="right")) - 1


@dataclass(frozen=True)
class KeptFeatures:
    """The features of a scene where they are kept; lips behind them for the face."""

    ears: FeatureExtractor
    speech: _Kept
    lips: _Kept | None

    def fitting(self, start: int, frames: int) -> int:
        """The last place up to `start` from which a piece has so many frames.

        FeaturesError where none is long enough.
        """
        return self.speech.fitting(start, frames)

    def window(self, start: int, frames: int, padded: int) -> Tensor:
        """[L, A] of frames that one piece has; zeros behind them up to the rows of `padded`."""
        rows = self.ears.speech.rows
        heard = self.speech.cut(start, frames, rows(frames), rate=rate(self.ears.speech))
        if self.lips is not None:
            geometry = self.lips.cut(start, frames, frames, rate=1.0)
            heard = torch.cat([heard, lip_rows(geometry[None], len(heard))[0]], dim=-1)
        return filled(heard, rows(padded))


@dataclass(frozen=True)
class FreshFeatures:
    """A scene whose every window is heard when it is drawn, as the reference does it.

    A sample that is too short has silence behind it, and the networks hear that.
    """

    ears: FeatureExtractor
    scene: SceneData
    lips: bool

    def fitting(self, start: int, frames: int) -> int:
        """Anywhere."""
        return start

    @torch.no_grad()
    def window(self, start: int, frames: int, padded: int) -> Tensor:
        """[L, A] of `padded` frames."""
        sound = self.ears.prepared(self.scene.samples(start, start + frames))[0]
        sound = filled(sound, padded * SAMPLES_PER_FRAME)[None]
        heard = self.ears.extract(SPEECH, sound)
        if self.lips:
            geometry = self.ears.extract(LIPS, sound)
            heard = torch.cat([heard, lip_rows(geometry[None], len(heard))[0]], dim=-1)
        return heard.cpu()


def rate(front_end: ConvSpeech | MelSpeech) -> float:
    """How many rows a frame has: what `rows` comes to in a long clip."""
    many = 3 * 10_000  # whole rows for both kinds
    return (front_end.rows(2 * many) - front_end.rows(many)) / many


def open_kept(
    ears: FeatureExtractor, scene: SceneData, speech: FeatureCache, lips: FeatureCache | None
) -> KeptFeatures:
    """The features of a scene. FeaturesError where they are not there or of another sound."""
    return KeptFeatures(
        ears, _opened(speech, scene), _opened(lips, scene) if lips is not None else None
    )


def _opened(kept: FeatureCache, scene: SceneData) -> _Kept:
    path = fresh(kept, scene)
    if path is None:
        raise FeaturesError(
            f"{kept.folder} has no {kept.part} of the sound that scene {scene.name} has now; run "
            "`python -m training data features`"
        )
    starts = np.array(kept.pieces.starts(scene.frames))
    return _Kept(np.load(path, mmap_mode="r"), starts, min(kept.pieces.frames, scene.frames))
