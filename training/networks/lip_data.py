"""Batches for the lip regressor: speech rows of disturbed audio, lip units and closed lips.

Rows are computed once for each scene, clean and with several disturbances, and cached on disk:

    <data>/features/disturbed-<digest>/<scene>.npy    [S, V, T, A / 2 + 1]

Letters: B samples, T frames of a segment, S segments of a scene, V versions of a segment, N samples
at 16 kHz, A width of speech rows, U units. The last column is 1 where the voice is silenced.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from contracts.errors import InputError
from contracts.files import write_atomically
from models.finishing.rig import load_rig
from models.motion.speech import MelSpeech
from training.data.band_changes import narrow_bands, scale_formants
from training.data.disturbances import disturbed, in_room
from training.data.features import DIGITS, FOLDER, FeatureExtractor, Pieces, load_extractor
from training.data.scenes import WHOLE, Shard, StoredMotion, pad_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from numpy.random import Generator as Random
    from numpy.typing import NDArray
    from torch import Generator, Tensor

    from models.finishing.rig import Rig
    from models.formats.dataset import SceneData
    from training.data.scenes import Batch, Scene
    from training.networks.recipes import Recipe

    Channel = NDArray[np.floating[Any]]

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")
OPENING = ("jawOpen", "mouthLowerDown", "mouthUpperUp", "tongueOut")  # starts of names
CLOSED_UNITS = 0.03  # largest weight of these while lips are closed
CLOSED_WEIGHT = 0.5  # of the loss of closed lips
VERSIONS = 3  # of a segment; the first is as recorded
SEGMENTS = Pieces(frames=600, hop=600)  # as long as a clip, because rows share its level
REVISION = 1  # of the disturbances: another one makes the rows again


@dataclass(frozen=True)
class DisturbedRows:
    """All versions of the rows of a scene, side by side."""

    array: NDArray[np.float16]  # [S, V, T, A / 2 + 1]
    starts: tuple[int, ...]

    def latest_start(self, start: int, frames: int) -> int:
        """The last frame up to `start` at which one segment contains all frames."""
        first = self.starts[self._segment(start)]
        return max(first, min(start, first + self.array.shape[2] - frames))

    def window(self, start: int, frames: int, padded: int) -> Tensor:
        """Rows [T, V * (A / 2 + 1)] of frames in one segment, zero-padded."""
        segment = self._segment(start)
        first = start - self.starts[segment]
        cut = np.array(self.array[segment, :, first : first + frames])  # [V, T, W]
        rows = torch.from_numpy(cut).float().transpose(0, 1).flatten(1)
        return pad_rows(rows, padded)

    def _segment(self, start: int) -> int:
        return int(np.searchsorted(self.starts, start, side="right")) - 1


@dataclass(frozen=True)
class LipData:
    """Front end and rig of a person."""

    extractor: FeatureExtractor
    front_end: MelSpeech
    rig: Rig

    def columns(self, units: Sequence[str]) -> list[int]:
        """Columns of units by name. Raises: InputError: for an unknown one."""
        if unknown := sorted(set(units) - set(self.rig.units)):
            raise InputError(
                f"network.units: this avatar has no {', '.join(unknown)}; it has "
                f"{', '.join(self.rig.units)}"
            )
        return [self.rig.units.index(name) for name in units]

    def units(self, motion: Tensor) -> Tensor:
        """Normalised face codes [..., 256] -> all face units of the avatar, 0 to 1."""
        return (self.extractor.statistics.face(motion) @ self.rig.face_basis).clamp(0, 1)

    def closed(self, units: Tensor) -> Tensor:
        """1 where lips are closed: all units [..., U] -> [...]."""
        opening = [i for i, name in enumerate(self.rig.units) if name.startswith(OPENING)]
        return (units[..., opening].amax(-1) < CLOSED_UNITS).float()

    def distribution(
        self, scenes: Sequence[Scene], columns: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of units over scenes, [U] each; spread 1 without movement."""
        if not scenes:
            return torch.zeros(len(columns)), torch.ones(len(columns))
        units = torch.cat([self.units(scene.motion[0 : scene.frames]) for scene in scenes])
        units = units[:, list(columns)]
        spread = units.std(0)
        return units.mean(0), torch.where(spread > 1e-4, spread, 1.0)

    def batch(
        self, recipe: Recipe, windows: Batch, columns: Sequence[int], generator: Generator
    ) -> dict[str, Tensor]:
        """Choose a version of each window; speech rows, lip units, closed lips, and masks.

        Rows are those of other voices and of narrow bands, by the recipe.
        """
        count = len(windows.motion)
        rows = torch.unflatten(windows.features, -1, (VERSIONS, -1))  # [B, T, V, W]
        version = torch.randint(VERSIONS, (count,), generator=generator)
        rows = rows[torch.arange(count), :, version]  # [B, T, W]
        heard = 1 - rows[..., -1:]
        units = self.units(windows.motion) * heard  # zero units are lips at rest
        mel = self.front_end.config
        rows = scale_formants(rows[..., :-1], mel, recipe.formants, generator)
        return {
            "rows": narrow_bands(rows, mel, recipe.narrow, generator).contiguous(),
            "units": units[..., list(columns)],
            "closed": self.closed(units),
            "inside": windows.inside,
            "present": windows.present,
        }

    def with_rows(
        self, recipe: Recipe, scenes: Sequence[Scene], shard: Shard = WHOLE
    ) -> list[Scene]:
        """Give scenes their rows, which are computed if they are not cached yet.

        A process computes the rows of its shard first, so several share the work.
        """
        for index in shard.rows(len(scenes)):
            self._rows(recipe, scenes, index)
        return [
            replace(scene, features=self._rows(recipe, scenes, index))
            for index, scene in enumerate(scenes)
        ]

    def _rows(self, recipe: Recipe, scenes: Sequence[Scene], index: int) -> DisturbedRows:
        data = _data_of(scenes[index])
        path = self._folder(recipe, data) / f"{data.name}.npy"
        if not path.is_file():
            others = [_data_of(scenes[(index + step) % len(scenes)]) for step in (0, 1, 2)]
            path.parent.mkdir(parents=True, exist_ok=True)
            with write_atomically(path) as draft, draft.open("wb") as file:
                np.save(file, self._computed(recipe, data, others))
            logger.info("computed disturbed features of scene %s", data.name)
        array = np.load(path, mmap_mode="r")
        return DisturbedRows(array, tuple(SEGMENTS.starts(data.frames)))

    def _folder(self, recipe: Recipe, data: SceneData) -> Path:
        facts = [self.extractor.digest("speech"), recipe.disturbed, recipe.rooms, recipe.silenced]
        digest = hashlib.sha256(json.dumps([*facts, VERSIONS, REVISION]).encode()).hexdigest()
        return data.files.audio.parent / FOLDER / f"disturbed-{digest[:DIGITS]}"

    @torch.no_grad()
    def _computed(
        self, recipe: Recipe, data: SceneData, others: Sequence[SceneData]
    ) -> NDArray[np.float16]:
        """Rows of all segments and versions, [S, V, T, A / 2 + 1]."""
        name = int.from_bytes(hashlib.sha256(data.name.encode()).digest()[:8])
        rng = np.random.default_rng([REVISION, name])
        frames = min(SEGMENTS.frames, data.frames)
        voices = [
            channel
            for other in others
            for channel in self._channels(other, 0, min(frames, other.frames))
        ]
        result = []
        for start in SEGMENTS.starts(data.frames):
            channels = self._channels(data, start, frames)
            for version in range(VERSIONS):
                silenced = version > 0 and rng.random() < recipe.silenced
                sounds = [channels[0] * (not silenced), channels[1] * rng.integers(1 - silenced, 2)]
                if version:
                    sounds = [_disturbed(recipe, sound, voices, rng) for sound in sounds]
                rows = self._features(np.stack(sounds), frames)  # [T, A / 2]
                mark = np.full((frames, 1), float(silenced))
                result.append(np.concatenate([rows, mark], axis=1))
        stacked = np.stack(result).astype(np.float16)  # [S * V, T, W]
        return stacked.reshape(-1, VERSIONS, *stacked.shape[1:])

    def _channels(self, data: SceneData, start: int, frames: int) -> list[Channel]:
        """Both channels of some frames at 16 kHz, [N] each."""
        audio = torch.from_numpy(data.samples(start, start + frames))[None]
        return list(self.front_end.resample(audio).numpy())

    def _features(self, channels: Channel, frames: int) -> Channel:
        """Rows of the person from both channels at 16 kHz: [2, N] -> [T, A / 2]."""
        statistics = self.extractor.statistics
        mean = statistics.audio_mean[:, None]
        normalised = (torch.from_numpy(channels).float() - mean) / statistics.audio_std
        rows = self.front_end.resampled_rows(normalised, frames)[0]
        return rows[:, : rows.shape[1] // 2].numpy()


def _data_of(scene: Scene) -> SceneData:
    assert isinstance(scene.motion, StoredMotion)
    return scene.motion.data


def _disturbed(recipe: Recipe, sound: Channel, voices: Sequence[Channel], rng: Random) -> Channel:
    if rng.random() < recipe.rooms:
        sound = in_room(sound, rng)
    if rng.random() < recipe.disturbed:
        sound = disturbed(sound, voices, rng)
    return sound


def load_lip_data(person: Path) -> LipData:
    """Load what the training of lips reads of a person.

    Raises: InputError: for a front end with another rate than frames, or a person without an
    avatar. AvatarError: for an avatar without face units.
    """
    extractor = load_extractor(person, device=CPU)
    if not isinstance(extractor.speech, MelSpeech):
        raise InputError(
            f"{person}: the lip regressor reads log-mel rows, and this person has the released "
            "speech network; her lips are lips.safetensors of the released files"
        )
    avatar = person / "avatar.safetensors"
    if not avatar.is_file():
        raise InputError(
            f"{avatar}: not found; lips are units of an avatar: first run `python -m training "
            f"new-person {person} --avatar demo|PATH`"
        )
    return LipData(extractor, extractor.speech, load_rig(avatar))
