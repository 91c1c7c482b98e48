"""A clip in, motion out: the door of this room.

Letters: n samples at 48 kHz, T frames, K key poses, N takes.
Whatever is the same in every step and for every take is worked out once: features, conditions,
keys and values. Each take has a generator of its own, on the CPU whatever the device, so the same
request gives the same motion whatever runs beside it.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from models.motion.denoiser import KEY_FRAMES, BodyDenoiser, Denoiser, load_body, load_face
from models.motion.diffusion import ddim_sample, guided, spacing_for
from models.motion.guide import Guide, generate, load_guide
from models.motion.lips import LipRegressor, lip_geometry, lip_rows, load_lips
from models.motion.speech import (
    FRAME_RATE,
    SAMPLE_RATE,
    SAMPLES_PER_FRAME,
    FrontEnd,
    between,
    load_speech,
)
from models.motion.statistics import Statistics, load_statistics
from models.motion.tokenizer import Tokenizer, load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Generator

    from models.motion.denoiser import Condition
    from models.motion.diffusion import Denoise, TimestepSchedule

    Progress = Callable[[str, float], None]  # stage, share of it that is done

SHORTEST_FRAMES = 120  # shorter clips are filled up with silence: no network was trained on less
SPEECH_SHARE = 0.6  # of the stage "speech", where the face denoiser hears lips, too
LIPS = "lips.safetensors"  # only people whose face denoiser hears lips have it


class MotionError(ValueError):
    """A clip or a request that these networks cannot serve: a sentence for its owner."""


@dataclass(frozen=True)
class Motion:
    """One take, float32, on the CPU."""

    face: Tensor  # [T, 256] face codes
    pose: Tensor  # [T, 104] joint angles in rad, and a few lengths


@dataclass(frozen=True)
class Sampling:
    """How takes are drawn."""

    seeds: tuple[int, ...]  # one a take
    steps: int
    guidance_face: float
    guidance_body: float
    diversity: float  # top-p of the guide

    def __post_init__(self) -> None:
        if not self.seeds:
            raise MotionError("no seed was given; a take needs one")
        if not 1 <= self.steps <= 1000:
            raise MotionError(f"steps must be 1 to 1000, got {self.steps}")
        if not 0 < self.diversity <= 1:
            raise MotionError(f"diversity must be above 0 and at most 1, got {self.diversity}")


@dataclass(frozen=True)
class ClipFeatures:
    """A clip as the networks hear it: made once, for all takes."""

    clip_frames: int
    frames: int  # T, filled up with silence where the clip is shorter than networks take
    features: Tensor  # [1, L, A]
    with_lips: Tensor  # [1, L, A + lips]: what the face hears

    @property
    def key_poses(self) -> int:
        """K."""
        return -(-self.frames // KEY_FRAMES)


@dataclass(frozen=True)
class Networks:
    """A person's networks, on one device."""

    speech: FrontEnd
    lips: LipRegressor | None
    face: Denoiser
    body: BodyDenoiser
    guide: Guide
    tokenizer: Tokenizer
    statistics: Statistics


def take_seed(seed: int, take: int) -> int:
    """The seed of a take, counted from 1: those of near seeds are as far apart as any."""
    digest = hashlib.sha256(f"{seed}/{take}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1  # torch takes 63 bits


def take_generators(sampling: Sampling) -> list[Generator]:
    """One for each take, on the CPU whatever the device."""
    return [torch.Generator().manual_seed(seed) for seed in sampling.seeds]


def _untold(_stage: str, _share: float) -> None:
    """Progress that nobody asked for."""


class Animator:
    """A person's motion networks, ready to be used again and again."""

    def __init__(self, networks: Networks, *, device: torch.device) -> None:
        self.networks, self.device = networks, device
        self.max_frames = _longest(networks)

    @property
    def max_seconds(self) -> float:
        """The longest clip that the networks take."""
        return self.max_frames / FRAME_RATE

    @torch.inference_mode()
    def animate(
        self,
        audio: Tensor,  # [n, 2] in [-1, 1]
        sampling: Sampling,
        *,
        progress: Progress = _untold,
    ) -> list[Motion]:
        """One motion for each seed, T = ceil(n / 1600) frames each.

        An exception from `progress` ends the work. MotionError for a clip that is empty or too
        long, ValueError for another shape.
        """
        heard = self.extract(audio, progress=progress)
        generators = take_generators(sampling)
        faces = self.faces(heard, sampling, generators, progress=progress)
        keys = self.keys(heard, sampling, generators, progress=progress)
        poses = self.poses(heard, keys, sampling, generators, progress=progress)
        return [Motion(face.cpu(), pose.cpu()) for face, pose in zip(faces, poses, strict=True)]

    @torch.inference_mode()
    def extract(self, audio: Tensor, *, progress: Progress = _untold) -> ClipFeatures:
        """What is the same for every take of a clip [n, 2]. Raises as `animate`.

        `faces`, `keys` and `poses` are called in this order, with the same generators: each goes on
        where the one before ended.
        """
        frames = self._frames(audio)
        padded = max(frames, SHORTEST_FRAMES)
        sound = self._prepared(audio, padded)
        progress("speech", 0.0)
        heard_share = 1.0 if self.networks.lips is None else SPEECH_SHARE
        features = self.networks.speech(
            sound, progress=lambda share: progress("speech", heard_share * share)
        )  # [1, L, A]
        with_lips = self._with_lips(features, sound, progress)
        progress("speech", 1.0)
        return ClipFeatures(frames, padded, features, with_lips)

    def _frames(self, audio: Tensor) -> int:
        if audio.ndim != 2 or audio.shape[1] != 2:
            raise ValueError(f"audio must be [samples, 2], got {list(audio.shape)}")
        frames = -(-len(audio) // SAMPLES_PER_FRAME)
        if frames == 0:
            raise MotionError("the clip has no samples; send a recording")
        if frames > self.max_frames:
            seconds = math.ceil(100 * len(audio) / SAMPLE_RATE) / 100  # never told as the limit
            raise MotionError(
                f"the clip is {seconds:.2f} s long; this person's networks take "
                f"{self.max_seconds:g} s"
            )
        return frames

    def _prepared(self, audio: Tensor, frames: int) -> Tensor:
        """Filled up with silence to whole frames, normalised: [n, 2] -> [1, 1600 T, 2]."""
        missing = frames * SAMPLES_PER_FRAME - len(audio)
        filled = functional.pad(audio.to(self.device).float(), (0, 0, 0, missing))
        return self.networks.statistics.normalised_audio(filled)[None]

    def _with_lips(self, features: Tensor, sound: Tensor, progress: Progress) -> Tensor:
        """What the face hears: features [1, L, A] with lips behind them where there are any."""
        if self.networks.lips is None:
            return features
        told = between(lambda share: progress("speech", share), SPEECH_SHARE, 1.0)
        geometry = lip_geometry(self.networks.lips, sound, progress=told)
        return torch.cat([features, lip_rows(geometry, features.shape[1])], dim=-1)

    @torch.inference_mode()
    def faces(
        self,
        heard: ClipFeatures,
        sampling: Sampling,
        generators: list[Generator],
        *,
        progress: Progress = _untold,
    ) -> Tensor:
        """Face codes of the clip's own frames, [N, T, 256]."""
        network = self.networks.face
        condition = network.guided_condition(network.tokens(heard.with_lips), heard.frames)
        noise = self.face_noise(heard, generators)
        space = spacing_for(sampling.steps)

        def draw(some: slice, told: Callable[[float], None]) -> Tensor:
            both = denoising(network, condition)
            return _sampled(both, noise[some], sampling.guidance_face, space, told)

        codes = batched_within_memory(draw, len(noise), lambda share: progress("face", share))
        return self.networks.statistics.face(codes)[:, : heard.clip_frames]

    def face_noise(self, heard: ClipFeatures, generators: list[Generator]) -> Tensor:
        """What faces begin as; drawn and put away, it leaves the generators as `faces` does."""
        channels = self.networks.face.config.channels
        return _noise(generators, heard.frames, channels, self.device)

    @torch.inference_mode()
    def keys(
        self,
        heard: ClipFeatures,
        sampling: Sampling,
        generators: list[Generator],
        *,
        progress: Progress = _untold,
    ) -> Tensor:
        """Normalised key poses [N, K, 104]; each take is drawn alone, so it never depends on how
        many others there are.
        """
        guide, tokenizer = self.networks.guide, self.networks.tokenizer
        condition = guide.condition(heard.features)
        takes = len(generators)
        tokens = [
            generate(
                guide,
                condition,
                keys=heard.key_poses,
                depth=tokenizer.config.depth,
                top_p=sampling.diversity,
                generators=[generator],
                progress=lambda share, done=take: progress("guide", (done + share) / takes),  # type: ignore[misc]
            )
            for take, generator in enumerate(generators)
        ]
        return tokenizer.decode(torch.cat(tokens))

    @torch.inference_mode()
    def poses(
        self,
        heard: ClipFeatures,
        keys: Tensor,  # [N, K, 104] normalised
        sampling: Sampling,
        generators: list[Generator],
        *,
        progress: Progress = _untold,
    ) -> Tensor:
        """Poses of the clip's own frames, [N, T, 104]."""
        network = self.networks.body
        condition = network.guided_condition(network.tokens(heard.features), heard.frames)
        noise = _noise(generators, heard.frames, network.config.channels, self.device)
        space = spacing_for(sampling.steps)

        def draw(some: slice, told: Callable[[float], None]) -> Tensor:
            led = network.with_keys(condition, network.guided_key_tokens(keys[some]))
            both = denoising(network, led)
            return _sampled(both, noise[some], sampling.guidance_body, space, told)

        poses = batched_within_memory(draw, len(noise), lambda share: progress("body", share))
        return self.networks.statistics.pose(poses)[:, : heard.clip_frames]


def batched_within_memory(
    draw: Callable[[slice, Callable[[float], None]], Tensor],
    takes: int,
    progress: Callable[[float], None],
) -> Tensor:
    """Takes drawn all at once, or, where a GPU's memory is too small, in parts that it holds.

    draw: some of the takes, telling its own progress. Takes do not know of each other, so a take is
    the same in any part. torch.OutOfMemoryError where it does not hold a single one.
    """
    parts: list[Tensor] = []
    done, size = 0, takes
    while done < takes:
        some = slice(done, min(done + size, takes))
        count = some.stop - done
        try:
            parts.append(
                draw(some, lambda share, first=done, n=count: progress((first + share * n) / takes))  # type: ignore[misc]
            )
        except torch.OutOfMemoryError:
            if count == 1:
                raise
            size = count // 2
        else:
            done += count
            continue
        torch.cuda.empty_cache()  # here, where the error no longer holds what was drawn
    return torch.cat(parts)


def denoising(network: Denoiser, condition: Condition) -> Denoise:
    """A network with its condition as a function of the noisy motion and the timestep."""

    def denoise(x: Tensor, t: int) -> Tensor:
        rows = len(condition.hidden)
        return network(x, torch.full((rows,), t, device=x.device), condition)

    return denoise


def _sampled(
    both: Denoise,
    noise: Tensor,
    scale: float,
    space: TimestepSchedule,
    progress: Callable[[float], None],
) -> Tensor:
    return ddim_sample(guided(both, scale), noise, space, progress=progress)


def _noise(generators: list[Generator], frames: int, channels: int, device: torch.device) -> Tensor:
    """[N, T, C], each take from its own generator; drawn channel by channel, as the reference."""
    drawn = [torch.randn(channels, frames, generator=generator) for generator in generators]
    return torch.stack(drawn).transpose(1, 2).contiguous().to(device)


def _longest(networks: Networks) -> int:
    """The most frames for which rows of speech and key poses fit every network."""
    rows = min(
        network.config.longest_rows for network in (networks.face, networks.body, networks.guide)
    )
    frames = networks.body.config.longest_keys * KEY_FRAMES
    while networks.speech.rows(frames) > rows:
        frames -= 1
    return frames


def load_animator(person_folder: Path, *, device: torch.device) -> Animator:
    """The motion networks of a person directory. CheckpointError for one that is not whole."""

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
    )
    return Animator(networks, device=device)
