"""The command `visavis-server`: each command has its own module, imported when it runs.

Help must not wait for torch, and the API must run without torch.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.commands.operate import admin, keys, tenants
from cli.console import OneSentence
from cli.request_options import request_of, request_options
from jobs.request.declare import Group, declared_fields

app = typer.Typer(
    name="visavis-server",
    cls=OneSentence,
    help="Turn the audio of a conversation into video of the people in it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
app.add_typer(admin.app, name="admin")
app.add_typer(keys.app, name="keys")
app.add_typer(tenants.app, name="tenants")

# Of existing motion only the look changes, and each piece is one video.
RENDER_OMITS = (
    *(field.name for field in declared_fields(Group.MOTION) if field.name != "person"),
    "layout",
    "outputs",
    "frame",
    "mesh_rate",
)
EXPORTED = ("frame", "mesh_rate", "use")
EXPORT_OMITS = tuple(
    field.name for field in declared_fields(Group.MOTION, Group.LOOK) if field.name not in EXPORTED
)
CONVERT_OMITS = tuple(
    field.name for field in declared_fields(Group.MOTION) if field.name != "person_channel"
)

Clip = Annotated[
    Path,
    typer.Argument(help="Recording: left channel the person to show, right channel the partner."),
]

Partner = Annotated[
    Path | None,
    typer.Option(help="Recording of the partner, if each person has a file of one channel."),
]
PersonFolder = Annotated[
    Path | None, typer.Option(help="Person directory to create. Default: in VISAVIS_PEOPLE.")
]
Tenant = Annotated[str, typer.Option(help="Name of the tenant; `local` without API keys.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing person.")]


Again = Annotated[bool, typer.Option("--overwrite", help="Replace existing videos.")]


def _say_version(asked: bool) -> None:  # noqa: FBT001 -- signature of a typer callback
    if asked:
        from cli.console import make_console, release

        make_console().print(f"visavis-server {release()}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=_say_version, is_eager=True, help="Print the version and exit."
    ),
]


@app.callback()
def common(*, version: Version = False) -> None:
    """Turn the audio of a conversation into video of the people in it."""


@app.command()
@request_options(Group.MOTION, Group.LOOK)
def up(
    submit: Annotated[
        Path | None,
        typer.Option(help="Submit this recording, wait for its video, then stop."),
    ] = None,
    partner: Partner = None,
    out: Annotated[Path, typer.Option(help="Folder for the outputs of --submit.")] = Path("out"),
    *,
    fields: dict[str, Any],
) -> None:
    """Run API, worker and, if no broker is set, Redis on this machine until Ctrl-C."""
    from cli.local.up import run_up

    run_up(submit=submit, partner=partner, out=out, request=request_of(fields))


@app.command()
def api() -> None:
    """Run the HTTP API on VISAVIS_HOST and VISAVIS_PORT."""
    from cli.commands.serve import run_api

    run_api()


@app.command()
def worker() -> None:
    """Run one worker; start one process for each GPU."""
    from cli.commands.serve import run_one_worker

    run_one_worker()


@app.command()
@request_options(Group.MOTION, Group.LOOK)
def generate(
    clip: Clip,
    partner: Partner = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write; its suffix selects the output. Several takes add -take-N."
        ),
    ] = None,
    *,
    fields: dict[str, Any],
) -> None:
    """Make the video of a recording in this process, without server, queue and database."""
    from cli.commands.generate import run_generate

    request = request_of(fields, out)
    run_generate(clip, partner, out, request)


@app.command()
@request_options(Group.MOTION, Group.LOOK)
def bulk(
    manifest: Annotated[
        str,
        typer.Argument(
            help="JSONL or Parquet file, by path or s3 URL; or a glob in quotes: 'calls/**/*.wav'."
        ),
    ],
    out: Annotated[str, typer.Option(help="Folder or s3 URL for files and table.")],
    engine: Annotated[
        str,
        typer.Option(help="local: processes; ray: actors; k8s: the shard of a pod, as local."),
    ] = "local",
    workers: Annotated[
        int, typer.Option(min=0, help="Workers; 0: one for each GPU, or else for each core.")
    ] = 0,
    table: Annotated[str, typer.Option(help="Format of the table: jsonl or parquet.")] = "jsonl",
    retries: Annotated[
        int, typer.Option(min=0, help="Retries of an item that fails or kills its process.")
    ] = 2,
    item_seconds: Annotated[
        float, typer.Option(min=1, help="Longest time of one attempt at an item.")
    ] = 21_600.0,
    grace_seconds: Annotated[
        float, typer.Option(min=0, help="Time for running items after SIGTERM or Ctrl-C.")
    ] = 30.0,
    *,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read files of earlier runs, not only their sizes.")
    ] = False,
    fields: dict[str, Any],
) -> None:
    """Make files of every recording of a manifest, without server, queue and database.

    Options of a request apply to items that do not set them. The same command continues a run.
    """
    from cli.commands.bulk import BulkOptions, run_bulk
    from worker.bulk.driver import BulkConfig

    config = BulkConfig(retries, item_seconds, grace_seconds, verify)
    run_bulk(manifest, out, BulkOptions(engine, workers, table, config), fields)


@app.command()
def detect(
    file: Annotated[Path, typer.Argument(help="Video, picture, sound or animation.")],
    manifest: Annotated[
        Path | None, typer.Option(help="Its manifest. Default: FILE.c2pa, where there is one.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say whether a file has a valid manifest and a watermark, and which job made it."""
    from cli.commands.detect import run_detect

    run_detect(file, manifest, as_json=as_json)


@app.command("convert-audio")
@request_options(Group.MOTION, omit=CONVERT_OMITS)
def convert_audio(
    recording: Clip,
    out: Annotated[Path, typer.Option(help="WAV file to write, such as scene01_audio.wav.")],
    partner: Partner = None,
    frames: Annotated[
        int | None,
        typer.Option(min=1, help="Frames of the motion, to which the audio is cut or padded."),
    ] = None,
    *,
    fields: dict[str, Any],
) -> None:
    """Write the audio of any recording as WAV for a scene of a dataset: 48 kHz, two channels."""
    from cli.commands.convert_audio import run_convert_audio

    run_convert_audio(recording, out, partner, frames, request_of(fields))


@app.command("import-person")
def import_person(
    source: Annotated[
        list[Path],
        typer.Argument(help="Folder with the released files, or downloaded archives."),
    ],
    person: Annotated[str, typer.Option(help="Released person: PXB184, RLW104, TXB805 or GQS883.")],
    out: PersonFolder = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the person. Default: the name of --out.")
    ] = None,
    *,
    check: Annotated[
        bool,
        typer.Option("--check", help="Only report what would be imported and what is missing."),
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Import a released person; no code in the files is executed."""
    from cli.commands.persons import run_import

    run_import(source, person, out, name, check=check, overwrite=overwrite)


@app.command("download-person")
def download_person(
    person: Annotated[str, typer.Argument(help="PXB184, RLW104, TXB805 or GQS883.")],
    origin: Annotated[
        str | None, typer.Option("--from", help="URL of a mirror, or a folder with the files.")
    ] = None,
    out: PersonFolder = None,
    *,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept CC BY-NC 4.0 without a prompt.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Download a released person from the authors' site, and import it."""
    from cli.commands.persons import run_download

    run_download(person, origin, out, accepted=accept_licence, overwrite=overwrite)


@app.command("install-people")
def install_people(
    source: Annotated[Path, typer.Argument(help="Folder with person directories.")],
    target: Annotated[Path, typer.Argument(help="Folder of VISAVIS_PEOPLE, or a volume for it.")],
) -> None:
    """Copy people whose files match their checksums, for example into a volume."""
    from cli.commands.people import run_install

    run_install(source, target)


@app.command()
@request_options(Group.MOTION, Group.LOOK, omit=EXPORT_OMITS)
def export(
    motion: Annotated[Path, typer.Argument(help="npz file of the output `motion`.")],
    formats: Annotated[str, typer.Option("--format", help='Format, or several: "bvh", "glb,csv".')],
    person: Annotated[
        str | None, typer.Option(help="Person of the motion. Default: the one in the file.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File of the first format. Default: the name of the motion, here."),
    ] = None,
    *,
    fields: dict[str, Any],
) -> None:
    """Write existing motion as files for Blender, Unreal, Unity and other animation tools."""
    from cli.commands.export import run_export_motion

    names = [name.strip() for name in formats.split(",")]
    run_export_motion(motion, names, person, out, request_of(fields))


@app.command("export-person")
def export_person(
    folder: Annotated[Path, typer.Argument(help="Person directory.")],
    out: Annotated[
        Path, typer.Option(help="Folder to create, in the released layout; with vrm the file.")
    ],
    avatar: Annotated[
        Path | None, typer.Option(help="Source of the person; its avatar is copied.")
    ] = None,
    layout: Annotated[
        str,
        typer.Option("--format", help="released: motion networks; vrm: the avatar as VRM 1.0."),
    ] = "released",
) -> None:
    """Export motion networks in the released layout, which the reference loads, or the avatar."""
    from cli.commands.persons import run_export

    run_export(folder, out, avatar, layout)


@app.command("webhook-secret")
def webhook_secret(tenant: Tenant = "local") -> None:
    """Print the secret with which a receiver verifies webhooks."""
    from cli.commands.operate.webhook_secret import run_webhook_secret

    run_webhook_secret(tenant)


@app.command("render-dataset")
@request_options(Group.MOTION, Group.LOOK, omit=RENDER_OMITS, required=("person",))
def render_dataset(
    dataset: Annotated[Path, typer.Argument(help="Folder of scenes in the released layout.")],
    out: Annotated[Path, typer.Option(help="Folder for the videos, one for each piece.")],
    max_seq_length: Annotated[
        int, typer.Option(min=1, help="Frames of a piece, 30 per second.")
    ] = 600,
    scenes: Annotated[
        str | None, typer.Option(help='Names of scenes: "scene01,scene04". Default: all.')
    ] = None,
    chunks: Annotated[
        int | None, typer.Option(min=1, help="Number of pieces of each scene. Default: all.")
    ] = None,
    *,
    fields: dict[str, Any],
    overwrite: Again = False,
) -> None:
    """Render the recorded motion of a dataset with its audio, in pieces."""
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
    results: Annotated[
        Path,
        typer.Argument(
            help="results.npz of `python -m training sample`, or motion of one take: npz or bvh."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the videos, one for each take.")],
    face: Annotated[
        Path | None,
        typer.Option(
            help="Results with face codes, if the first ones have none; for one take csv or npz."
        ),
    ] = None,
    audio: Annotated[
        Path | None, typer.Option(help="Recording of one take. Default: no sound.")
    ] = None,
    *,
    fields: dict[str, Any],
    truth: Annotated[
        bool, typer.Option("--truth", help="Render the recorded motion instead of the samples.")
    ] = False,
    overwrite: Again = False,
) -> None:
    """Render sampled motion of a dataset with its audio, or motion of one take, also edited."""
    from cli.commands.render import run_render_results

    run_render_results(
        results, face, out, request_of(fields), audio=audio, truth=truth, overwrite=overwrite
    )


@app.command()
def migrate(
    *,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Only list pending migrations; exit status 1 if there are any."
        ),
    ] = False,
) -> None:
    """Migrate the database to the newest schema."""
    from cli.commands.operate.migrate import run_migrate

    run_migrate(check=check)


@app.command("create-bucket")
def create_bucket() -> None:
    """Create the bucket of VISAVIS_STORAGE_URL, unless it exists."""
    from cli.commands.operate.bucket import run_create_bucket

    run_create_bucket()


@app.command()
def maintain() -> None:
    """Run one maintenance round without an API, for example from cron."""
    from cli.commands.operate.maintain import run_maintain

    run_maintain()


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="New or empty folder.")],
    *,
    objects: Annotated[
        bool | None,
        typer.Option(
            "--objects/--no-objects",
            help="Copy clips, motion and videos. Default: those of a folder, not of a bucket.",
        ),
    ] = None,
) -> None:
    """Back up database, objects and signing secret; the service may run."""
    from cli.commands.operate.backup import run_backup

    run_backup(folder, objects=objects)


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(help="Folder that `backup` has written.")],
) -> None:
    """Restore a backup into an empty database and an empty storage."""
    from cli.commands.operate.backup import run_restore

    run_restore(folder)


@app.command()
def openapi() -> None:
    """Print the OpenAPI document of the HTTP API, for generators of clients."""
    from cli.commands.operate.openapi import run_openapi

    run_openapi()


@app.command()
def doctor() -> None:
    """Check this machine and the settings, with a fix for each problem."""
    from cli.commands.operate.doctor import run_doctor

    run_doctor()


if __name__ == "__main__":
    app()
