"""`visavis people`: the persons of a service."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.table import Table

from visavis.command.console import ExitStatus

if TYPE_CHECKING:
    from visavis.command.session import Session


def run_people(session: Session) -> int:
    """Print the persons."""
    with session.client() as client:
        people = client.people.list()
    if session.output.as_json:
        for person in people:
            session.output.result(asdict(person), "")
        return ExitStatus.DONE
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("person", "title", "longest clip", "views", "licence"):
        table.add_column(name, overflow="fold")
    for person in people:
        views = ", ".join(person.views)
        longest = f"{person.max_seconds:g} s"
        table.add_row(person.name, person.title, longest, views, person.licence)
    session.output.stdout.print(table)
    return ExitStatus.DONE
