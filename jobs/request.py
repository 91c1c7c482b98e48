"""What a caller may ask for."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
SEED_LIMIT = 2**32  # a seed fits 32 bits: whole in JSON, in JavaScript and in torch
SIZE_LIMITS = (64, 2048)
MOST_VIEWS = 4
MOST_SAMPLES = 4  # of a pixel's side
WIDEST = 4096  # pixels of all views together: what decoders of H.264 in hardware take
FINEST = 4096  # samples along a side of a view: its memory is 134 MB for each core that paints
SUFFIXES = {"mp4": ".mp4", "mov": ".mov", "webm": ".webm", "png": ".zip"}  # of each format
WITH_ALPHA = ("mov", "webm", "png")
TRANSPARENT = "transparent"
MOTION_FIELDS = (
    "person", "takes", "seed", "diversity", "guidance_face", "guidance_body", "steps",
)  # fmt: skip


class SizeUnsupported(ValueError):
    """Views that make too wide a picture together, or have too many samples."""


def parse_size(size: str) -> tuple[int, int]:
    """Width and height of "WxH" or "N" (a square), in pixels. ValueError says what is wrong."""
    written = re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", size)
    if written is None:
        raise ValueError(f'size {size!r} is neither "WxH" nor "N"; write "512x512" or "512"')
    width = int(written[1])
    height = int(written[2] or width)
    low, high = SIZE_LIMITS
    for pixels in (width, height):
        if pixels % 2 or not low <= pixels <= high:
            raise ValueError(f"size {size!r} needs even numbers of pixels from {low} to {high}")
    return width, height


def check_width(size: str, views: Sequence[str]) -> None:
    """SizeUnsupported where views of this size are too wide side by side."""
    width, _ = parse_size(size)
    if width * len(views) > WIDEST:
        most = WIDEST // len(views) // 2 * 2
        raise SizeUnsupported(
            f"{len(views)} views of {size} make a picture {width * len(views)} pixels wide, more "
            f"than {WIDEST}; ask for a size at most {most} wide, or for fewer views"
        )


def _written(size: Any) -> Any:
    """In JSON a square may be a plain number."""
    return str(size) if type(size) is int else size


def check_samples(size: str, supersampling: int | None) -> None:
    """SizeUnsupported where a view of this size has too many samples."""
    longer = max(parse_size(size))
    samples = longer * (supersampling or 1)
    if samples > FINEST:
        raise SizeUnsupported(
            f"{size} with supersampling {supersampling} has {samples} samples along a side, more "
            f"than {FINEST}; ask for supersampling {FINEST // longer}, or for a smaller size"
        )


def _checked_size(size: str) -> str:
    width, height = parse_size(size)
    return f"{width}x{height}"


def _either(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _without_repeats(outputs: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(outputs))


def _checked_views(views: tuple[str, ...]) -> tuple[str, ...]:
    for name in views:
        if re.fullmatch(NAME, name) is None:
            raise ValueError(f'{name[:80]!r} is no name of a view; write "front" or "front,side"')
        if views.count(name) > 1:
            raise ValueError(f"view {name!r} is there {views.count(name)} times; name each once")
    return views


def parse_colour(written: str) -> tuple[int, int, int]:
    """Red, green and blue bytes of "#rrggbb" or "#rgb". ValueError says what is wrong."""
    if re.fullmatch(r"#(?:[0-9A-Fa-f]{3}){1,2}", written) is None:
        raise ValueError(f'{written[:80]!r} is no colour; write "#20242c" or "transparent"')
    digits = written[1:] if len(written) == 7 else "".join(2 * digit for digit in written[1:])
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


def _checked_background(written: str) -> str:
    if written == TRANSPARENT:
        return written
    return "#{:02x}{:02x}{:02x}".format(*parse_colour(written))


PersonName = Annotated[str, Field(pattern=NAME)]
Views = Annotated[
    tuple[str, ...],
    Field(min_length=1, max_length=MOST_VIEWS),
    AfterValidator(_checked_views),
]
Size = Annotated[
    str,
    BeforeValidator(_written),
    AfterValidator(_checked_size),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,5}(x[0-9]{1,5})?$"}),
]
Format = Literal["mp4", "mov", "webm", "png"]
Background = Annotated[
    str,
    AfterValidator(_checked_background),
    WithJsonSchema({"type": "string", "pattern": "^(transparent|#([0-9A-Fa-f]{3}){1,2})$"}),
]
Outputs = Annotated[
    tuple[Literal["video", "motion"], ...],
    Field(min_length=1, max_length=8),
    AfterValidator(_without_repeats),
]

Take = Annotated[int, Field(ge=1, le=10)]
Priority = Annotated[int, Field(ge=-10, le=10)]
Word = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00]*$")]
Words = Annotated[str, Field(max_length=256, pattern=r"^[^\x00]*$")]
Metadata = Annotated[dict[Word, Words], Field(max_length=16)]


class GenerateRequest(BaseModel):
    """What to make of a clip. None means the person's own default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    person: PersonName = Field(default="demo", description="Whom to show: a name from GET /people.")
    takes: int = Field(default=1, ge=1, le=10, description="How many different takes to draw.")
    seed: int | None = Field(
        default=None,
        ge=0,
        le=SEED_LIMIT - 1,
        description="The same seed gives the same motion. Empty: drawn.",
    )
    diversity: float | None = Field(
        default=None, ge=0.01, le=1, description="How freely key poses are drawn (top-p)."
    )
    guidance_face: float | None = Field(
        default=None, ge=0, le=10, description="How closely the face follows the sound."
    )
    guidance_body: float | None = Field(
        default=None, ge=0, le=10, description="How closely the body follows the sound."
    )
    steps: int | None = Field(
        default=None, ge=1, le=1000, description="Denoising steps: more is slower and finer."
    )
    size: Size | None = Field(
        default=None, description='Of one view in pixels: "WxH", or "N" for NxN.'
    )
    views: Views | None = Field(
        default=None,
        description="The person's cameras that show it, side by side in this order: up to "
        f"{MOST_VIEWS} names from GET /people.",
    )
    outputs: Outputs = Field(
        default=("video",), description="What to make: video, motion, or both."
    )
    format: Format = Field(
        default="mp4",
        description="Of the video: mp4 (H.264), or with alpha mov (ProRes 4444), webm (VP9), and "
        "png, a zip of pictures with the sound as wav.",
    )
    background: Background | None = Field(
        default=None,
        description='Behind the person: a colour like "#20242c", or "transparent" in a format '
        "with alpha, which is its default.",
    )
    supersampling: int | None = Field(
        default=None,
        ge=1,
        le=MOST_SAMPLES,
        description="Samples along each side of a pixel: more is slower, with smoother edges.",
    )

    @field_validator("background")
    @classmethod
    def _transparent_needs_alpha(cls, background: str | None, info: ValidationInfo) -> str | None:
        if background == TRANSPARENT and info.data.get("format") == "mp4":
            raise ValueError(f"mp4 cannot be transparent; ask for format {_either(WITH_ALPHA)}")
        return background

    @property
    def effective_background(self) -> str | None:
        """The background that is meant: that of formats with alpha is transparent."""
        if self.background is None and self.format in WITH_ALPHA:
            return TRANSPARENT
        return self.background

    def seeded(self) -> GenerateRequest:
        """The same request with a seed: what is accepted can be made again, attempt by attempt."""
        if self.seed is not None:
            return self
        return self.model_copy(update={"seed": secrets.randbelow(SEED_LIMIT)})


class JobRequest(GenerateRequest):
    """What a job makes: what was asked for, and which of its takes are shown."""

    shown: tuple[int, ...] | None = Field(
        default=None, description="Numbers of the takes that are made into files; null: all."
    )

    def shows(self, take: int) -> bool:
        """Whether this take, counted from 1, is made into files."""
        return self.shown is None or take in self.shown


def motion_digest(request: GenerateRequest, person_digest: str) -> str:
    """What the motion depends on, as sha256: a later attempt may use motion of the same digest."""
    facts: dict[str, Any] = request.model_dump(include=set(MOTION_FIELDS))
    facts["person_digest"] = person_digest
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
