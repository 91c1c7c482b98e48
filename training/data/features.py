"""Cache of frozen speech and lip features, computed once per scene.

Letters: T frames, P pieces of a scene, L feature rows of a piece, A features of a row, G numbers of
lip geometry in a frame.

    <folder>/speech-<digest>/features.json           pieces of all scenes
    <folder>/speech-<digest>/<scene>.<digest>.npy    [P, L, A]
    <folder>/speech-<digest>/<scene>.sound.json      record: digest of the audio; written last
    <folder>/lips-<digest>/...                       the same, [P, T, G]

The digest of a folder covers the network and the statistics that normalise audio, so another
network never reads these features. The digest of an array covers its audio and pieces. The array is
written atomically, then its record, so processes can compute or read the same scene at once.
"""

from __future__ import annotations

import glob
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from contracts.errors import InputError
from contracts.files import sha256_of, write_atomically
from models.formats.wav import FRAME_RATE, SAMPLES_PER_FRAME
from models.motion.lips import lip_geometry, lip_rows, load_lips
from models.motion.speech import ConvSpeech, MelSpeech, load_speech
from models.motion.statistics import load_statistics
from training.data.scenes import pad_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.formats.dataset import SceneData
    from models.motion.lips import LipRegressor
    from models.motion.statistics import Statistics

    Stored = NDArray[np.floating[Any]]

SPEECH, LIPS = "speech", "lips"
FOLDER = "features"  # in the folder of the dataset
SETTINGS = "features.json"
DIGITS = 12  # digits of a digest in names of folders and arrays


class FeaturesError(InputError):
    """Features that are missing or out of date: one sentence with the fix."""


@dataclass(frozen=True)
class Pieces:
    """Division of a scene into overlapping pieces; features of each are computed separately."""

    frames: int  # length of a piece; a shorter scene is one piece
    hop: int  # frames from the start of one piece to the next
    dtype: str = "float32"  # data type on disk

    def __post_init__(self) -> None:
        if not 1 <= self.hop <= self.frames:
            raise FeaturesError(f"hop must be 1 to {self.frames} frames, got {self.hop}")
        if self.dtype not in ("float16", "float32"):
            raise FeaturesError(f"dtype of features must be float16 or float32, got {self.dtype}")

    def starts(self, frames: int) -> list[int]:
        """First frames of the pieces of a scene; the last piece ends with the scene."""
        last = max(0, frames - self.frames)
        return [*range(0, last, self.hop), last]


# GroupNorm makes rows of convolutions depend on the whole clip, and released people animate clips
# of 20 s. Log-mel rows share only a level, so their pieces are as long as memory allows.
CLIPS = Pieces(frames=20 * FRAME_RATE, hop=10 * FRAME_RATE, dtype="float16")
SCENES = Pieces(frames=600 * FRAME_RATE, hop=580 * FRAME_RATE)


@dataclass(frozen=True)
class FeatureExtractor:
    """Frozen speech and lip networks of a person, with the statistics of audio."""

    folder: Path
    speech: ConvSpeech | MelSpeech
    lips: LipRegressor | None
    statistics: Statistics
    device: torch.device

    @property
    def pieces(self) -> Pieces:
        """Default pieces for the kind of speech network."""
        return SCENES if isinstance(self.speech, MelSpeech) else CLIPS

    def normalise(self, audio: NDArray[np.float32]) -> Tensor:
        """Audio [n, 2] -> normalised, [1, n, 2]."""
        return self.statistics.normalised_audio(torch.from_numpy(audio).to(self.device))[None]

    def extract(self, part: str, audio: Tensor) -> Tensor:
        """Normalised audio [1, n, 2] -> speech features [L, A] or lips [T, G]."""
        if part == SPEECH:
            return self.speech(audio)[0]
        assert self.lips is not None
        return lip_geometry(self.lips, audio)[0]

    def rows(self, part: str, frames: int) -> int:
        """Rows for a number of frames: L of speech, T of lips."""
        return self.speech.rows(frames) if part == SPEECH else frames

    def digest(self, part: str) -> str:
        """Digest of the network and the statistics that determine the features."""
        facts = {
            "network": sha256_of(self.folder / f"{part}.safetensors"),
            "audio_mean": self.statistics.audio_mean.tolist(),
            "audio_std": self.statistics.audio_std,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def load_extractor(person: Path, *, device: torch.device) -> FeatureExtractor:
    """Load the feature networks of a person directory.

    Raises: CheckpointError: when a file is missing.
    """
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
    """Folder with the cached features of one network."""

    folder: Path
    part: str
    pieces: Pieces

    def record(self, scene: str) -> Path:
        """Path of the record of a scene."""
        return self.folder / f"{scene}.sound.json"

    def array(self, scene: str, facts: Mapping[str, Any]) -> Path:
        """Path of the features of a scene with this record."""
        key = json.dumps([facts["pieces"], facts["bytes"], facts["sha256"]])
        digest = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / f"{scene}.{digest[:DIGITS]}.npy"


def feature_cache(
    extractor: FeatureExtractor, part: str, folder: Path, pieces: Pieces | None = None
) -> FeatureCache:
    """Cache of a network's features below a folder.

    pieces: those of the existing cache if None, or the default of the network.
    """
    cache = folder / f"{part}-{extractor.digest(part)[:DIGITS]}"
    settings = cache / SETTINGS
    if pieces is None and settings.is_file():
        pieces = Pieces(**json.loads(settings.read_text(encoding="utf-8")))
    return FeatureCache(cache, part, pieces or extractor.pieces)


def fill_cache(
    extractor: FeatureExtractor,
    cache: FeatureCache,
    scenes: Sequence[SceneData],
    *,
    progress: Callable[[str, int, int], None] = lambda _scene, _done, _all: None,
) -> int:
    """Compute missing and outdated features; return the number of computed scenes.

    One piece is in memory at a time. Scenes that are complete are skipped, so the next call
    continues an interrupted one.
    """
    computed = 0
    for number, scene in enumerate(scenes, 1):
        if not find_cached(cache, scene):
            _compute_scene(extractor, cache, scene)
            computed += 1
        progress(scene.name, number, len(scenes))
    return computed


@torch.no_grad()  # not inference_mode, whose tensors cannot be trained on
def _compute_scene(extractor: FeatureExtractor, cache: FeatureCache, scene: SceneData) -> None:
    cache.folder.mkdir(parents=True, exist_ok=True)
    _write(cache.folder / SETTINGS, asdict(cache.pieces))
    facts = _facts(cache, scene)
    starts = cache.pieces.starts(scene.frames)
    frames = min(cache.pieces.frames, scene.frames)
    path = cache.array(scene.name, facts)
    with write_atomically(path) as draft:
        array: Stored | None = None
        for piece, start in enumerate(starts):
            audio = extractor.normalise(scene.samples(start, start + frames))
            features = extractor.extract(cache.part, audio).cpu()
            if array is None:
                shape = (len(starts), *features.shape)
                array = np.lib.format.open_memmap(draft, "w+", np.dtype(cache.pieces.dtype), shape)
            assert array is not None
            array[piece] = features.numpy()
        assert isinstance(array, np.memmap)
        array.flush()
    _write(cache.record(scene.name), facts)
    for old in cache.folder.glob(f"{glob.escape(scene.name)}.{'?' * DIGITS}.npy"):
        if old != path:
            old.unlink(missing_ok=True)


def find_cached(cache: FeatureCache, scene: SceneData) -> Path | None:
    """Path of the features of a scene; None when they are missing, outdated or of other pieces.

    Audio with the same size and modification time is unchanged; if the time differs, digests are
    compared.
    """
    record, audio = cache.record(scene.name), scene.files.audio
    if not record.is_file():
        return None
    facts = json.loads(record.read_text(encoding="utf-8"))
    status = audio.stat()
    if facts["pieces"] != asdict(cache.pieces) or facts["bytes"] != status.st_size:
        return None
    if facts["modified"] != status.st_mtime_ns and facts["sha256"] != sha256_of(audio):
        return None
    path = cache.array(scene.name, facts)
    return path if path.is_file() else None


def _facts(cache: FeatureCache, scene: SceneData) -> dict[str, Any]:
    status = scene.files.audio.stat()
    return {
        "pieces": asdict(cache.pieces),
        "bytes": status.st_size,
        "modified": status.st_mtime_ns,
        "sha256": sha256_of(scene.files.audio),
    }


def _write(path: Path, facts: dict[str, Any]) -> None:
    with write_atomically(path) as draft:
        draft.write_text(json.dumps(facts) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class _CachedPart:
    """Memory-mapped features of one network for one scene."""

    array: Stored  # [P, L, A]
    starts: NDArray[np.int64]
    frames: int  # length of a piece

    def latest_start(self, start: int, frames: int) -> int:
        if frames > self.frames:
            raise FeaturesError(
                f"cached features have pieces of {self.frames} frames, too short for {frames}; "
                "compute them again with longer pieces"
            )
        first = int(self.starts[self._piece(start)])
        return min(start, first + self.frames - frames)

    def cut(self, start: int, frames: int, rows: int, *, rate: float) -> Tensor:
        """`rows` rows from that of frame `start`, with `rate` rows per frame."""
        piece = self._piece(start)
        first = round((start - int(self.starts[piece])) * rate)
        first = min(first, self.array.shape[1] - rows)
        # The copy is converted by torch, which is faster than numpy.
        return torch.from_numpy(np.array(self.array[piece, first : first + rows])).float()

    def _piece(self, start: int) -> int:
        return int(np.searchsorted(self.starts, start, side="right")) - 1


@dataclass(frozen=True)
class CachedFeatures:
    """Cached features of a scene; columns of lips follow those of speech for the face."""

    extractor: FeatureExtractor
    speech: _CachedPart
    lips: _CachedPart | None

    def latest_start(self, start: int, frames: int) -> int:
        """The last frame up to `start` at which one piece contains all frames.

        Raises: FeaturesError: when no piece is long enough.
        """
        return self.speech.latest_start(start, frames)

    def window(self, start: int, frames: int, padded: int) -> Tensor:
        """Features [L, A] of frames in one piece, zero-padded to the rows of `padded` frames."""
        rows = self.extractor.speech.rows
        features = self.speech.cut(start, frames, rows(frames), rate=rate(self.extractor.speech))
        if self.lips is not None:
            geometry = self.lips.cut(start, frames, frames, rate=1.0)
            features = torch.cat([features, lip_rows(geometry[None], len(features))[0]], dim=-1)
        return pad_rows(features, rows(padded))


@dataclass(frozen=True)
class FreshFeatures:
    """Features computed for each window when it is sampled, as in the reference.

    A short sample is padded with silence, which the networks process, too.
    """

    extractor: FeatureExtractor
    scene: SceneData
    lips: bool

    def latest_start(self, start: int, frames: int) -> int:
        """Every start is possible."""
        return start

    @torch.no_grad()
    def window(self, start: int, frames: int, padded: int) -> Tensor:
        """Features [L, A] of `padded` frames."""
        audio = self.extractor.normalise(self.scene.samples(start, start + frames))[0]
        audio = pad_rows(audio, padded * SAMPLES_PER_FRAME)[None]
        features = self.extractor.extract(SPEECH, audio)
        if self.lips:
            geometry = self.extractor.extract(LIPS, audio)
            features = torch.cat([features, lip_rows(geometry[None], len(features))[0]], dim=-1)
        return features.cpu()


def rate(front_end: ConvSpeech | MelSpeech) -> float:
    """Rows per frame in a long clip."""
    many = 3 * 10_000  # frames with a whole number of rows for both kinds
    return (front_end.rows(2 * many) - front_end.rows(many)) / many


def open_cached(
    extractor: FeatureExtractor, scene: SceneData, speech: FeatureCache, lips: FeatureCache | None
) -> CachedFeatures:
    """Open the features of a scene.

    Raises: FeaturesError: when they are missing or outdated.
    """
    return CachedFeatures(
        extractor, _open_part(speech, scene), _open_part(lips, scene) if lips is not None else None
    )


def _open_part(cache: FeatureCache, scene: SceneData) -> _CachedPart:
    path = find_cached(cache, scene)
    if path is None:
        raise FeaturesError(
            f"{cache.folder} has no {cache.part} features for the current audio of scene "
            f"{scene.name}; run `python -m training data features`"
        )
    starts = np.array(cache.pieces.starts(scene.frames))
    return _CachedPart(np.load(path, mmap_mode="r"), starts, min(cache.pieces.frames, scene.frames))
