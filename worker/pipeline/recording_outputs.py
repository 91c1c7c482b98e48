"""Outputs of one recording, made in the calling process without a job."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.model import merged_warnings
from jobs.request.values import check_watermark
from jobs.sandbox.audio_formats import MediaLimits
from jobs.sandbox.audio_probe import probe
from jobs.sandbox.recording import check_channels, length_warnings, of_partner
from worker.pipeline.device import start
from worker.pipeline.media.decode import decode
from worker.pipeline.media.encode import choose_encoder
from worker.pipeline.media.watermark import watermark_of
from worker.pipeline.persons import PersonCache, load_models
from worker.pipeline.plan import cast_of
from worker.pipeline.publish import consent_warnings, origin_of, shown_in, write_output
from worker.pipeline.render import TakeMaker, part_of, render_progress, sampled_motion
from worker.provenance.manifest import open_signer
from worker.time_left.costs import stage_costs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from contracts.outputs import Output
    from jobs.model import JobWarning
    from jobs.request.model import GenerateRequest
    from jobs.settings import Settings
    from worker.pipeline.media.container import Encoder
    from worker.pipeline.progress import Progress
    from worker.provenance.manifest import ManifestSigner
    from worker.time_left.costs import Cost

SLACK_SECONDS = 1.0  # decoders differ by some samples in the length of a clip


@dataclass(frozen=True)
class Recording:
    """Files of a conversation: one clip, or a mono file for each person."""

    clip: Path
    partner: Path | None = None


@dataclass(frozen=True)
class Resources:
    """Resources of one process, opened once."""

    settings: Settings
    device: torch.device
    encoder: Encoder
    persons: PersonCache
    signer: ManifestSigner | None  # None: manifests are turned off

    @classmethod
    def open(cls, settings: Settings) -> Resources:
        """Choose device and encoder. Raises: DeviceError, VideoError, SigningError."""
        signer = open_signer(settings)
        device = start(settings)
        persons = PersonCache(
            settings.people,
            load=lambda folder: load_models(folder, device=device, settings=settings),
        )
        return cls(settings, device, choose_encoder(device.type), persons, signer)


@dataclass(frozen=True)
class Made:
    """Files of a recording in the order in which they were written."""

    files: tuple[Path, ...]
    warnings: tuple[JobWarning, ...]
    seconds: float  # of audio
    watermark: str | None = None  # id in pictures and sound, 16 hex digits


def make_outputs(
    recording: Recording,
    request: GenerateRequest,
    resources: Resources,
    *,
    path_of: Callable[[Output, int, str], Path],
    progress: Progress,
    expect: Callable[[Mapping[str, Cost]], None] = lambda costs: None,
) -> Made:
    """Write the outputs of every take; each file appears when it is complete.

    request: with a seed. path_of: the file of an output of a take, counted from 1, and of a role:
    that of the one person it shows, empty for the first or for all.
    expect: called when the cost of stages is known.
    Raises: the user errors of `worker.pipeline.user_errors`; OutputUnsupported;
        ShadingUnsupported; any error of `progress`.
    """
    summaries = [resources.persons.summary(name) for name in request.people]
    for summary in summaries:
        summary.check_outputs(request.outputs)
        summary.check_shading(request.shading)
        summary.check_use(request.use, resources.settings.use)
        summary.check_controls(request)
    request.check_sampler(*(summary.defaults for summary in summaries))
    check_watermark(wanted=request.watermark, setting=resources.settings.watermark)
    longest = min(summary.max_seconds for summary in summaries)
    seconds, warnings = _probed(recording, request.person_channel, longest, resources.settings)
    cast = cast_of(request, resources.persons.get)
    plan, people = cast.plan, shown_in(cast)
    cast.check_cameras()  # an unknown view fails before sampling starts
    recordings = [each for each in (recording.clip, recording.partner) if each is not None]
    origin = origin_of(cast.request, people, recordings)
    watermark = watermark_of(resources.settings, request, origin)
    files: list[Path] = []
    with tempfile.TemporaryDirectory(prefix="visavis-") as folder:
        audio = decode(
            recording.clip,
            Path(folder) / "sound.f32",
            max_seconds=seconds + SLACK_SECONDS,
            progress=lambda share: progress("decode", share),
            partner=recording.partner,
            person_channel=request.person_channel,
            both=request.both,
        )
        progress("decode", 1.0)
        plans = [each.plan for each in cast.performers]
        expect(stage_costs(plans, audio.seconds, shown=request.takes))
        maker = TakeMaker(cast, audio, resources.encoder, origin, watermark)
        with sampled_motion(audio, cast.performers, progress) as stream:
            share = plan.early_share
            for outputs, between in ((plan.early, (0.0, share)), (plan.late, (share, 1.0))):
                for index, output in product(range(request.takes), outputs):
                    report = render_progress(stream.report, index, request.takes, between)
                    files_of_take = cast.files(output)
                    for place, file in enumerate(files_of_take):
                        part = part_of(report, place, len(files_of_take))
                        take = maker.take(file, index + 1, stream.takes, part)
                        path = path_of(output, index + 1, file.role)
                        files.extend(write_output(output, take, path, resources.signer))
            stream.finish()
    progress("publish", 1.0)
    found = (*audio.warnings, *consent_warnings(person.consent for person in people))
    name = watermark.name if watermark is not None and plan.renders else None
    return Made(tuple(files), merged_warnings(warnings, found), audio.seconds, name)


def _probed(
    recording: Recording, person_channel: str, longest: float, settings: Settings
) -> tuple[float, tuple[JobWarning, ...]]:
    """Check the files; return the length of the longer one, and the warnings.

    longest: seconds that all persons take.
    """
    limits = MediaLimits(max_seconds=min(longest, settings.max_clip_seconds))
    info = probe(recording.clip, limits=limits)
    if recording.partner is None:
        check_channels(person_channel, info.channels, partner=False)
        return info.seconds, info.warnings
    other = probe(recording.partner, limits=limits)
    check_channels(person_channel, info.channels, partner=True, partner_channels=other.channels)
    lengths = length_warnings(info.seconds, other.seconds)
    return max(info.seconds, other.seconds), (*info.warnings, *of_partner(other.warnings), *lengths)
