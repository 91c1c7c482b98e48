"""Fields that the files of a take depend on, but not its motion."""

from __future__ import annotations

from pydantic import BaseModel, ValidationInfo, field_validator

from contracts.outputs import OUTPUTS, VIDEO, alpha_formats, output_kinds
from jobs.request.declare import FieldSet, FormInput, Group, request_field
from jobs.request.values import (
    FINEST,
    MOST_SAMPLES,
    MOST_VIEWS,
    TRANSPARENT,
    Background,
    Outputs,
    Size,
    VideoFormat,
    Views,
    either,
)

_FORMATS = {output.name: output.description for output in OUTPUTS if output.kind == VIDEO}
_KINDS = {output.kind: output.description for output in OUTPUTS if output.kind != VIDEO}


class LookFields(BaseModel):
    """Size, cameras, file formats and background."""

    size: Size | None = request_field(
        None,
        'Size of one view in pixels: "WxH", or "N" for NxN.',
        values="`512` or `640x480`, even, 64..2048",
        form=FormInput("Size", main=True, choices=("256", "512", "768", "1024")),
        person_default=True,
    )
    views: Views | None = request_field(
        None,
        "Cameras of the person, side by side in this order: up to "
        f"{MOST_VIEWS} names from GET /people.",
        values=f"`front` or `front,side`, up to {MOST_VIEWS}",
        form=FormInput("Views, side by side"),
        person_default=True,
    )
    outputs: Outputs = request_field(
        ("video",),
        f"Kinds of result: {either(output_kinds())}, or several.",
        form=FormInput("Outputs", labels=_KINDS),
    )
    format: VideoFormat = request_field(
        "mp4",
        f"Format of the video: {', '.join(f'{name}: {text}' for name, text in _FORMATS.items())}. "
        f"Transparent backgrounds need {either(alpha_formats())}.",
        form=FormInput("Format", labels=_FORMATS),
    )
    background: Background | None = request_field(
        None,
        'Colour behind the person, such as "#20242c", or "transparent" in a format with alpha, '
        "where it is the default.",
        values="`#20242c`, `#222`, `transparent`",
        form=FormInput("Background", placeholder="the person's"),
    )
    supersampling: int | None = request_field(
        None,
        "Samples along each side of a pixel: more is slower, with smoother edges. Times the longer "
        f"side of `size` at most {FINEST}.",
        ge=1,
        le=MOST_SAMPLES,
        form=FormInput("Samples along a pixel's side", placeholder="the person's"),
    )

    @field_validator("background")
    @classmethod
    def _transparent_needs_alpha(cls, background: str | None, info: ValidationInfo) -> str | None:
        video_format = info.data.get("format")  # validated before, as it is declared before
        if background == TRANSPARENT and video_format and video_format not in alpha_formats():
            raise ValueError(
                f"{video_format} cannot be transparent; ask for format {either(alpha_formats())}"
            )
        return background


FIELDS = FieldSet("look", Group.LOOK, LookFields, order=20)
