"""`visavis-server import-person`, `download-person`, `export-person`: released people."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Table
from rich.text import Text

from cli.commands.doctor import COLOURS, Mark
from cli.console import (
    FAILED,
    MISUSED,
    fail,
    make_console,
    needing,
    read_settings,
    wait_without_spinning,
)
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

    from models.released.person import CheckResult

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
TELL_BYTES = 50_000_000  # between two lines about the same file


def run_import(
    sources: Sequence[Path],
    person: str,
    out: Path | None,
    name: str | None,
    *,
    check: bool,
    overwrite: bool,
) -> None:
    """Write the person directory, or with `check` tell what would be written."""
    place = _place(person, out, name)
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
                _tell(console, check_released(layout), place)
                return
            found = read_released(layout)
            seconds = write_released(found, place, overwrite=overwrite)
    except (ReleasedError, OSError) as error:
        fail(str(error))
    for finding in found.findings:
        for note in finding.notes:
            console.print(f"{finding.part}: {note}", soft_wrap=True)
    console.print(f"{place}  CC BY-NC 4.0, clips to {seconds:g} s", soft_wrap=True)


def run_download(
    person: str, origin: str | None, out: Path | None, *, accepted: bool, overwrite: bool
) -> None:
    """Fetch the released files, after the licence was accepted, and import them."""
    mirror = origin if origin is not None and re.match(r"https?://", origin) else None
    if person not in PEOPLE and origin is None:
        fail(f"there is no released person {person!r}; there are {', '.join(PEOPLE)}", MISUSED)
    _place(person, out, None)  # what is wrong with it is told before anything is fetched
    console = make_console()
    _accept(console, person, accepted=accepted)
    if origin is not None and mirror is None:
        run_import([Path(origin)], person, out, None, check=False, overwrite=overwrite)
        return
    folder = read_settings().data / "downloads" / person
    for parcel in person_downloads(person, mirror):
        _fetch(console, parcel, folder)
    run_import([folder], person, out, None, check=False, overwrite=overwrite)
    console.print(f"the downloads are kept in {folder}", soft_wrap=True)


def run_export(folder: Path, out: Path, avatar: Path | None) -> None:
    """Write a person back to the released layout."""
    wait_without_spinning()
    with needing("worker"):
        from models.released.export import export_person
        from models.released.reader import ReleasedError
    console = make_console()
    try:
        notes = export_person(folder, out, avatar=avatar)
    except (ReleasedError, OSError) as error:
        fail(str(error))
    for note in notes:
        console.print(note, soft_wrap=True)
    console.print(str(out), soft_wrap=True)


def _place(person: str, out: Path | None, name: str | None) -> Path:
    """Where the person goes; its folder carries its name."""
    called = name or (out.name if out is not None else person)
    for word in (person, called):
        if not NAME.fullmatch(word):
            fail(f"{word!r} is no name of a person: letters, digits, '.', '_' and '-'", MISUSED)
    place = out if out is not None else read_settings().people / called
    if place.name != called:
        fail(f"--out must end with the name: {place.parent / called}, not {place}", MISUSED)
    return place


def _tell(console: Console, findings: Sequence[CheckResult], place: Path) -> None:
    """A line for each part; exit status 1 when one is missing or wrong."""
    table = Table.grid(padding=(0, 2))
    for mark, part, words in _lines(findings, place):
        table.add_row(Text(mark, COLOURS[mark]), part, words)
    console.print(table)
    if any(finding.fault for finding in findings):
        raise typer.Exit(FAILED)
    console.print(f"{place} would be written", soft_wrap=True)


def _lines(findings: Sequence[CheckResult], place: Path) -> Iterator[tuple[Mark, str, str]]:
    told: set[str] = set()
    for finding in findings:
        if finding.fault:
            words = "as above" if finding.fault in told else finding.fault
            told.add(finding.fault)
            yield Mark.BAD, finding.part, words
            continue
        names = ", ".join(path.name for path in finding.sources)
        yield Mark.OK, finding.part, f"{names} -> {place / finding.file}"
        for note in finding.notes:
            yield Mark.WARN, finding.part, note


def _accept(console: Console, person: str, *, accepted: bool) -> None:
    """Show the licence, and go on only with a yes."""
    console.print(LICENCE.format(person=person), soft_wrap=True)
    if accepted:
        return
    if not sys.stdin.isatty():
        fail("nobody is there to be asked; say --accept-licence if you accept it", MISUSED)
    if not typer.confirm("Do you accept this licence?"):
        fail("nothing was fetched")


def _fetch(console: Console, parcel: Download, folder: Path) -> None:
    told = 0

    def tell(name: str, done: int, total: int | None) -> None:
        nonlocal told
        if done - told >= TELL_BYTES or done == total:
            told = done
            of = f" of {total / 1e6:.0f}" if total is not None else ""
            console.print(f"  {name}  {done / 1e6:.0f}{of} MB", soft_wrap=True)

    try:
        fetch(parcel, folder, progress=tell)
    except (DownloadError, OSError) as error:
        if parcel.needed or not isinstance(error, DownloadError):
            fail(str(error))
        console.print(f"  {error}; it goes without", soft_wrap=True)
    except KeyboardInterrupt:
        fail(f"stopped; what came of {parcel.place} is kept and continued the next time")
