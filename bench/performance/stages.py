"""The stages of one job, each alone, as the worker does them and as the plain code does.

Letters: n samples at 48 kHz, T frames, N frames of a batch, H and W pixels.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

import torch

from bench.networks import plain
from bench.performance.spread import measured
from models.motion.denoiser import KEY_FRAMES
from models.motion.diffusion import schedule_for
from models.motion.sampling import SHORTEST_FRAMES
from models.motion.speech import SAMPLES_PER_FRAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from bench.timing import Cost
    from jobs.request.model import GenerateRequest
    from models.motion.pipeline import Animator, Motion, Sampling
    from worker.pipeline.media.decode import Audio
    from worker.pipeline.persons import Person
    from worker.pipeline.plan import Performer, Plan
    from worker.pipeline.recording_outputs import Resources

    Frames = NDArray[np.uint8]

IMPORTS = """
from contracts.imports import quick_imports
with quick_imports():
    import torch, worker.pipeline.recording_outputs, models.avatar.loading
"""
LONGEST_SECONDS = 3600.0  # of a clip
PLAIN_FRAMES = 3  # the plain renderer takes a second a frame
ENCODED_FRAMES = 150  # that are in memory while they are encoded
PLACES = (0.0, 0.5, 1.0)  # tokens of the guide whose plain cost is measured, as a share of all


@dataclass
class Stages:
    """One recording and one request, with the parts that the stages hand on."""

    clip: Path
    request: GenerateRequest  # with a seed
    resources: Resources
    folder: Path  # temporary

    @cached_property
    def person(self) -> Person:
        """The person, loaded."""
        return self.resources.persons.get(self.request.person)

    @cached_property
    def performer(self) -> Performer:
        """The person with the plan of the request."""
        from worker.pipeline.plan import cast_of

        return cast_of(self.request, self.resources.persons.get).performers[0]

    @property
    def animator(self) -> Animator:
        """The motion networks of the person, with her finishing."""
        return cast("Animator", self.person.models.animator)

    @property
    def plan(self) -> Plan:
        """The request with all defaults."""
        return self.performer.plan

    @cached_property
    def audio(self) -> Audio:
        """The decoded clip."""
        return self.decode()

    @cached_property
    def motion(self) -> Motion:
        """The motion of the clip."""
        return self.animate()[0]

    @cached_property
    def frames(self) -> list[Frames]:
        """The first frames of the clip, in batches."""
        batches, count = [], 0
        for batch in self.batches(ENCODED_FRAMES):
            batches.append(batch)
            count += len(batch)
        return batches

    @property
    def count(self) -> int:
        """Frames of the clip, T."""
        return len(self.motion.face)

    def start(self) -> None:
        """Start an interpreter that imports what a worker needs."""
        subprocess.run([sys.executable, "-c", IMPORTS], check=True)

    def load(self) -> None:
        """Load the files of the person, and the kernels by a small frame."""
        from worker.pipeline.persons import PersonCache, load_models

        settings, device = self.resources.settings, self.resources.device
        load = partial(load_models, device=device, settings=settings)
        avatar = PersonCache(settings.people, load=load).get(self.request.person).models.avatar
        camera = avatar.camera().resized(64, 64)
        face, pose = torch.zeros(1, 256), torch.zeros(1, self.motion.pose.shape[1])
        next(iter(avatar.render(face, pose, [camera])))

    def decode(self) -> Audio:
        """Check and decode the clip in child processes."""
        from jobs.sandbox.audio_formats import MediaLimits
        from jobs.sandbox.audio_probe import probe
        from worker.pipeline.media.decode import decode

        seconds = probe(self.clip, limits=MediaLimits(max_seconds=LONGEST_SECONDS)).seconds
        return decode(self.clip, self.folder / "sound.f32", max_seconds=seconds + 1)

    def sound(self, seconds: float | None = None) -> Tensor:
        """Return the samples of the clip [n, 2], repeated or cut to a length."""
        samples = torch.from_numpy(self.audio.samples.copy())
        if seconds is None:
            return samples
        wanted = round(seconds * SAMPLES_PER_FRAME * 30)
        return samples.repeat(-(-wanted // len(samples)), 1)[:wanted]

    def animate(self, seconds: float | None = None, **options: Any) -> list[Motion]:
        """Sample the motion of the clip, or of another length, with other options."""
        sampling: Sampling = replace(self.plan.sampling, **options)
        return self.animator.animate(self.sound(seconds), sampling)

    def batches(
        self, limit: int | None = None, *, avatar: Any = None, batch: int = 8
    ) -> Iterator[Frames]:
        """Render the clip, or its first frames."""
        from worker.pipeline.plan import cameras_of

        avatar = avatar or self.person.models.avatar
        cameras = cameras_of(self.plan, avatar)
        face, pose = self.motion.face[:limit], self.motion.pose[:limit]
        yield from avatar.render(face, pose, cameras, batch=batch, options=self.plan.options)

    def render(self, limit: int | None = None, **options: Any) -> None:
        """Render frames and drop them."""
        for _ in self.batches(limit, **options):
            pass

    def encode(self, *, planes: bool = True) -> None:
        """Encode the first frames as MP4. planes: convert them to YUV before they reach ffmpeg."""
        from worker.pipeline.media.encode import encode
        from worker.pipeline.outputs.mp4 import CONTAINER

        container = replace(CONTAINER, encoder=self.resources.encoder)
        video = self.folder / "encoded.mp4"
        encode(self.frames, self.audio, video, container=container, planes=planes)

    def publish(self) -> None:
        """Sign an encoded video, and store it."""
        from contextlib import closing

        from contracts.outputs import OUTPUTS
        from jobs.storage.factory import open_storage
        from worker.pipeline.plan import cast_of
        from worker.pipeline.publish import origin_of, shown_in

        cast = cast_of(self.request, self.resources.persons.get)
        origin = origin_of(cast.request, shown_in(cast), [self.clip])
        draft = self.folder / "signed.mp4"
        draft.write_bytes((self.folder / "encoded.mp4").read_bytes())
        if self.resources.signer is not None:
            self.resources.signer.sign(draft, OUTPUTS["mp4"], origin, {"seed": 1})
        with closing(open_storage(self.resources.settings)) as storage:
            if storage.owner() is None:
                storage.make_root("bench")
            storage.put("bench/take-1.mp4", draft, "video/mp4")

    def plain_motion(self) -> Cost:
        """Return the cost of the motion by the plain code: the sum of its parts.

        One guided step of face and body each is timed, and three tokens of the guide: Simpson's
        rule over the first, the middle and the last gives their mean.
        """
        networks, sampling = self.animator.networks, self.plan.sampling
        frames = min(self.count, self.person.models.animator.max_frames)
        frames = max(frames, SHORTEST_FRAMES)  # padded, as our code does
        device = networks.statistics.code_mean.device
        sound = self.sound()[: frames * SAMPLES_PER_FRAME].to(device)
        missing = frames * SAMPLES_PER_FRAME - len(sound)
        sound = torch.nn.functional.pad(sound, (0, 0, 0, missing))
        audio = networks.statistics.normalised_audio(sound)[None]  # [1, n, 2]
        generator = torch.Generator().manual_seed(2)
        noise = partial(torch.randn, generator=generator)
        codes = noise(1, frames, networks.face.config.channels).to(device)
        pose = noise(1, frames, networks.body.config.channels).to(device)
        time = schedule_for(sampling.steps).timesteps[0]
        with torch.inference_mode():
            face = self._cost(
                lambda: plain.face_step(networks, audio, codes, time, scale=sampling.guidance_face)
            )
            body = self._cost(
                lambda: plain.body_step(
                    networks, audio, pose[:, ::KEY_FRAMES], pose, time, scale=sampling.guidance_body
                )
            )
            count = -(-frames // KEY_FRAMES) * networks.tokenizer.config.depth
            first, middle, last = (
                self._cost(self._plain_token(audio, round(place * (count - 1)))) for place in PLACES
            )
        guide = (first + middle * 4 + last) * (count / 6)
        return ((face + body) * sampling.steps + guide) * max(1.0, self.count / frames)

    def _plain_token(self, audio: Tensor, before: int) -> Callable[[], Tensor]:
        networks = self.animator.networks
        sequence = torch.zeros(1, before + 1, dtype=torch.long, device=audio.device)
        sequence[:, 0] = networks.guide.start
        generator = torch.Generator()
        return lambda: plain.next_token(
            networks, audio, sequence, top_p=self.plan.sampling.diversity, generator=generator
        )

    def plain_render(self) -> Cost | None:
        """Return the cost of the plain renderer, from a few frames; None without one."""
        from models.avatar.blendshape.renderer import BlendshapeAvatar

        avatar = self.person.models.avatar
        if not isinstance(avatar, BlendshapeAvatar):
            return None
        slow = BlendshapeAvatar(
            avatar.model, avatar.cameras, samples=avatar.samples, threads=avatar.threads, plain=True
        )
        frames = min(PLAIN_FRAMES, self.count)
        return self._cost(lambda: self.render(frames, avatar=slow)) * (self.count / frames)

    @staticmethod
    def _cost(work: Callable[[], object]) -> Cost:
        return measured(work)[1]
