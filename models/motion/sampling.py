"""Sampling of motion for a clip that the networks take whole: features, face, key poses, body.

Letters: n samples at 48 kHz, T frames, K key poses, N takes.
Features, conditions, keys and values are the same in every step and for every take, so they are
computed once. Each take has its own generator, always on the CPU, so that a request gives the same
motion however takes and jobs are batched.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from contracts.errors import InputError
from contracts.registry import UnknownName
from contracts.samplers import DEFAULT_SAMPLER, SAMPLERS, STUDENT
from models.motion.denoiser import (
    KEY_FRAMES,
    BodyDenoiser,
    Condition,
    Denoiser,
    Student,
)
from models.motion.diffusion import guided
from models.motion.execution.beside import Beside, half_of_threads
from models.motion.execution.moving import Moving, Part, Sections
from models.motion.guide import Guide, generate
from models.motion.lips import LipRegressor, lip_geometry, lip_rows, rested
from models.motion.speech import (
    FRAME_RATE,
    SAMPLE_RATE,
    SAMPLES_PER_FRAME,
    FrontEnd,
    between,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from torch import Generator

    from models.motion.diffusion import Denoise
    from models.motion.execution.lanes import Call, Lane
    from models.motion.lips import LipUnits
    from models.motion.statistics import Statistics
    from models.motion.tokenizer import Tokenizer

    Progress = Callable[[str, float], None]  # (stage, fraction 0..1)
    Face = TypeVar("Face")
    Body = TypeVar("Body")

SHORTEST_FRAMES = 120  # shorter clips are padded with silence: no network was trained on less
NO_STUDENT = (
    "this person has no student; make one with `python -m training distill`, or choose another "
    "sampler"
)
SPEECH_SHARE = 0.6  # of the stage "speech", for people with lip features


class MotionError(InputError):
    """A clip or a request that the networks do not support; the message is for its owner."""


@dataclass(frozen=True)
class Motion:
    """One take, float32, on the CPU."""

    face: Tensor  # [T, 256] face codes
    pose: Tensor  # [T, 104] joint angles in rad, and a few lengths
    lips: Tensor | None = None  # [T, U + 1] of the lip regressor, for finishing

    def __getitem__(self, frames: slice) -> Motion:
        """Cut frames."""
        lips = None if self.lips is None else self.lips[frames]
        return Motion(self.face[frames], self.pose[frames], lips)


def joined(parts: Sequence[Motion]) -> Motion:
    """Return one motion of parts in a row."""
    lips = [part.lips for part in parts if part.lips is not None]
    return Motion(
        torch.cat([part.face for part in parts]),
        torch.cat([part.pose for part in parts]),
        torch.cat(lips) if lips else None,
    )


@dataclass(frozen=True)
class Sampling:
    """Options of sampling."""

    seeds: tuple[int, ...]  # one for each take
    steps: int
    guidance_face: float
    guidance_body: float
    diversity: float  # top-p of the guide
    sampler: str = DEFAULT_SAMPLER  # a name in `contracts.samplers`
    guidance_until: int = 0  # timestep below which a step takes one pass
    extra: tuple[tuple[str, Any], ...] = ()  # other motion fields of the request, by name

    def __post_init__(self) -> None:
        if not self.seeds:
            raise MotionError("seeds: empty; give one for each take")
        if not 1 <= self.steps <= 1000:
            raise MotionError(f"steps: must be 1 to 1000 ({self.steps})")
        if not 0 <= self.guidance_until < 1000:
            raise MotionError(f"guidance_until: must be 0 to 999 ({self.guidance_until})")
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
    lips: Tensor | None = None  # [T, U + 1] of the lip regressor of face units
    first: int = 0  # position of the first frame, for the face
    lap: int = 0  # frames after which positions begin again at 0; 0: they all do in each call

    @property
    def key_poses(self) -> int:
        """Number of key poses, K."""
        return -(-self.frames // KEY_FRAMES)


@dataclass(frozen=True)
class Start:
    """Start of the sampling of one network."""

    noise: Tensor  # [N, T, C]
    lane: Lane | None = None  # of a window; None: every call predicts all frames


class BodyStart(NamedTuple):
    """Start of the sampling of the body."""

    keys: Tensor  # [N, K, 104] normalised key poses
    start: Start


class SegmentMotion(NamedTuple):
    """Normalised motion of a segment, padding included."""

    face: Tensor  # [N, T, 256]
    pose: Tensor  # [N, T, 104]


class Segment:
    """A part of a clip that is sampled at once: all of it, or a window."""

    def __init__(
        self,
        features: ClipFeatures,
        face: Start,
        start_body: Callable[[Progress], BodyStart],
        generators: Sequence[Generator],
    ) -> None:
        """start_body: runs the guide; it continues the random sequence of the generators."""
        self.features, self.face = features, face
        self._start_body, self._generators = start_body, generators
        self._body: BodyStart | None = None

    @torch.inference_mode()  # it may be called in another thread
    def body(self, progress: Progress) -> BodyStart:
        """Return the start of the body, computed once, also if an earlier try was ended."""
        if self._body is None:
            states = [generator.get_state() for generator in self._generators]
            try:
                self._body = self._start_body(progress)
            except BaseException:
                for generator, state in zip(self._generators, states, strict=True):
                    generator.set_state(state)
                raise
        return self._body


@dataclass(frozen=True)
class Students:
    """Networks of the sampler `student`."""

    face: Student[Denoiser]
    body: Student[BodyDenoiser]


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
    students: Students | None = None
    lip_units: LipUnits | None = None


def take_seed(seed: int, take: int) -> int:
    """Return the seed of a take, counted from 1; a hash, so that near seeds are independent."""
    digest = hashlib.sha256(f"{seed}/{take}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1  # torch accepts 63 bits


def take_generators(sampling: Sampling) -> list[Generator]:
    """Return one generator for each take, always on the CPU."""
    return [torch.Generator().manual_seed(seed) for seed in sampling.seeds]


def no_progress(_stage: str, _share: float) -> None:
    """Ignore progress."""


class MotionSampler:
    """The motion networks of a person."""

    def __init__(self, networks: Networks, *, device: torch.device) -> None:
        self.networks, self.device = networks, device
        self.max_frames = _longest(networks)

    @torch.inference_mode()
    def whole(
        self,
        audio: Tensor,  # [n, 2] in [-1, 1]
        sampling: Sampling,
        *,
        progress: Progress = no_progress,
    ) -> list[Motion]:
        """Return one motion for each seed, T = ceil(n / 1600) frames each, at most `max_frames`.

        An exception from `progress` ends the work.
        Raises: MotionError: for an empty clip, or one that is too long, or a student that the
        person does not have. ValueError: for another shape.
        """
        segment = self.whole_segment(audio, sampling, progress=progress)
        return self.clip_takes(segment, self.sample(segment, sampling, progress))

    def clip_takes(self, segment: Segment, motion: SegmentMotion) -> list[Motion]:
        """Return the motion of a clip that is one segment, without its padding."""
        stop, lips = segment.features.clip_frames, segment.features.lips
        return self.takes(motion, 0, stop, None if lips is None else lips[:stop])

    @torch.inference_mode()
    def whole_segment(
        self, audio: Tensor, sampling: Sampling, *, progress: Progress = no_progress
    ) -> Segment:
        """Return a clip as one segment. Raises: as `whole`."""
        self.students(sampling)
        features = self.extract(audio, progress=progress)
        generators = take_generators(sampling)

        def start_body(report: Progress) -> BodyStart:
            keys = self.keys(features, sampling.diversity, generators, progress=report)
            return BodyStart(keys, Start(self.body_noise(features, generators)))

        face = Start(self.face_noise(features, generators))
        return Segment(features, face, start_body, generators)

    @torch.inference_mode()
    def sample(self, segment: Segment, sampling: Sampling, progress: Progress) -> SegmentMotion:
        """Sample the motion of a segment."""
        features = segment.features

        def face(report: Progress) -> Tensor:
            return self.normalised_faces(
                features, sampling, segment.face.noise, lane=segment.face.lane, progress=report
            )

        def body(report: Progress) -> Tensor:
            keys, start = segment.body(report)
            return self.normalised_poses(
                features, keys, sampling, start.noise, lane=start.lane, progress=report
            )

        return SegmentMotion(*self.halves(face, body, sampling, progress))

    @torch.inference_mode()
    def takes(
        self, motion: SegmentMotion, start: int, stop: int, lips: Tensor | None = None
    ) -> list[Motion]:
        """Return frames [start, stop) of a segment, one motion for each take.

        lips: of these frames, which all takes share.
        """
        statistics = self.networks.statistics
        faces = statistics.face(motion.face[:, start:stop])
        poses = statistics.pose(motion.pose[:, start:stop])
        lips = None if lips is None else lips.cpu()
        return [
            Motion(face.cpu(), pose.cpu(), lips) for face, pose in zip(faces, poses, strict=True)
        ]

    def students(self, sampling: Sampling) -> Students | None:
        """Return the networks of the sampler `student`, or None for other samplers.

        Raises: MotionError: when the person has no student, or one for other options.
        """
        if sampling.sampler != STUDENT:
            return None
        students = self.networks.students
        if students is None:
            raise MotionError(f"sampler: {NO_STUDENT}")
        for name, given, made in (
            ("steps", sampling.steps, students.face.steps),
            ("guidance_face", sampling.guidance_face, students.face.guidance),
            ("guidance_body", sampling.guidance_body, students.body.guidance),
            ("guidance_until", sampling.guidance_until, 0),
        ):
            if given != made:
                raise MotionError(
                    f"{name}: the student of this person was made for {made:g} ({given:g}); "
                    "leave it out, or choose another sampler"
                )
        return students

    def halves(
        self,
        face: Callable[[Progress], Face],
        body: Callable[[Progress], Body],
        sampling: Sampling,
        progress: Progress,
    ) -> tuple[Face, Body]:
        """Return the results of both, computed beside each other on a CPU with several threads."""
        if not self._runs_halves(sampling):
            return face(progress), body(progress)
        with half_of_threads(), Beside(body) as beside:
            return face(progress), beside.result(progress)

    def _runs_halves(self, sampling: Sampling) -> bool:
        """Check whether the face is sampled beside guide and body, each with half of the threads.

        Results depend on the number of threads in their last digits, so DDIM, whose motion is that
        of earlier releases, keeps all of them.
        """
        return (
            self.device.type == "cpu"
            and torch.get_num_threads() > 1
            and sampling.sampler != DEFAULT_SAMPLER
        )

    @torch.inference_mode()
    def extract(self, audio: Tensor, *, progress: Progress = no_progress) -> ClipFeatures:
        """Compute the features of a clip [n, 2]. Raises as `whole`.

        Call `faces`, `keys` and `poses` in this order with the same generators: each continues the
        random sequence of the one before.
        """
        frames = self._frames(audio)
        padded = max(frames, SHORTEST_FRAMES)
        normalised = self._normalised(audio, padded)
        progress("speech", 0.0)
        speech = self._speech(normalised, progress)
        with_lips = self._with_lips(speech, normalised, padded, progress)
        progress("speech", 1.0)
        lips = self.lip_units(speech, normalised[0])
        return ClipFeatures(frames, padded, speech, with_lips, lips)

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
                f"{self.max_frames / FRAME_RATE:g} s"
            )
        return frames

    def _normalised(self, audio: Tensor, frames: int) -> Tensor:
        """Pad with silence to whole frames and normalise: [n, 2] -> [1, 1600 T, 2]."""
        missing = frames * SAMPLES_PER_FRAME - len(audio)
        padded = functional.pad(audio.to(self.device).float(), (0, 0, 0, missing))
        return self.networks.statistics.normalised_audio(padded)[None]

    def speech_rows(self, audio: Tensor, frames: int, progress: Progress = no_progress) -> Tensor:
        """Return the features of the last `frames` of some audio [n, 2], computed from all of it.

        n is a multiple of 1600. [1, L, A]
        """
        rows = self.networks.speech.rows(frames)
        normalised = self._normalised(audio, len(audio) // SAMPLES_PER_FRAME)
        return self._speech(normalised, progress)[:, -rows:]

    def lip_rows(
        self, speech: Tensor, audio: Tensor, frames: int, progress: Progress = no_progress
    ) -> Tensor:
        """Append the lip features of the last `frames` of some audio to features [1, L, A]."""
        normalised = self._normalised(audio, len(audio) // SAMPLES_PER_FRAME)
        return self._with_lips(speech, normalised, frames, progress)

    def lip_units(self, speech: Tensor, audio: Tensor) -> Tensor | None:
        """Regress lip units from speech rows [1, T, A] and their audio [1600 T, 2] -> [T, U + 1].

        None without a regressor.
        """
        network = self.networks.lip_units
        if network is None:
            return None
        return rested(network.lips(speech)[0], audio.to(speech.device))

    def _speech(self, audio: Tensor, progress: Progress) -> Tensor:
        """Return the features of normalised audio [1, 1600 T, 2] -> [1, L, A]."""
        share_of_stage = 1.0 if self.networks.lips is None else SPEECH_SHARE
        return self.networks.speech(
            audio, progress=lambda share: progress("speech", share_of_stage * share)
        )

    def _with_lips(self, speech: Tensor, audio: Tensor, frames: int, progress: Progress) -> Tensor:
        """Append lip features, if the person has them: [1, L, A] -> [1, L, A + lips]."""
        if self.networks.lips is None:
            return speech
        lip_progress = between(lambda share: progress("speech", share), SPEECH_SHARE, 1.0)
        geometry = lip_geometry(self.networks.lips, audio, progress=lip_progress)[:, -frames:]
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
        noise = self.face_noise(features, generators)
        codes = self.normalised_faces(features, sampling, noise, progress=progress)
        return self.networks.statistics.face(codes)[:, : features.clip_frames]

    @torch.inference_mode()
    def normalised_faces(
        self,
        features: ClipFeatures,
        sampling: Sampling,
        noise: Tensor,  # [N, T, 256]
        *,
        lane: Lane | None = None,
        progress: Progress = no_progress,
    ) -> Tensor:
        """Sample normalised face codes [N, T, 256] from their noise, padding included."""
        network, condition = self.face_condition(features, sampling, moved=lane is not None)

        def sample(takes: slice, report: Callable[[float], None]) -> Tensor:
            part = Part(condition, lane, takes, features.frames)
            denoise = denoising_part(network, part, sampling.guidance_face, sampling)
            return sampled(denoise, noise[takes], sampling, report)

        return batched_within_memory(sample, len(noise), lambda share: progress("face", share))

    def face_denoise(self, features: ClipFeatures, sampling: Sampling) -> Denoise:
        """Return the denoiser of face codes for a whole clip, with the guidance of the options."""
        network, condition = self.face_condition(features, sampling)
        part = Part(condition, None, slice(None), features.frames)
        return denoising_part(network, part, sampling.guidance_face, sampling)

    def face_condition(
        self, features: ClipFeatures, sampling: Sampling, *, moved: bool = False
    ) -> tuple[Denoiser, Condition | Sections]:
        """Return the network of face codes and its condition for a clip.

        moved: sections, for a window of a clip.
        """
        students = self.students(sampling)
        network = self.networks.face if students is None else students.face.network
        make = network.guided_condition if students is None else network.condition
        if not moved:
            return network, make(network.tokens(features.with_lips), features.frames)

        def section(rows: Tensor, call: Call) -> Condition:
            first = 0 if features.lap == 0 else (features.first + call.start) % features.lap
            return make(network.tokens(rows, first=first), call.stop - call.start, first=first)

        return network, Sections(features.with_lips, features.frames, section)

    def body_denoise(
        self, features: ClipFeatures, sampling: Sampling
    ) -> Callable[[Tensor], Denoise]:
        """Return the denoiser of poses for a clip, as a function of key poses [N, K, 104]."""
        network, with_keys = self.body_condition(features, sampling)

        def denoise(keys: Tensor) -> Denoise:
            part = Part(with_keys(keys), None, slice(None), features.frames)
            return denoising_part(network, part, sampling.guidance_body, sampling)

        return denoise

    def body_condition(
        self, features: ClipFeatures, sampling: Sampling, *, moved: bool = False
    ) -> tuple[BodyDenoiser, Callable[[Tensor], Condition | Sections]]:
        """Return the network of poses and its condition, a function of key poses [N, K, 104].

        moved: as in `face_condition`.
        """
        students = self.students(sampling)
        network = self.networks.body if students is None else students.body.network
        make = network.guided_condition if students is None else network.condition
        key_tokens = network.guided_key_tokens if students is None else network.key_tokens
        if not moved:
            plain = make(network.tokens(features.speech), features.frames)
            return network, lambda keys: network.with_keys(plain, key_tokens(keys))

        def section(keys: Tensor, rows: Tensor, call: Call) -> Condition:
            plain = make(network.tokens(rows), call.stop - call.start)
            own = keys[:, call.start // KEY_FRAMES : -(-call.stop // KEY_FRAMES)]
            return network.with_keys(plain, key_tokens(own))

        return network, lambda keys: Sections(
            features.speech, features.frames, partial(section, keys)
        )

    def face_noise(self, features: ClipFeatures, generators: list[Generator]) -> Tensor:
        """Return the initial noise of the face denoiser, [N, T, 256].

        Advances the generators exactly as `faces` does, so that a caller can skip `faces`.
        """
        channels = self.networks.face.config.channels
        return noise_of(generators, features.frames, channels, self.device)

    @torch.inference_mode()
    def keys(
        self,
        features: ClipFeatures,
        diversity: float,
        generators: list[Generator],
        *,
        progress: Progress = no_progress,
    ) -> Tensor:
        """Sample normalised key poses [N, K, 104]."""
        tokens = self.key_tokens(features, diversity, generators, progress=progress)
        return self.networks.tokenizer.decode(tokens)

    @torch.inference_mode()
    def key_tokens(
        self,
        features: ClipFeatures,
        diversity: float,
        generators: list[Generator],
        *,
        known: Tensor | None = None,  # [N, P, R] tokens of the first P key poses
        progress: Progress = no_progress,
    ) -> Tensor:
        """Sample tokens of key poses [N, K, R], one take at a time.

        A take thus does not depend on the number of takes.
        """
        guide, depth = self.networks.guide, self.networks.tokenizer.config.depth
        condition = guide.condition(features.speech)
        takes = len(generators)
        tokens = [
            generate(
                guide,
                condition,
                keys=features.key_poses,
                depth=depth,
                top_p=diversity,
                generators=[generator],
                known=None if known is None else known[take : take + 1],
                progress=lambda share, done=take: progress("guide", (done + share) / takes),  # type: ignore[misc]
            )
            for take, generator in enumerate(generators)
        ]
        return torch.cat(tokens)

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
        noise = self.body_noise(features, generators)
        poses = self.normalised_poses(features, keys, sampling, noise, progress=progress)
        return self.networks.statistics.pose(poses)[:, : features.clip_frames]

    def body_noise(self, features: ClipFeatures, generators: list[Generator]) -> Tensor:
        """Return the initial noise of the body denoiser, [N, T, 104]."""
        channels = self.networks.body.config.channels
        return noise_of(generators, features.frames, channels, self.device)

    @torch.inference_mode()
    def normalised_poses(
        self,
        features: ClipFeatures,
        keys: Tensor,  # [N, K, 104] normalised
        sampling: Sampling,
        noise: Tensor,  # [N, T, 104]
        *,
        lane: Lane | None = None,
        progress: Progress = no_progress,
    ) -> Tensor:
        """Sample normalised poses [N, T, 104] from their noise, padding included."""
        network, with_keys = self.body_condition(features, sampling, moved=lane is not None)

        def sample(takes: slice, report: Callable[[float], None]) -> Tensor:
            part = Part(with_keys(keys[takes]), lane, takes, features.frames)
            denoise = denoising_part(network, part, sampling.guidance_body, sampling)
            return sampled(denoise, noise[takes], sampling, report)

        return batched_within_memory(sample, len(noise), lambda share: progress("body", share))


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


def conditioned(
    network: Denoiser, condition: Condition, scale: float, sampling: Sampling
) -> Denoise:
    """Return the network with guidance, from a condition of `guided_condition`.

    A student has neither.
    """
    conditional = condition if sampling.sampler == STUDENT else condition.conditional()
    return with_guidance(
        denoising(network, condition), denoising(network, conditional), scale, sampling
    )


def denoising_part(network: Denoiser, part: Part, scale: float, sampling: Sampling) -> Denoise:
    """Return the network with guidance for takes of a clip or of a window of it."""
    if not isinstance(part.condition, Sections):
        return conditioned(network, part.condition, scale, sampling)
    moving = Moving(network, [part], 1 if sampling.sampler == STUDENT else 2)
    return with_guidance(moving.both, moving.conditional, scale, sampling)


def with_guidance(both: Denoise, conditional: Denoise, scale: float, sampling: Sampling) -> Denoise:
    """Return a denoiser with the guidance of the options; a student has none.

    both, conditional: as in `guided`.
    """
    if sampling.sampler == STUDENT:
        return both
    return guided(both, scale, conditional=conditional, until=sampling.guidance_until)


def sampled(
    denoise: Denoise, noise: Tensor, sampling: Sampling, progress: Callable[[float], None]
) -> Tensor:
    """Run the sampler of the options from noise [N, T, C]."""
    sampler = SAMPLERS[sampling.sampler]
    return sampler.sample(denoise, noise, sampling.steps, progress=progress)


def noise_of(
    generators: list[Generator], frames: int, channels: int, device: torch.device
) -> Tensor:
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
