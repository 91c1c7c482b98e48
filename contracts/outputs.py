"""Outputs of a job: each kind of file is declared in one module of `worker.pipeline.outputs`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from contracts.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
    order: int = 100

    def __post_init__(self) -> None:
        if not self.kind:
            object.__setattr__(self, "kind", self.name)
        if not self.stem:
            object.__setattr__(self, "stem", self.name)

    def file_name(self, take: int) -> str:
        """Name of the file of a take, counted from 1."""
        return f"{self.stem}-{take}{self.suffix}"


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
