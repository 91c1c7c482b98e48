"""The options that mean a request; their limits are those of the API."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from cli.console import MISUSED, fail, faults
from jobs.request import SUFFIXES, GenerateRequest

PersonOption = Annotated[str, typer.Option(help="Whom to show.")]
TakesOption = Annotated[int, typer.Option(help="How many different takes, 1..10.")]
SeedOption = Annotated[
    int | None, typer.Option(help="The same seed gives the same motion. Default: drawn.")
]
SizeOption = Annotated[
    str | None, typer.Option(help='Of one view: "WxH" or "N". Default: the person\'s.')
]
ViewsOption = Annotated[
    str | None, typer.Option(help='Cameras, side by side: "front,side". Default: the person\'s.')
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        help="mp4, or with alpha mov (ProRes 4444), webm (VP9), png (a zip). Default: mp4, or what "
        "--out ends in."
    ),
]
BackgroundOption = Annotated[
    str | None,
    typer.Option(help='Behind the person: "#20242c", or "transparent" with alpha.'),
]
SupersamplingOption = Annotated[
    int | None,
    typer.Option(help="Samples along a pixel's side, 1..4: smoother edges. Default: the person's."),
]
StepsOption = Annotated[int | None, typer.Option(help="Denoising steps. Default: the person's.")]
DiversityOption = Annotated[
    float | None, typer.Option(help="How freely key poses are drawn, 0.01..1.")
]
GuidanceFaceOption = Annotated[
    float | None, typer.Option(help="How closely the face follows the sound, 0..10.")
]
GuidanceBodyOption = Annotated[
    float | None, typer.Option(help="How closely the body follows the sound, 0..10.")
]


def format_of(out: Path | None) -> str:
    """The format that a file's name ends in; mp4 where it says nothing."""
    suffix = "" if out is None else out.suffix.lower()
    return next((name for name, ending in SUFFIXES.items() if ending == suffix), "mp4")


def request_of(
    person: str,
    takes: int,
    seed: int | None,
    size: str | None,
    views: str | None,
    format: str,
    background: str | None,
    supersampling: int | None,
    steps: int | None,
    diversity: float | None,
    guidance_face: float | None,
    guidance_body: float | None,
) -> GenerateRequest:
    """The options as a request; leaves with a line for each that does not fit."""
    return _checked(
        {
            "person": person,
            "takes": takes,
            "seed": seed,
            "size": size,
            "views": None if views is None else tuple(map(str.strip, views.split(","))),
            "format": format,
            "background": background,
            "supersampling": supersampling,
            "steps": steps,
            "diversity": diversity,
            "guidance_face": guidance_face,
            "guidance_body": guidance_body,
        }
    )


def looks_of(
    person: str,
    size: str | None,
    views: str | None,
    format: str,
    background: str | None,
    supersampling: int | None,
) -> GenerateRequest:
    """The options that decide how motion looks which is there already."""
    return request_of(
        person, 1, 0, size, views, format, background, supersampling, None, None, None, None
    )


def _checked(fields: dict[str, object]) -> GenerateRequest:
    try:
        return GenerateRequest.model_validate(fields).seeded()
    except ValidationError as error:
        names = {name: f"--{name.replace('_', '-')}" for name in GenerateRequest.model_fields}
        fail("\n".join(faults(error, names)), MISUSED)
