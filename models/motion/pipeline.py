"""Audio to motion: features, face, key poses, body.

Letters: n samples at 48 kHz, T frames, K key poses, N takes.
Features, conditions, keys and values are the same in every step and for every take, so they are
computed once. Each take has its own generator, always on the CPU, so that a request gives the same
motion however takes and jobs are batched.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from contracts.errors import InputError
from contracts.registry import UnknownName
from contracts.samplers import DEFAULT_SAMPLER, SAMPLERS
from models.motion.denoiser import KEY_FRAMES, BodyDenoiser, Denoiser, load_body, load_face
from models.motion.diffusion import guided
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
    from models.motion.diffusion import Denoise

    Progress = Callable[[str, float], None]  # (stage, fraction 0..1)

SHORTEST_FRAMES = 120  # shorter clips are padded with silence: no network was trained on less
SPEECH_SHARE = 0.6  # of the stage "speech", for people with lip features
LIPS = "lips.safetensors"  # optional: lip features are an input of the face denoiser


class MotionError(InputError):
    """A clip or a request that the networks do not support; the message is for its owner."""


@dataclass(frozen=True)
class Motion:
    """One take, float32, on the CPU."""

    face: Tensor  # [T, 256] face codes
    pose: Tensor  # [T, 104] joint angles in rad, and a few lengths


@dataclass(frozen=True)
class Sampling:
    """Options of sampling."""

    seeds: tuple[int, ...]  # one for each take
    steps: int
    guidance_face: float
    guidance_body: float
    diversity: float  # top-p of the guide
    sampler: str = DEFAULT_SAMPLER  # a name in `contracts.samplers`
    extra: tuple[tuple[str, Any], ...] = ()  # other motion fields of the request, by name

    def __post_init__(self) -> None:
        if not self.seeds:
            raise MotionError("seeds: empty; give one for each take")
        if not 1 <= self.steps <= 1000:
            raise MotionError(f"steps: must be 1 to 1000 ({self.steps})")
        if not 0 < self.diversity <= 1:
            raise MotionError(f"diversity: must be above 0 and at most 1 ({self.diversity})")
        try:
            SAMPLERS[self.sampler]
        except UnknownName as error:
            raise MotionError(f"sampler: {error}") from error


@dataclass(frozen=True)
class ClipFeatures:
    """Features of a clip, computed once for all takes."""

    clip_frames: int
    frames: int  # T, padded with silence where the clip is shorter than `SHORTEST_FRAMES`
    speech: Tensor  # [1, L, A]
    with_lips: Tensor  # [1, L, A + lips], input of the face denoiser

    @property
    def key_poses(self) -> int:
        """Number of key poses, K."""
        return -(-self.frames // KEY_FRAMES)


@dataclass(frozen=True)
class Networks:
    """The networks of a person, on one device."""

    speech: FrontEnd
    lips: LipRegressor | None
    face: Denoiser
    body: BodyDenoiser
    guide: Guide
    tokenizer: Tokenizer
    statistics: Statistics


def take_seed(seed: int, take: int) -> int:
    """Return the seed of a take, counted from 1; a hash, so that near seeds are independent."""
    digest = hashlib.sha256(f"{seed}/{take}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1  # torch accepts 63 bits


def take_generators(sampling: Sampling) -> list[Generator]:
    """Return one generator for each take, always on the CPU."""
    return [torch.Generator().manual_seed(seed) for seed in sampling.seeds]


def no_progress(_stage: str, _share: float) -> None:
    """Ignore progress."""


class Animator:
    """The motion networks of a person, for any number of clips."""

    def __init__(self, networks: Networks, *, device: torch.device) -> None:
        self.networks, self.device = networks, device
        self.max_frames = _longest(networks)

    @property
    def max_seconds(self) -> float:
        """Longest clip that the networks accept."""
        return self.max_frames / FRAME_RATE

    @torch.inference_mode()
    def animate(
        self,
        audio: Tensor,  # [n, 2] in [-1, 1]
        sampling: Sampling,
        *,
        progress: Progress = no_progress,
    ) -> list[Motion]:
        """Return one motion for each seed, T = ceil(n / 1600) frames each.

        An exception from `progress` ends the work.
        Raises: MotionError: for an empty clip, or one that is too long. ValueError: for another
        shape.
        """
        features = self.extract(audio, progress=progress)
        generators = take_generators(sampling)
        faces = self.faces(features, sampling, generators, progress=progress)
        keys = self.keys(features, sampling.diversity, generators, progress=progress)
        poses = self.poses(features, keys, sampling, generators, progress=progress)
        return [Motion(face.cpu(), pose.cpu()) for face, pose in zip(faces, poses, strict=True)]

    @torch.inference_mode()
    def extract(self, audio: Tensor, *, progress: Progress = no_progress) -> ClipFeatures:
        """Compute the features of a clip [n, 2]. Raises as `animate`.

        Call `faces`, `keys` and `poses` in this order with the same generators: each continues the
        random sequence of the one before.
        """
        frames = self._frames(audio)
        padded = max(frames, SHORTEST_FRAMES)
        normalised = self._normalised(audio, padded)
        progress("speech", 0.0)
        speech_share = 1.0 if self.networks.lips is None else SPEECH_SHARE
        speech = self.networks.speech(
            normalised, progress=lambda share: progress("speech", speech_share * share)
        )  # [1, L, A]
        with_lips = self._with_lips(speech, normalised, progress)
        progress("speech", 1.0)
        return ClipFeatures(frames, padded, speech, with_lips)

    def _frames(self, audio: Tensor) -> int:
        if audio.ndim != 2 or audio.shape[1] != 2:
            raise ValueError(f"audio must be [samples, 2], got {list(audio.shape)}")
        frames = -(-len(audio) // SAMPLES_PER_FRAME)
        if frames == 0:
            raise MotionError("the clip has no samples; send a recording")
        if frames > self.max_frames:
            seconds = (
                math.ceil(100 * len(audio) / SAMPLE_RATE) / 100
            )  # rounded up, so never equal to the limit
            raise MotionError(
                f"the clip is {seconds:.2f} s long; this person's networks take "
                f"{self.max_seconds:g} s"
            )
        return frames

    def _normalised(self, audio: Tensor, frames: int) -> Tensor:
        """Pad with silence to whole frames and normalise: [n, 2] -> [1, 1600 T, 2]."""
        missing = frames * SAMPLES_PER_FRAME - len(audio)
        padded = functional.pad(audio.to(self.device).float(), (0, 0, 0, missing))
        return self.networks.statistics.normalised_audio(padded)[None]

    def _with_lips(self, speech: Tensor, audio: Tensor, progress: Progress) -> Tensor:
        """Append lip features, if the person has them: [1, L, A] -> [1, L, A + lips]."""
        if self.networks.lips is None:
            return speech
        lip_progress = between(lambda share: progress("speech", share), SPEECH_SHARE, 1.0)
        geometry = lip_geometry(self.networks.lips, audio, progress=lip_progress)
        return torch.cat([speech, lip_rows(geometry, speech.shape[1])], dim=-1)

    @torch.inference_mode()
    def faces(
        self,
        features: ClipFeatures,
        sampling: Sampling,
        generators: list[Generator],
        *,
        progress: Progress = no_progress,
    ) -> Tensor:
        """Sample face codes [N, T, 256]; T without the padding."""
        network = self.networks.face
        condition = network.guided_condition(network.tokens(features.with_lips), features.frames)
        noise = self.face_noise(features, generators)

        def sample(takes: slice, report: Callable[[float], None]) -> Tensor:
            both = denoising(network, condition)
            return _sampled(both, noise[takes], sampling.guidance_face, sampling, report)

        codes = batched_within_memory(sample, len(noise), lambda share: progress("face", share))
        return self.networks.statistics.face(codes)[:, : features.clip_frames]

    def face_noise(self, features: ClipFeatures, generators: list[Generator]) -> Tensor:
        """Return the initial noise of the face denoiser, [N, T, 256].

        Advances the generators exactly as `faces` does, so that a caller can skip `faces`.
        """
        channels = self.networks.face.config.channels
        return _noise(generators, features.frames, channels, self.device)

    @torch.inference_mode()
    def keys(
        self,
        features: ClipFeatures,
        diversity: float,
        generators: list[Generator],
        *,
        progress: Progress = no_progress,
    ) -> Tensor:
        """Sample normalised key poses [N, K, 104], one take at a time.

        A take thus does not depend on the number of takes.
        """
        guide, tokenizer = self.networks.guide, self.networks.tokenizer
        condition = guide.condition(features.speech)
        takes = len(generators)
        tokens = [
            generate(
                guide,
                condition,
                keys=features.key_poses,
                depth=tokenizer.config.depth,
                top_p=diversity,
                generators=[generator],
                progress=lambda share, done=take: progress("guide", (done + share) / takes),  # type: ignore[misc]
            )
            for take, generator in enumerate(generators)
        ]
        return tokenizer.decode(torch.cat(tokens))

    @torch.inference_mode()
    def poses(
        self,
        features: ClipFeatures,
        keys: Tensor,  # [N, K, 104] normalised
        sampling: Sampling,
        generators: list[Generator],
        *,
        progress: Progress = no_progress,
    ) -> Tensor:
        """Sample poses [N, T, 104]; T without the padding."""
        network = self.networks.body
        condition = network.guided_condition(network.tokens(features.speech), features.frames)
        noise = _noise(generators, features.frames, network.config.channels, self.device)

        def sample(takes: slice, report: Callable[[float], None]) -> Tensor:
            keyed = network.with_keys(condition, network.guided_key_tokens(keys[takes]))
            both = denoising(network, keyed)
            return _sampled(both, noise[takes], sampling.guidance_body, sampling, report)

        poses = batched_within_memory(sample, len(noise), lambda share: progress("body", share))
        return self.networks.statistics.pose(poses)[:, : features.clip_frames]


def batched_within_memory(
    sample: Callable[[slice, Callable[[float], None]], Tensor],
    takes: int,
    progress: Callable[[float], None],
) -> Tensor:
    """Sample all takes at once, or in smaller batches when GPU memory is too small.

    sample: samples a slice of the takes and reports its own progress. Takes are independent, so a
    take is the same in any batch.
    Raises: torch.OutOfMemoryError: when a single take does not fit.
    """
    parts: list[Tensor] = []
    done, size = 0, takes
    while done < takes:
        batch = slice(done, min(done + size, takes))
        count = batch.stop - done
        try:
            parts.append(
                sample(
                    batch,
                    lambda share, first=done, n=count: progress((first + share * n) / takes),  # type: ignore[misc]
                )
            )
        except torch.OutOfMemoryError:
            if count == 1:
                raise
            size = count // 2
        else:
            done += count
            continue
        torch.cuda.empty_cache()  # outside `except`, where the error still refers to tensors
    return torch.cat(parts)


def denoising(network: Denoiser, condition: Condition) -> Denoise:
    """Return the network with its condition as a function of the noisy motion and the timestep."""

    def denoise(x: Tensor, t: int) -> Tensor:
        rows = len(condition.hidden)
        return network(x, torch.full((rows,), t, device=x.device), condition)

    return denoise


def _sampled(
    both: Denoise,
    noise: Tensor,
    scale: float,
    sampling: Sampling,
    progress: Callable[[float], None],
) -> Tensor:
    sampler = SAMPLERS[sampling.sampler]
    return sampler.sample(guided(both, scale), noise, sampling.steps, progress=progress)


def _noise(generators: list[Generator], frames: int, channels: int, device: torch.device) -> Tensor:
    """Return noise [N, T, C], one generator for each take, in the reference's channel order."""
    noise = [torch.randn(channels, frames, generator=generator) for generator in generators]
    return torch.stack(noise).transpose(1, 2).contiguous().to(device)


def _longest(networks: Networks) -> int:
    """Return the most frames whose speech rows and key poses fit every network."""
    rows = min(
        network.config.longest_rows for network in (networks.face, networks.body, networks.guide)
    )
    frames = networks.body.config.longest_keys * KEY_FRAMES
    while networks.speech.rows(frames) > rows:
        frames -= 1
    return frames


def load_animator(person_folder: Path, *, device: torch.device) -> Animator:
    """Load the motion networks of a person. Raises: CheckpointError: for damaged files."""

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
