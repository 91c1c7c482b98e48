"""Outputs of a job: each kind of file is declared in one module of `worker.pipeline.outputs`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from contracts.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIDECAR_SUFFIX, SIDECAR_TYPE = ".c2pa", "application/c2pa"  # of a manifest beside its file
VIDEO = "video"  # the kind that all video formats share; `format` of a request selects one


@dataclass(frozen=True)
class Output:
    """One kind of file that a take can be written as."""

    name: str  # "mp4": a value of `format`, or of `outputs` for every kind but video
    suffix: str  # ".mp4"
    content_type: str  # "video/mp4"
    description: str  # "MP4 (H.264)", for help texts
    write: Callable[[Any, Path], None]  # (worker.pipeline.take.Take, file to write)
    kind: str = ""  # a value of `outputs`; default: the name
    stem: str = ""  # files are named <stem>-<take><suffix>; default: the name
    alpha: bool = False  # whether frames may be transparent
    frames: bool = False  # whether `write` renders frames, so that cameras are checked first
    face_units: bool = False  # whether only people with face units have it
    aliases: tuple[str, ...] = ()  # other names of its kind in `outputs` of a request
    embeds_manifest: bool = False  # a file of this kind can hold it; else it is a sidecar
    live: bool = False  # can be read from its start while it is written; bytes never change
    early: bool = False  # written for all takes before the other files, and published at once
    order: int = 100

    def __post_init__(self) -> None:
        if not self.kind:
            object.__setattr__(self, "kind", self.name)
        if not self.stem:
            object.__setattr__(self, "stem", self.name)

    def file_name(self, take: int, role: str = "") -> str:
        """Name of the file of a take, counted from 1.

        role: of the one person it shows, if that is not the first person of the job.
        """
        return f"{self.stem}-{take}{f'-{role}' if role else ''}{self.suffix}"


OUTPUTS: Registry[Output] = Registry("output", "worker.pipeline.outputs", "OUTPUT")


def video_formats() -> tuple[str, ...]:
    """Values of `format` in a request."""
    return tuple(output.name for output in OUTPUTS if output.kind == VIDEO)


def alpha_formats() -> tuple[str, ...]:
    """Video formats whose frames may be transparent."""
    return tuple(output.name for output in OUTPUTS if output.kind == VIDEO and output.alpha)


def output_kinds() -> tuple[str, ...]:
    """Values of `outputs` in a request."""
    return tuple(dict.fromkeys(output.kind for output in OUTPUTS))


def kind_named(name: str) -> str:
    """Return the kind that a value of `outputs` names, as an alias or itself."""
    return next((output.kind for output in OUTPUTS if name in output.aliases), name)


def supported_kinds(*, face_units: bool) -> tuple[str, ...]:
    """Values of `outputs` for a person with or without face units."""
    kinds = (output.kind for output in OUTPUTS if face_units or not output.face_units)
    return tuple(dict.fromkeys(kinds))


def selected_outputs(kinds: tuple[str, ...], video_format: str) -> list[Output]:
    """Outputs that a request asks for: every kind in `kinds`, video in `video_format`."""
    return [
        output
        for output in OUTPUTS
        if output.kind in kinds and (output.kind != VIDEO or output.name == video_format)
    ]


def output_of_suffix(suffix: str) -> Output | None:
    """Return the output whose files end in `suffix`, in any case; None for an unknown one."""
    return next((output for output in OUTPUTS if output.suffix == suffix.lower()), None)
