"""`visavis-server generate`: the worker's pipeline in this process, for one recording."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cli.console import (
    MISUSED,
    expected_errors,
    fail,
    make_console,
    read_settings,
    wait_without_spinning,
    warn,
)
from cli.progress_bars import Bars
from contracts.files import write_atomically
from contracts.outputs import Output, output_of_suffix
from jobs.model import merged_warnings
from jobs.sandbox.audio_formats import MediaLimits
from jobs.sandbox.audio_probe import probe
from jobs.sandbox.recording import check_channels, length_warnings, of_partner

if TYPE_CHECKING:
    from jobs.model import JobWarning
    from jobs.persons import PersonSummary
    from jobs.request.model import GenerateRequest
    from jobs.settings import Settings
    from worker.pipeline.progress import Progress

SLACK_SECONDS = 1.0  # decoders differ by some samples in the length of a clip


def run_generate(
    clip: Path, partner: Path | None, out: Path | None, request: GenerateRequest
) -> None:
    """Write the outputs and print their paths; exit with a message for an expected error.

    out: the first output's file; None for the name of the clip in the working directory.
    """
    for path in (clip, partner):
        if path is not None and not path.is_file():
            fail(f"no recording at {path}; check the path", MISUSED)
    outputs = request.selected_outputs()
    out = out or Path(f"{clip.stem}{outputs[0].suffix}")
    if not out.parent.is_dir():
        fail(f"no folder {out.parent} for {out.name}; create it first", MISUSED)
    settings = read_settings()
    wait_without_spinning()
    console = make_console()
    with expected_errors("stopped before the video was complete"), Bars(console) as bars:
        files, warnings = _generate(clip, partner, out, request, settings, bars.report)
    for warning in warnings:
        warn(warning.detail)
    for path in files:
        console.print(f"{path}  {bars.seconds:.1f} s", soft_wrap=True)


def _generate(
    clip: Path,
    partner: Path | None,
    out: Path,
    request: GenerateRequest,
    settings: Settings,
    progress: Progress,
) -> tuple[list[Path], tuple[JobWarning, ...]]:
    """Return the files and the warnings about the clip."""
    from worker.pipeline.decode import decode
    from worker.pipeline.device import start
    from worker.pipeline.encode import choose_encoder
    from worker.pipeline.persons import PersonCache, load_models
    from worker.pipeline.plan import cameras_of, plan_of
    from worker.pipeline.render import animate, render_progress, take_of

    device = start(settings)
    encoder = choose_encoder(device.type)
    persons = PersonCache(
        settings.people,
        load=lambda folder: load_models(folder, device=device, settings=settings),
    )
    summary = persons.summary(request.person)
    seconds, warnings = _probed(clip, partner, request.person_channel, summary, settings)
    person = persons.get(request.person)
    plan = plan_of(request, person.defaults)
    if plan.renders:
        cameras_of(plan, person.models.avatar)  # an unknown view fails before sampling starts
    files = []
    with tempfile.TemporaryDirectory(prefix="visavis-") as folder:
        audio = decode(
            clip,
            Path(folder) / "sound.f32",
            max_seconds=seconds + SLACK_SECONDS,
            progress=lambda share: progress("decode", share),
            partner=partner,
            person_channel=request.person_channel,
        )
        progress("decode", 1.0)
        takes = animate(audio, plan, person, progress)
        for index, motion in enumerate(takes):
            take = take_of(
                motion,
                plan,
                person.models.avatar,
                audio,
                encoder=encoder,
                progress=render_progress(progress, index, len(takes)),
                person=person.name,
                seed=plan.sampling.seeds[index],
            )
            for output in plan.outputs:
                path = _path(out, output, index + 1, len(takes))
                with write_atomically(path) as draft:
                    output.write(take, draft)
                files.append(path)
    progress("publish", 1.0)
    return files, merged_warnings(warnings, audio.warnings)


def _probed(
    clip: Path,
    partner: Path | None,
    person_channel: str,
    person: PersonSummary,
    settings: Settings,
) -> tuple[float, tuple[JobWarning, ...]]:
    """Check the files; return the length of the longer one, and the warnings."""
    limits = MediaLimits(max_seconds=min(person.max_seconds, settings.max_clip_seconds))
    info = probe(clip, limits=limits)
    if partner is None:
        check_channels(person_channel, info.channels, partner=False)
        return info.seconds, info.warnings
    other = probe(partner, limits=limits)
    check_channels(person_channel, info.channels, partner=True, partner_channels=other.channels)
    lengths = length_warnings(info.seconds, other.seconds)
    return max(info.seconds, other.seconds), (*info.warnings, *of_partner(other.warnings), *lengths)


def _path(out: Path, output: Output, number: int, takes: int) -> Path:
    """Return the path of one output of a take, counted from 1.

    The first output has the name that the user gave; others have their own suffix.
    """
    path = out if output_of_suffix(out.suffix) in (None, output) else out.with_suffix(output.suffix)
    return path if takes == 1 else path.with_name(f"{path.stem}-take-{number}{path.suffix}")
