"""`visavis-server convert-audio`: the audio of a recording as a scene of a dataset holds it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cli.console import MISUSED, expected_errors, fail, make_console, needing, warn
from contracts.files import write_atomically

if TYPE_CHECKING:
    from jobs.request.model import GenerateRequest
    from worker.pipeline.media.decode import Audio

LONGEST_SECONDS = 24 * 3600.0


def run_convert_audio(
    recording: Path, out: Path, partner: Path | None, frames: int | None, request: GenerateRequest
) -> None:
    """Write the audio that `generate` would use as WAV, and print its length.

    frames: length of the motion that belongs to it; the audio is cut or padded with silence.
    """
    for path in (recording, partner):
        if path is not None and not path.is_file():
            fail(f"no recording at {path}; check the path", MISUSED)
    if out.suffix.lower() != ".wav":
        fail(f"--out: {out} must end in .wav", MISUSED)
    if not out.parent.is_dir():
        fail(f"no folder {out.parent} for {out.name}; create it first", MISUSED)
    with needing("worker"):
        from models.formats.wav import SAMPLES_PER_FRAME, write_float_wav
        from worker.pipeline.media.decode import decode

    with (
        expected_errors("stopped before the audio was complete"),
        tempfile.TemporaryDirectory(prefix="visavis-") as folder,
    ):
        audio = decode(
            recording,
            Path(folder) / "sound.f32",
            max_seconds=LONGEST_SECONDS,
            partner=partner,
            person_channel=request.person_channel,
        )
        _check_length(audio)
        samples = len(audio.samples) if frames is None else frames * SAMPLES_PER_FRAME
        with write_atomically(out) as draft:
            write_float_wav(draft, audio.samples, length=samples)
    for warning in audio.warnings:
        warn(warning.detail)
    whole, rest = divmod(samples, SAMPLES_PER_FRAME)
    more = f" and {rest} samples" if rest else ""
    make_console().print(f"{out}  {samples} samples: {whole} frames{more}", soft_wrap=True)
    if frames is not None and samples != len(audio.samples):
        done = "cut" if samples < len(audio.samples) else "padded with silence"
        warn(f"The recording has {len(audio.samples)} samples; it was {done}.")


def _check_length(audio: Audio) -> None:
    if audio.seconds >= LONGEST_SECONDS:
        fail("the recording is longer than a day; cut it", MISUSED)
