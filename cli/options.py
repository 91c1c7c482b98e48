"""The options that mean a request; their limits are those of the API."""

from typing import Annotated

import typer
from pydantic import ValidationError

from cli.console import MISUSED, fail, faults
from jobs.request import GenerateRequest

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


def request_of(
    person: str,
    takes: int,
    seed: int | None,
    size: str | None,
    views: str | None,
    steps: int | None,
    diversity: float | None,
    guidance_face: float | None,
    guidance_body: float | None,
) -> GenerateRequest:
    """The options as a request; leaves with a line for each that does not fit."""
    try:
        return GenerateRequest(
            person=person,
            takes=takes,
            seed=seed,
            size=size,
            views=None if views is None else tuple(map(str.strip, views.split(","))),
            steps=steps,
            diversity=diversity,
            guidance_face=guidance_face,
            guidance_body=guidance_body,
        ).seeded()
    except ValidationError as error:
        names = {name: f"--{name.replace('_', '-')}" for name in GenerateRequest.model_fields}
        fail("\n".join(faults(error, names)), MISUSED)
