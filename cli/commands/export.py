"""`visavis-server export`: motion that exists as files for animation tools."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cli.console import (
    MISUSED,
    expected_errors,
    fail,
    make_console,
    needing,
    read_settings,
    wait_without_spinning,
)
from contracts.outputs import OUTPUTS, Output, kind_named
from contracts.provenance import ShownPerson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contracts.provenance import Origin
    from jobs.request.model import GenerateRequest
    from models.animation.figure import Figure
    from models.animation.rows import MotionRows
    from models.avatar.appearance import RenderOptions
    from worker.pipeline.take import Take


@dataclass(frozen=True)
class MotionTake:
    """Motion of a file with the members of `worker.pipeline.take.Take` that its writers use."""

    person: str
    seed: int
    motion_rows: MotionRows
    described: Figure
    options: RenderOptions
    origin: Origin
    seeds: tuple[int, ...] = ()  # one person: `seed` says it

    def figure(self) -> Figure:
        """Return the person of the motion."""
        return self.described

    def rows(self) -> MotionRows:
        """Return the motion in pieces."""
        return self.motion_rows


def run_export_motion(
    motion: Path,
    formats: Sequence[str],
    person: str | None,
    out: Path | None,
    request: GenerateRequest,
) -> None:
    """Write each format beside the others.

    person: default the one that the file names. out: file of the first format, default the name of
    the motion in the working directory; others have their own suffix.
    """
    outputs = [_output(name) for name in formats]
    paths = _paths(motion, out, outputs)
    settings = read_settings()
    wait_without_spinning()
    with needing("worker"):
        import torch

        from models.animation.npz import open_npz
        from models.avatar.appearance import RenderOptions
        from models.avatar.loading import load_avatar
        from worker.pipeline.persons import find_person
        from worker.pipeline.publish import origin_of, write_output
        from worker.provenance.manifest import open_signer
    signer = open_signer(settings)
    console = make_console()
    extra = (("frame", request.frame), ("mesh_rate", request.mesh_rate))
    with expected_errors("stopped before the file was complete"):
        file = open_npz(motion)
        name = person or file.person
        if not name:
            fail("--person: the file names no person; add --person", MISUSED)
        summary = find_person(settings.people, name)
        summary.check_outputs(output.kind for output in outputs)
        summary.check_use(request.use, settings.use)
        request = request.model_copy(update={"person": name, "seed": file.seed})
        shown = ShownPerson(summary.name, summary.digest, summary.consent)
        origin = origin_of(request, [shown], [motion])
        avatar = load_avatar(settings.people / name, device=torch.device("cpu"))
        describe = getattr(avatar, "figure", None)
        if describe is None:
            fail(f"--person: the avatar of {name} has no skeleton to export; choose another person")
        options = RenderOptions(extra=extra)
        take = MotionTake(name, file.seed, file.rows, describe(name), options, origin)
        for output, path in zip(outputs, paths, strict=True):
            start = time.monotonic()
            write_output(output, cast("Take", take), path, signer)
            seconds, size = time.monotonic() - start, path.stat().st_size / 1e6
            console.print(f"{path}  {size:.1f} MB, {seconds:.1f} s", soft_wrap=True)


def _output(name: str) -> Output:
    formats = {output.name: output for output in OUTPUTS if not output.frames}
    kind = kind_named(name)
    if kind not in formats:
        fail(f"--format: unknown format {name!r}; choose from {', '.join(formats)}", MISUSED)
    return formats[kind]


def _paths(motion: Path, out: Path | None, outputs: Sequence[Output]) -> list[Path]:
    first = out or Path(motion.with_suffix(outputs[0].suffix).name)
    if first.suffix.lower() != outputs[0].suffix:
        fail(f"--out: {first} is not a {outputs[0].suffix} file; change the suffix", MISUSED)
    if not first.parent.is_dir():
        fail(f"--out: no folder {first.parent} for {first.name}; create it first", MISUSED)
    return [first.with_suffix(output.suffix) for output in outputs]
