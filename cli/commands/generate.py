"""`visavis-server generate`: the worker's way of making video, in this process, for one file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cli.console import (
    MISUSED,
    fail,
    make_console,
    needing,
    read_settings,
    wait_without_spinning,
)
from cli.progress_bars import Bars
from jobs.sandbox.audio_probe import MediaLimits, probe

if TYPE_CHECKING:
    from jobs.persons import PersonSummary
    from jobs.request import GenerateRequest
    from jobs.settings import Settings
    from worker.pipeline.progress import Progress

INTERRUPTED = 130
SLACK_SECONDS = 1.0  # decoders differ by some samples in how long a clip is


def run_generate(clip: Path, out: Path, request: GenerateRequest) -> None:
    """Write the MP4s and say where; leaves with a sentence where there is a reason."""
    if not clip.is_file():
        fail(f"there is no recording at {clip}", MISUSED)
    if not out.parent.is_dir():
        fail(f"there is no folder {out.parent} for {out.name}; make it", MISUSED)
    settings = read_settings()
    wait_without_spinning()
    with needing("worker"):
        from contracts.person import PersonError
        from worker.pipeline.device import DeviceError
        from worker.pipeline.encode import VideoError
        from worker.pipeline.user_errors import user_error_of
    console = make_console()
    try:
        with Bars(console) as bars:
            files = _generate(clip, out, request, settings, bars.tell)
    except KeyboardInterrupt:
        fail("stopped before the video was there", INTERRUPTED)
    except (DeviceError, PersonError, VideoError) as error:
        fail(str(error))
    except Exception as error:
        if (refusal := user_error_of(error)) is None:
            raise
        fail(refusal.sentence)
    for path in files:
        console.print(f"{path}  {bars.seconds:.1f} s", soft_wrap=True)


def _generate(
    clip: Path, out: Path, request: GenerateRequest, settings: Settings, progress: Progress
) -> list[Path]:
    from worker.pipeline.atomic_file import replacing
    from worker.pipeline.decode import decode
    from worker.pipeline.device import start
    from worker.pipeline.encode import choose_encoder
    from worker.pipeline.persons import People, load_models
    from worker.pipeline.plan import cameras_of, plan_of
    from worker.pipeline.render import animate, film, rendering

    device = start(settings)
    encoder = choose_encoder(device.type)
    people = People(
        settings.people,
        load=lambda folder: load_models(folder, device=device, settings=settings),
    )
    seconds = _clip_seconds(clip, people.summary(request.person), settings)
    person = people.get(request.person)
    plan = plan_of(request, person.defaults)
    cameras_of(plan, person.models.avatar)  # what cannot be shown is told before anything is drawn
    places = _places(out, request.takes)
    with tempfile.TemporaryDirectory(prefix="visavis-") as folder:
        sound = decode(
            clip,
            Path(folder) / "sound.f32",
            max_seconds=seconds + SLACK_SECONDS,
            progress=lambda share: progress("decode", share),
        )
        progress("decode", 1.0)
        takes = animate(sound, plan, person, progress)
        for index, (motion, place) in enumerate(zip(takes, places, strict=True)):
            rendered = rendering(progress, index, len(takes))
            with replacing(place) as draft:
                film(
                    motion,
                    plan,
                    person.models.avatar,
                    sound,
                    draft,
                    encoder=encoder,
                    progress=rendered,
                )
    progress("publish", 1.0)
    return places


def _clip_seconds(clip: Path, person: PersonSummary, settings: Settings) -> float:
    longest = min(person.max_seconds, settings.max_clip_seconds)
    return probe(clip, limits=MediaLimits(max_seconds=longest)).seconds


def _places(out: Path, takes: int) -> list[Path]:
    if takes == 1:
        return [out]
    return [out.with_name(f"{out.stem}-take-{take}{out.suffix}") for take in range(1, takes + 1)]
