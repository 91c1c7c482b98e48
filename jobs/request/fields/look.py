"""Fields that the files of a take depend on, but not its motion."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ValidationInfo, field_validator

from contracts.avatar_kinds import FAST, FULL
from contracts.outputs import OUTPUTS, VIDEO, alpha_formats, output_kinds
from jobs.request.declare import FieldSet, FormInput, Group, request_field
from jobs.request.values import (
    FILES,
    FINEST,
    MOST_SAMPLES,
    MOST_VIEWS,
    SIDE,
    TRANSPARENT,
    Background,
    Layout,
    Outputs,
    Size,
    VideoFormat,
    Views,
    either,
)

MOST_FRAMES = 1_000_000
WATERMARKED = True
_FORMATS = {output.name: output.description for output in OUTPUTS if output.kind == VIDEO}
_SHADINGS = {
    FAST: "the plain light of earlier releases",
    FULL: "shadows, skin that scatters light, hair and knit, with three to four times the time of "
    "a frame, and by default the camera `portrait`",
}
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
        form=FormInput("Cameras, side by side", person_values="views"),
        person_default=True,
    )
    layout: Layout = request_field(
        SIDE,
        "With `both`: `side` shows them side by side in one video, the person on the left; `files` "
        "makes a video of each. Files of motion are always one of each person.",
        form=FormInput(
            "Layout",
            main=True,
            labels={SIDE: "side by side in one video", FILES: "a video of each person"},
            needs="both",
        ),
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
        form=FormInput("Background", placeholder="the person's", colour=True),
    )
    supersampling: int | None = request_field(
        None,
        "Samples along each side of a pixel: more is slower, with smoother edges. Times the longer "
        f"side of `size` at most {FINEST}. Default: 1 with `quality=draft`, or the person's.",
        ge=1,
        le=MOST_SAMPLES,
        form=FormInput("Samples along a pixel's side", placeholder="the person's"),
    )
    shading: Literal["fast", "full"] = request_field(
        FAST,
        f"{'; '.join(f'{name}: {text}' for name, text in _SHADINGS.items())}. A person with a "
        "learned picture has only fast.",
        form=FormInput("Light", labels=_SHADINGS),
    )
    frame: int = request_field(
        0,
        "Frame of the output `obj`, counted from 0; 30 a second.",
        ge=0,
        le=MOST_FRAMES,
        form=FormInput("Frame of the mesh"),
    )
    mesh_rate: float = request_field(
        10.0,
        "Shapes of the surface of a codec avatar a second, in the output `glb`; the skeleton has "
        "30 frames a second.",
        ge=0.1,
        le=30.0,
        allow_inf_nan=False,
        form=FormInput("Mesh rate", step=0.1),
    )

    use: Literal["non-commercial", "commercial"] | None = request_field(
        None,
        "Use of the result. `commercial` is refused for a person whose licence or consent does not "
        "cover it; `GET /people` shows both.",
        form=FormInput("Use", placeholder="not stated"),
    )
    watermark: bool = request_field(
        WATERMARKED,
        "Imperceptible mark in picture and sound, by which a file can be traced to its job. Only "
        "where the operator allows it, `false` leaves it out.",
    )

    @field_validator("layout")
    @classmethod
    def _files_need_both(cls, layout: str, info: ValidationInfo) -> str:
        if layout == FILES and not info.data.get("both", True):
            raise ValueError("files needs both=true: one person has one file anyway")
        return layout

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
