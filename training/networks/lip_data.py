"""Batches for the lip regressor: speech rows of disturbed audio, lip units, closed lips, phones.

Powers of bands are computed once for each scene, as recorded and in several rooms, and cached on
disk; voices are mixed with disturbances in each step (`training.data.mixing`):

    <data>/features/voices-<digest>/<scene>.npy    [S, V, T, A / 2 + 1]

Letters: B samples, T frames of a segment, S segments of a scene, V versions of a segment, N samples
at 16 kHz, A width of speech rows, U units. The last column is the level of the other channel, dB.
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
from models.motion.speech import FRAME_RATE, MelSpeech
from training.data.band_changes import narrow_bands
from training.data.disturbances import in_room
from training.data.features import DIGITS, FOLDER, FeatureExtractor, Pieces, load_extractor
from training.data.mixing import SILENT, Shares, log_powers, make_bank, mixed_rows
from training.data.phones import PHONES, read_phones
from training.data.scenes import WHOLE, Shard, StoredMotion

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray
    from torch import Generator, Tensor

    from models.finishing.rig import Rig
    from models.formats.dataset import SceneData
    from training.data.mixing import Bank
    from training.data.phones import TimedPhone
    from training.data.scenes import Batch, Scene
    from training.networks.recipes import Recipe

    Channel = NDArray[np.floating[Any]]

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")
OPENING = ("jawOpen", "mouthLowerDown", "mouthUpperUp", "tongueOut")  # starts of names
CLOSED_UNITS = 0.03  # largest weight of these while lips are closed
CLOSED_WEIGHT = 0.5  # of the loss of closed lips
PHONE_WEIGHT = 0.3  # of the loss of phones
VERSIONS = 3  # of a segment; the first is as recorded, the others in rooms
SEGMENTS = Pieces(frames=600, hop=600)  # as long as a clip, because rows share its level
REVISION = 2  # of the versions: another one makes the powers again
QUIET = -100.0  # dB, of a channel without sound
NO_PHONE = -1  # of frames whose phone is not known


@dataclass(frozen=True)
class VoicePowers:
    """All versions of the powers of a scene, side by side."""

    array: NDArray[np.float16]  # [S, V, T, A / 2 + 1]
    starts: tuple[int, ...]
    group: int  # 0 or 1
    phones: NDArray[np.int64]  # [frames of the scene], `NO_PHONE` where none is known

    def latest_start(self, start: int, frames: int) -> int:
        """The last frame up to `start` at which one segment contains all frames."""
        first = self.starts[self._segment(start)]
        return max(first, min(start, first + self.array.shape[2] - frames))

    def window(self, start: int, frames: int, padded: int) -> Tensor:
        """Rows [T, V * (A / 2 + 1) + 2] of a whole segment, turned so that a window comes first.

        The segment tells the level and the character of the voice, whatever the order of frames.
        Its last columns are the group and the phone. Short segments are padded with silence.
        """
        del frames, padded
        segment = self._segment(start)
        first = self.starts[segment]
        array = self.array[segment]  # [V, T, W]
        rows = torch.from_numpy(np.array(array)).float().transpose(0, 1).flatten(1)
        phones = torch.from_numpy(self.phones[first : first + len(rows)]).float()[:, None]
        group = torch.full_like(phones, self.group)
        rows = torch.cat([rows, group, phones], dim=1).roll(first - start, 0)
        missing = SEGMENTS.frames - len(rows)
        if missing <= 0:
            return rows
        silence = rows[-1:].clone()
        silence[:, :-2] = SILENT
        return torch.cat([rows, silence.expand(missing, -1)])

    def voice(self) -> Tensor:
        """Powers of the first segment as recorded, padded: [T, A / 2]."""
        first = self.starts[0]
        width = self.array.shape[-1] - 1
        return self.window(first, 0, 0)[:, :width]

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
        self, recipe: Recipe, windows: Batch, columns: Sequence[int], bank: Bank,
        generator: Generator,
    ) -> dict[str, Tensor]:  # fmt: skip
        """Mix a version of each window with disturbances.

        Speech rows of whole segments that begin with the window, lip units, closed lips, phones,
        and masks. Rows are those of other voices and of narrow bands, by the recipe.
        """
        count, frames = len(windows.motion), windows.frames
        mel = self.front_end.config
        phones = windows.features[:, :frames, -1].long()  # [B, T]
        groups = windows.features[:, 0, -2].long()
        powers = torch.unflatten(windows.features[..., :-2], -1, (VERSIONS, -1))
        rooms = torch.rand(count, generator=generator) < recipe.rooms
        version = torch.randint(1, VERSIONS, (count,), generator=generator) * rooms
        powers = powers[torch.arange(count), :, version]  # [B, T, W]
        voices = torch.unflatten(powers[..., :-1], -1, (mel.slices, mel.bands)).flatten(1, 2)
        shares = Shares(recipe.disturbed, recipe.silenced, recipe.formants)
        rows, sounds = mixed_rows(
            self.front_end, voices, powers[:, 0, -1], groups, bank, shares, generator,
            window=frames * mel.slices,
        )  # fmt: skip
        heard = sounds.float()[:, None]  # [B, 1]
        units = self.units(windows.motion) * heard[..., None]  # zero units are lips at rest
        return {
            "rows": narrow_bands(rows, mel, recipe.narrow, generator).contiguous(),
            "units": units[..., list(columns)],
            "closed": self.closed(units),
            "phones": torch.where(sounds[:, None], phones, NO_PHONE),
            "inside": windows.inside,
            "present": windows.present,
        }

    def with_powers(
        self, scenes: Sequence[Scene], symbols: Sequence[str], shard: Shard = WHOLE
    ) -> list[Scene]:
        """Give scenes their powers, which are computed if they are not cached yet.

        A process computes the powers of its shard first, so several share the work.
        symbols: the phones that are told apart.
        """
        for index in shard.rows(len(scenes)):
            self._powers(scenes[index])
        return [
            replace(
                scene,
                features=VoicePowers(
                    self._powers(scene),
                    tuple(SEGMENTS.starts(scene.frames)),
                    index % 2,
                    phones_of(scene, symbols),
                ),
            )
            for index, scene in enumerate(scenes)
        ]

    def bank(self, scenes: Sequence[Scene]) -> Bank:
        """Disturbances for scenes with powers."""
        mel = self.front_end.config
        voices: tuple[list[Tensor], list[Tensor]] = ([], [])
        for scene in scenes:
            assert isinstance(scene.features, VoicePowers)
            powers = torch.unflatten(scene.features.voice(), -1, (mel.slices, mel.bands))
            voices[scene.features.group].append(powers.flatten(0, 1))
        return make_bank(self.front_end, voices, SEGMENTS.frames * mel.slices)

    def _powers(self, scene: Scene) -> NDArray[np.float16]:
        data = _data_of(scene)
        path = self._folder(data) / f"{data.name}.npy"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with write_atomically(path) as draft, draft.open("wb") as file:
                np.save(file, self._computed(data))
            logger.info("computed powers of scene %s", data.name)
        return np.load(path, mmap_mode="r")

    def _folder(self, data: SceneData) -> Path:
        facts = [self.extractor.digest("speech"), VERSIONS, REVISION]
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        return data.files.audio.parent / FOLDER / f"voices-{digest[:DIGITS]}"

    @torch.no_grad()
    def _computed(self, data: SceneData) -> NDArray[np.float16]:
        """Powers of all segments and versions, [S, V, T, A / 2 + 1]."""
        name = int.from_bytes(hashlib.sha256(data.name.encode()).digest()[:8])
        rng = np.random.default_rng([REVISION, name])
        frames = min(SEGMENTS.frames, data.frames)
        result = []
        for start in SEGMENTS.starts(data.frames):
            channels = self._channels(data, start, frames)
            level = self._level(self._of(channels[1], 1, frames)).expand(frames, 1)
            for version in range(VERSIONS):
                own = in_room(channels[0], rng) if version else channels[0]
                rows = torch.unflatten(self._of(own, 0, frames), 0, (frames, -1)).flatten(1)
                result.append(torch.cat([rows, level], dim=1).numpy())
        stacked = np.stack(result).astype(np.float16)  # [S * V, T, W]
        return stacked.reshape(-1, VERSIONS, *stacked.shape[1:])

    def _level(self, powers: Tensor) -> Tensor:
        """Level of a channel, dB, as the front end measures it: [S, M] -> []."""
        loudness = powers.exp().sum(-1) / (self.front_end.config.transform // 2 + 1)
        count = max(1, len(loudness) // 10)
        return (10 * loudness.topk(count).values.mean().log10()).clamp(min=QUIET)

    def _of(self, channel: Channel, number: int, frames: int) -> Tensor:
        """Powers of a channel [N] at 16 kHz, the person's (0) or the partner's: [S, M]."""
        statistics = self.extractor.statistics
        normalised = torch.from_numpy(channel).float() - statistics.audio_mean[number]
        normalised = (normalised / statistics.audio_std)[None]
        return log_powers(self.front_end, normalised, frames * self.front_end.config.slices)[0]

    def _channels(self, data: SceneData, start: int, frames: int) -> list[Channel]:
        """Both channels of some frames at 16 kHz, [N] each."""
        audio = torch.from_numpy(data.samples(start, start + frames))[None]
        return list(self.front_end.resample(audio).numpy())


def symbols_of(scenes: Sequence[Scene]) -> tuple[str, ...]:
    """Phones that occur in the scenes; none where scenes have no phones."""
    return tuple(sorted({phone.symbol for scene in scenes for phone in _phones(scene)}))


def phones_of(scene: Scene, symbols: Sequence[str]) -> NDArray[np.int64]:
    """Number of the phone in the middle of each frame, [T]."""
    numbers = {symbol: number for number, symbol in enumerate(symbols)}
    result = np.full(scene.frames, NO_PHONE)
    times = (np.arange(scene.frames) + 0.5) / FRAME_RATE
    for phone in _phones(scene):
        first, last = np.searchsorted(times, [phone.start, phone.end])
        result[first:last] = numbers.get(phone.symbol, NO_PHONE)
    return result


def _phones(scene: Scene) -> Sequence[TimedPhone]:
    data = _data_of(scene)
    path = data.files.audio.with_name(f"{data.name}{PHONES}")
    return read_phones(path) if path.is_file() else ()


def _data_of(scene: Scene) -> SceneData:
    assert isinstance(scene.motion, StoredMotion)
    return scene.motion.data


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
