"""Types and checks of request values: names, sizes, colours, views, formats."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from contracts.errors import InputError
from contracts.outputs import kind_named, output_kinds, video_formats
from jobs.webhooks.events import WebhookEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
SEED_LIMIT = 2**32  # exact in JSON, in JavaScript and in torch
SIZE_LIMITS = (64, 2048)
MOST_VIEWS = 4
MOST_SAMPLES = 4  # along each side of a pixel
WIDEST = 4096  # pixels of all views together: limit of H.264 decoders in hardware
FINEST = 4096  # samples along a side of a view: 134 MB of memory for each core that renders
TRANSPARENT = "transparent"
SIDE, FILES = "side", "files"  # of two persons: one picture, or a file of each
LONGEST_DEADLINE = 30 * 24 * 3600  # seconds from the acceptance of a job


def partner_seed(seed: int) -> int:
    """Return the seed of the second person: a hash, so that both move independently."""
    return int.from_bytes(hashlib.sha256(f"{seed}/partner".encode()).digest()[:4])


class WatermarkRefused(InputError):
    """A request without a watermark, where the operator does not allow it."""


def check_watermark(*, wanted: bool, setting: str) -> None:
    """Check a request's `watermark` with `VISAVIS_WATERMARK`. Raises: WatermarkRefused."""
    if not wanted and setting == "on":
        raise WatermarkRefused(
            "watermark: this service marks all of its outputs; leave the field out"
        )


class SizeUnsupported(ValueError):
    """The views are too wide together, or have too many samples."""


def parse_size(size: str) -> tuple[int, int]:
    """Return width and height in pixels of "WxH" or "N" (a square). Raises: ValueError."""
    match = re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", size)
    if match is None:
        raise ValueError(f'size {size!r} is neither "WxH" nor "N"; write "512x512" or "512"')
    width = int(match[1])
    height = int(match[2] or width)
    low, high = SIZE_LIMITS
    for pixels in (width, height):
        if pixels % 2 or not low <= pixels <= high:
            raise ValueError(f"size {size!r} needs even numbers of pixels from {low} to {high}")
    return width, height


def check_width(size: str, views: Sequence[str]) -> None:
    """Raises: SizeUnsupported: when views of this size are too wide side by side."""
    width, _ = parse_size(size)
    if width * len(views) > WIDEST:
        most = WIDEST // len(views) // 2 * 2
        raise SizeUnsupported(
            f"{len(views)} views of {size} make a picture {width * len(views)} pixels wide, more "
            f"than {WIDEST}; ask for a size at most {most} wide, or for fewer views"
        )


def check_samples(size: str, supersampling: int | None) -> None:
    """Raises: SizeUnsupported: when a view of this size has too many samples."""
    longer = max(parse_size(size))
    samples = longer * (supersampling or 1)
    if samples > FINEST:
        raise SizeUnsupported(
            f"{size} with supersampling {supersampling} has {samples} samples along a side, more "
            f"than {FINEST}; ask for supersampling {FINEST // longer}, or for a smaller size"
        )


def parse_colour(text: str) -> tuple[int, int, int]:
    """Return the red, green and blue bytes of "#rrggbb" or "#rgb". Raises: ValueError."""
    if re.fullmatch(r"#(?:[0-9A-Fa-f]{3}){1,2}", text) is None:
        raise ValueError(f'invalid colour {text[:80]!r}; write "#20242c" or "transparent"')
    digits = text[1:] if len(text) == 7 else "".join(2 * digit for digit in text[1:])
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


def either(words: Sequence[str]) -> str:
    """Join words as "a, b or c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _as_text(size: Any) -> Any:
    """Accept a plain number for a square, as JSON may contain."""
    return str(size) if type(size) is int else size


def _checked_size(size: str) -> str:
    width, height = parse_size(size)
    return f"{width}x{height}"


def _kinds_named(values: Any) -> Any:
    """Accept other names of kinds, such as npz for motion."""
    if not isinstance(values, list | tuple):
        return values
    return [kind_named(value) if isinstance(value, str) else value for value in values]


def _without_repeats(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _checked_views(views: tuple[str, ...]) -> tuple[str, ...]:
    for name in views:
        if re.fullmatch(NAME, name) is None:
            raise ValueError(f'invalid view name {name[:80]!r}; write "front" or "front,side"')
        if views.count(name) > 1:
            raise ValueError(f"view {name!r} is listed {views.count(name)} times; list each once")
    return views


def _checked_background(text: str) -> str:
    if text == TRANSPARENT:
        return text
    return "#{:02x}{:02x}{:02x}".format(*parse_colour(text))


if TYPE_CHECKING:
    VideoFormat = str
    OutputKind = str
else:
    VideoFormat = Literal[video_formats()]
    OutputKind = Literal[output_kinds()]

Layout = Literal["side", "files"]
PersonName = Annotated[str, Field(pattern=NAME)]
Views = Annotated[
    tuple[str, ...],
    Field(min_length=1, max_length=MOST_VIEWS),
    AfterValidator(_checked_views),
]
Size = Annotated[
    str,
    BeforeValidator(_as_text),
    AfterValidator(_checked_size),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,5}(x[0-9]{1,5})?$"}),
]
Background = Annotated[
    str,
    AfterValidator(_checked_background),
    WithJsonSchema({"type": "string", "pattern": "^(transparent|#([0-9A-Fa-f]{3}){1,2})$"}),
]
Outputs = Annotated[
    tuple[OutputKind, ...],
    Field(min_length=1, max_length=16),
    BeforeValidator(_kinds_named),
    AfterValidator(_without_repeats),
]
WebhookEvents = Annotated[
    tuple[WebhookEvent, ...],
    Field(min_length=1, max_length=8),
    AfterValidator(_without_repeats),
]
CancelAfter = Annotated[float, Field(ge=1, le=LONGEST_DEADLINE, allow_inf_nan=False)]
TakeNumber = Annotated[int, Field(ge=1, le=10)]
Priority = Annotated[int, Field(ge=-10, le=10)]
MetadataKey = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00]*$")]
MetadataValue = Annotated[str, Field(max_length=256, pattern=r"^[^\x00]*$")]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]
