"""`visavis-server`: every command in a file of its own, imported when it is called.

Help must not wait for torch, and the API must run where there is none.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.commands import keys, tenants
from cli.request_options import request_of, request_options
from jobs.request.declare import Group, declared_fields

app = typer.Typer(
    name="visavis-server",
    help="Turns the sound of a conversation into video of the people in it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
app.add_typer(keys.app, name="keys")
app.add_typer(tenants.app, name="tenants")

# Of existing motion only the look changes, and each piece is one video.
RENDER_OMITS = (
    *(field.name for field in declared_fields(Group.MOTION) if field.name != "person"),
    "outputs",
)

Clip = Annotated[
    Path, typer.Argument(help="The recording: channel 1 the person, channel 2 the partner.")
]

PersonFolder = Annotated[
    Path | None, typer.Option(help="The person directory to make. Default: in VISAVIS_PEOPLE.")
]
Tenant = Annotated[str, typer.Option(help="Whose; `local` where nobody has a key.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a person who is there.")]


Again = Annotated[
    bool, typer.Option("--overwrite", help="Make videos again that are there already.")
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
@request_options(Group.MOTION, Group.LOOK)
def up(
    submit: Annotated[
        Path | None,
        typer.Option(help="Send this recording, wait for its video, stop everything."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for what --submit gets back.")] = Path("out"),
    *,
    fields: dict[str, Any],
) -> None:
    """API, worker and, if none is set, a Redis on this machine, until Ctrl-C."""
    from cli.local.up import run_up

    run_up(submit=submit, out=out, request=request_of(fields))


@app.command()
def api() -> None:
    """The HTTP door, on VISAVIS_HOST and VISAVIS_PORT."""
    from cli.commands.serve import run_api

    run_api()


@app.command()
def worker() -> None:
    """One worker: one process for each GPU."""
    from cli.commands.serve import run_one_worker

    run_one_worker()


@app.command()
@request_options(Group.MOTION, Group.LOOK)
def generate(
    clip: Clip,
    out: Annotated[
        Path | None,
        typer.Option(help="The video; with several takes -take-1, -take-2 ... is put in."),
    ] = None,
    *,
    fields: dict[str, Any],
) -> None:
    """Video of a recording, made here and now: no server, no queue, no database."""
    from cli.commands.generate import run_generate

    request = request_of(fields, out)
    run_generate(clip, out, request)


@app.command("import-person")
def import_person(
    source: Annotated[
        list[Path],
        typer.Argument(help="The folder with the released files, or downloaded archives."),
    ],
    person: Annotated[str, typer.Option(help="Whose files: PXB184, RLW104, TXB805, GQS883.")],
    out: PersonFolder = None,
    name: Annotated[
        str | None, typer.Option(help="The name to show the person by. Default: of --out.")
    ] = None,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Tell what would be done and what is missing.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """A person directory of released files; nothing that is in them is executed."""
    from cli.commands.persons import run_import

    run_import(source, person, out, name, check=check, overwrite=overwrite)


@app.command("download-person")
def download_person(
    person: Annotated[str, typer.Argument(help="PXB184, RLW104, TXB805 or GQS883.")],
    origin: Annotated[
        str | None, typer.Option("--from", help="A mirror's URL, or a folder with the files.")
    ] = None,
    out: PersonFolder = None,
    *,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept CC BY-NC 4.0 without being asked.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Fetch a released person from where the authors put the files, and import it."""
    from cli.commands.persons import run_download

    run_download(person, origin, out, accepted=accept_licence, overwrite=overwrite)


@app.command("export-person")
def export_person(
    folder: Annotated[Path, typer.Argument(help="A person directory.")],
    out: Annotated[Path, typer.Option(help="Folder to make, in the released layout.")],
    avatar: Annotated[
        Path | None, typer.Option(help="Where the person came from: the avatar is copied.")
    ] = None,
) -> None:
    """A person's motion networks in the released layout, for the reference to load."""
    from cli.commands.persons import run_export

    run_export(folder, out, avatar)


@app.command("webhook-secret")
def webhook_secret(tenant: Tenant = "local") -> None:
    """What the receiver of webhooks verifies them with."""
    from cli.commands.webhook_secret import run_webhook_secret

    run_webhook_secret(tenant)


@app.command("render-dataset")
@request_options(Group.MOTION, Group.LOOK, omit=RENDER_OMITS, required=("person",))
def render_dataset(
    dataset: Annotated[Path, typer.Argument(help="A folder of scenes in the released layout.")],
    out: Annotated[Path, typer.Option(help="Folder for the videos, one of each piece.")],
    max_seq_length: Annotated[
        int, typer.Option(min=1, help="Frames of a piece, 30 a second.")
    ] = 600,
    scenes: Annotated[
        str | None, typer.Option(help='Which, by name: "scene01,scene04". Default: all.')
    ] = None,
    chunks: Annotated[
        int | None, typer.Option(min=1, help="The first so many pieces of each. Default: all.")
    ] = None,
    *,
    fields: dict[str, Any],
    overwrite: Again = False,
) -> None:
    """Videos of a dataset's own motion, with its sound, piece by piece."""
    from cli.commands.render import run_render_dataset

    run_render_dataset(
        dataset,
        out,
        request_of(fields),
        scenes=[] if scenes is None else [name.strip() for name in scenes.split(",")],
        longest=max_seq_length,
        most=chunks,
        overwrite=overwrite,
    )


@app.command("render-results")
@request_options(Group.MOTION, Group.LOOK, omit=RENDER_OMITS, required=("person",))
def render_results(
    results: Annotated[Path, typer.Argument(help="results.npz of `python -m training sample`.")],
    out: Annotated[Path, typer.Option(help="Folder for the videos, one of each take.")],
    face: Annotated[
        Path | None, typer.Option(help="Results with the face codes, where these hold none.")
    ] = None,
    *,
    fields: dict[str, Any],
    truth: Annotated[
        bool, typer.Option("--truth", help="What was recorded, and not what was drawn.")
    ] = False,
    overwrite: Again = False,
) -> None:
    """Videos of samples of a dataset, with its sound."""
    from cli.commands.render import run_render_results

    run_render_results(results, face, out, request_of(fields), truth=truth, overwrite=overwrite)


@app.command()
def migrate(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Only say what is pending; exit status 1 where it is.")
    ] = False,
) -> None:
    """Bring the database up to date."""
    from cli.commands.migrate import run_migrate

    run_migrate(check=check)


@app.command()
def maintain() -> None:
    """Run one maintenance round without an API, for example from cron."""
    from cli.commands.maintain import run_maintain

    run_maintain()


@app.command()
def doctor() -> None:
    """What is there, what is missing, and what to do about it."""
    from cli.commands.doctor import run_doctor

    run_doctor()


if __name__ == "__main__":
    app()
