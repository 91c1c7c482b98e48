"""`visavis-server`: every command in a file of its own, imported when it is called.

Help must not wait for torch, and the API must run where there is none.
"""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import (
    DiversityOption,
    GuidanceBodyOption,
    GuidanceFaceOption,
    PersonOption,
    SeedOption,
    SizeOption,
    StepsOption,
    TakesOption,
    request_of,
)

app = typer.Typer(
    name="visavis-server",
    help="Turns the sound of a conversation into video of the people in it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)

Clip = Annotated[
    Path, typer.Argument(help="The recording: channel 1 the person, channel 2 the partner.")
]


def _say_version(asked: bool) -> None:  # noqa: FBT001 -- typer calls it so
    if asked:
        from cli.console import make_console, release

        make_console().print(f"visavis-server {release()}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=_say_version, is_eager=True, help="Say it and leave."),
]


@app.callback()
def common(*, version: Version = False) -> None:
    """Turns the sound of a conversation into video of the people in it."""


@app.command()
def up(
    submit: Annotated[
        Path | None,
        typer.Option(help="Send this recording, wait for its video, stop everything."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for what --submit gets back.")] = Path("out"),
    person: PersonOption = "demo",
    takes: TakesOption = 1,
    seed: SeedOption = None,
    size: SizeOption = None,
    steps: StepsOption = None,
    diversity: DiversityOption = None,
    guidance_face: GuidanceFaceOption = None,
    guidance_body: GuidanceBodyOption = None,
) -> None:
    """API, worker and, if none is set, a Redis on this machine, until Ctrl-C."""
    from cli.up import run_up

    request = request_of(person, takes, seed, size, steps, diversity, guidance_face, guidance_body)
    run_up(submit=submit, out=out, request=request)


@app.command()
def api() -> None:
    """The HTTP door, on VISAVIS_HOST and VISAVIS_PORT."""
    from cli.serve import run_api

    run_api()


@app.command()
def worker() -> None:
    """One worker: one process for each GPU."""
    from cli.serve import run_one_worker

    run_one_worker()


@app.command()
def generate(
    clip: Clip,
    out: Annotated[
        Path | None,
        typer.Option(help="The MP4; with several takes -take-1, -take-2 ... is put in."),
    ] = None,
    person: PersonOption = "demo",
    takes: TakesOption = 1,
    seed: SeedOption = None,
    size: SizeOption = None,
    steps: StepsOption = None,
    diversity: DiversityOption = None,
    guidance_face: GuidanceFaceOption = None,
    guidance_body: GuidanceBodyOption = None,
) -> None:
    """Video of a recording, made here and now: no server, no queue, no database."""
    from cli.generate import run_generate

    request = request_of(person, takes, seed, size, steps, diversity, guidance_face, guidance_body)
    run_generate(clip, out or Path(f"{clip.stem}.mp4"), request)


@app.command()
def doctor() -> None:
    """What is there, what is missing, and what to do about it."""
    from cli.doctor import run_doctor

    run_doctor()


if __name__ == "__main__":
    app()
