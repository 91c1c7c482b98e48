"""`visavis-server import-person`, `download-person`, `export-person`: released people."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.commands.operate.doctor import CheckResult, Status, print_checks
from cli.console import (
    MISUSED,
    expected_errors,
    fail,
    length_of,
    make_console,
    needing,
    read_settings,
    wait_without_spinning,
)
from contracts.files import write_atomically
from contracts.person import check_files, read_manifest
from models.released.download import (
    LICENCE,
    PEOPLE,
    Download,
    DownloadError,
    fetch,
    person_downloads,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from models.released.person import CheckResult as PartCheck

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PROGRESS_BYTES = 50_000_000  # between two lines about the same file


def run_import(
    sources: Sequence[Path],
    person: str,
    out: Path | None,
    name: str | None,
    *,
    check: bool,
    overwrite: bool,
) -> None:
    """Write the person directory; with `check`, only print what would be written."""
    folder = _person_folder(person, out, name)
    wait_without_spinning()
    with needing("worker"):
        from models.released.person import (
            check_released,
            open_sources,
            read_released,
            write_released,
        )
        from models.released.reader import ReleasedError
    console = make_console()
    try:
        with open_sources(sources, person) as layout:
            if check:
                print_checks(console, _checks(check_released(layout), folder))
                console.print(f"{folder} would be written", soft_wrap=True)
                return
            released = read_released(layout)
            seconds = write_released(released, folder, overwrite=overwrite)
    except ReleasedError as error:
        fail(str(error), MISUSED)
    for part in released.parts:
        for note in part.notes:
            console.print(f"{part.part}: {note}", soft_wrap=True)
    console.print(f"{folder}  CC BY-NC 4.0, clips to {length_of(seconds)}", soft_wrap=True)


def run_download(
    person: str, origin: str | None, out: Path | None, *, accepted: bool, overwrite: bool
) -> None:
    """Download the released files, after the licence is accepted, and import them."""
    mirror = origin if origin is not None and re.match(r"https?://", origin) else None
    if person not in PEOPLE and origin is None:
        fail(f"no released person {person!r}; the released people are {', '.join(PEOPLE)}", MISUSED)
    _person_folder(person, out, None)  # checks the arguments before the download
    console = make_console()
    _accept(console, person, accepted=accepted)
    if origin is not None and mirror is None:
        run_import([Path(origin)], person, out, None, check=False, overwrite=overwrite)
        return
    folder = read_settings().data / "downloads" / person
    for download in person_downloads(person, mirror):
        _fetch(console, download, folder)
    run_import([folder], person, out, None, check=False, overwrite=overwrite)
    console.print(f"the downloads stay in {folder}", soft_wrap=True)


def run_export(folder: Path, out: Path, avatar: Path | None, layout: str) -> None:
    """Write a person in the released layout, or its avatar as VRM."""
    wait_without_spinning()
    if layout == "vrm":
        _export_vrm(folder, out, avatar)
        return
    if layout != "released":
        fail(f"--format: unknown format {layout!r}; choose released or vrm", MISUSED)
    with needing("worker"):
        from models.released.export import export_person
        from models.released.reader import ReleasedError
    console = make_console()
    try:
        notes = export_person(folder, out, avatar=avatar)
    except ReleasedError as error:
        fail(str(error), MISUSED)
    for note in notes:
        console.print(note, soft_wrap=True)
    console.print(str(out), soft_wrap=True)


def _export_vrm(folder: Path, out: Path, avatar: Path | None) -> None:
    with needing("worker"):
        import torch

        from models.animation.gltf.vrm import write_vrm
        from models.avatar.loading import load_avatar
    if avatar is not None:
        fail("--avatar: only the released layout copies an avatar; leave it out", MISUSED)
    if out.suffix.lower() != ".vrm":
        fail(f"--out: {out} is not a .vrm file; change the suffix", MISUSED)
    with expected_errors("stopped before the file was complete"):
        check_files(folder)
        manifest = read_manifest(folder)
        loaded = load_avatar(folder, device=torch.device("cpu"))
        describe = getattr(loaded, "figure", None)
        if describe is None:
            fail(f"{folder}: this kind of avatar has no skeleton to export", MISUSED)
        title = manifest.title or manifest.name
        with write_atomically(out) as draft:
            write_vrm(
                draft,
                describe(manifest.name),
                title=title,
                licence=manifest.licence or "",
                author=f"visavis: {title}",
            )
    make_console().print(f"{out}  {out.stat().st_size / 1e6:.1f} MB", soft_wrap=True)


def _person_folder(person: str, out: Path | None, name: str | None) -> Path:
    """Return the person directory to write, which has the name of the person."""
    new_name = name or (out.name if out is not None else person)
    for each in (person, new_name):
        if not NAME.fullmatch(each):
            fail(f"invalid person name {each!r}; use letters, digits, '.', '_' and '-'", MISUSED)
    folder = out if out is not None else read_settings().people / new_name
    if folder.name != new_name:
        fail(f"--out must end with the name: {folder.parent / new_name}, not {folder}", MISUSED)
    return folder


def _checks(parts: Sequence[PartCheck], folder: Path) -> Iterator[CheckResult]:
    shown: set[str] = set()
    for part in parts:
        if part.fault:
            text = "as above" if part.fault in shown else part.fault
            shown.add(part.fault)
            yield CheckResult(Status.BAD, part.part, text)
            continue
        names = ", ".join(path.name for path in part.sources)
        yield CheckResult(Status.OK, part.part, f"{names} -> {folder / part.file}")
        for note in part.notes:
            yield CheckResult(Status.WARN, part.part, note)


def _accept(console: Console, person: str, *, accepted: bool) -> None:
    """Print the licence and ask for consent; exit without it."""
    console.print(LICENCE.format(person=person), soft_wrap=True)
    if accepted:
        return
    if not sys.stdin.isatty():
        fail("no terminal to ask for consent; add --accept-licence if you accept it", MISUSED)
    if not typer.confirm("Do you accept this licence?"):
        fail("nothing was downloaded")


def _fetch(console: Console, download: Download, folder: Path) -> None:
    shown = 0

    def print_progress(name: str, done: int, total: int | None) -> None:
        nonlocal shown
        if done - shown >= PROGRESS_BYTES or done == total:
            shown = done
            of = f" of {total / 1e6:.0f}" if total is not None else ""
            console.print(f"  {name}  {done / 1e6:.0f}{of} MB", soft_wrap=True)

    try:
        fetch(download, folder, progress=print_progress)
    except DownloadError as error:
        if download.required:
            fail(str(error))
        console.print(f"  {error}; the file is optional", soft_wrap=True)
    except KeyboardInterrupt:
        fail(f"stopped; the partial download of {download.path} is continued the next time")
