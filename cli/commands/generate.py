"""`visavis-server generate`: the worker's pipeline in this process, for one recording."""

from __future__ import annotations

import os
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
from contracts.imports import quick_imports
from contracts.outputs import Output, output_of_suffix

if TYPE_CHECKING:
    from jobs.request.model import GenerateRequest
    from jobs.settings import Settings
    from worker.pipeline.recording_outputs import Made, Recording

RATES = "stage-rates.json"  # speed of each stage on this machine, in the user's cache


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
        with quick_imports():
            from worker.pipeline.recording_outputs import Recording

        made = _generate(Recording(clip, partner), out, request, settings, bars)
    for warning in made.warnings:
        warn(warning.detail)
    for path in made.files:
        console.print(f"{path}  {bars.seconds:.1f} s", soft_wrap=True)


def _generate(
    recording: Recording,
    out: Path,
    request: GenerateRequest,
    settings: Settings,
    bars: Bars,
) -> Made:
    from worker.pipeline.recording_outputs import Resources, make_outputs
    from worker.time_left.estimator import TimeLeft
    from worker.time_left.rates import MachineRates, RateFile, machine_of

    time_left = TimeLeft()

    def progress(stage: str, fraction: float) -> None:
        bars.report(stage, fraction, time_left(stage, fraction))

    resources = Resources.open(settings)
    rates = MachineRates(RateFile(_cache_folder() / RATES), machine_of(resources.device))
    made = make_outputs(
        recording,
        request,
        resources,
        path_of=lambda output, number, role: _path(out, output, number, role, request),
        progress=progress,
        expect=lambda costs: time_left.expect(costs, rates.of(request.people)),
    )
    rates.learn(request.people, time_left.rates)
    return made


def _cache_folder() -> Path:
    """Folder that the XDG base directory specification names for caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "visavis"


def _path(out: Path, output: Output, number: int, role: str, request: GenerateRequest) -> Path:
    """Return the path of one output of a take, counted from 1, that shows all or one person.

    The first output has the name that the user gave; others have their own suffix, and their name
    where the suffix is taken.
    """
    path = out if output_of_suffix(out.suffix) in (None, output) else out.with_suffix(output.suffix)
    outputs = request.selected_outputs()
    before = outputs[: outputs.index(output)]
    if output.suffix in {each.suffix for each in before}:
        path = path.with_name(f"{path.stem}-{output.name}{path.suffix}")
    take = f"take-{number}" if request.takes > 1 else ""
    stem = "-".join(word for word in (path.stem, take, role) if word)
    return path.with_name(f"{stem}{path.suffix}")
