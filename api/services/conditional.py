"""Long polls and conditional requests: `Prefer: wait`, `ETag`, `If-None-Match`."""

import hashlib
import re
import time
from typing import Annotated

from fastapi import Header

from api.schemas.jobs import JobView
from jobs.model import JobStatus, State
from jobs.settings import Settings

LONGEST_SECONDS = 60
WAIT = re.compile(r'wait *= *"?([0-9]{1,9})"?', re.IGNORECASE)
TAG = re.compile(r'(?:W/)?"(queued|running|succeeded|failed|canceled)-([0-9]{1,9})-[0-9a-f]{16}"')

Prefer = Annotated[
    str | None,
    Header(
        alias="Prefer",
        description=f"`wait=N`: answer up to N seconds later, at most {LONGEST_SECONDS}.",
    ),
]
IfNoneMatch = Annotated[
    str | None,
    Header(alias="If-None-Match", description="An earlier `ETag`: 304 when nothing has changed."),
]


def seconds_to_wait(prefer: str | None) -> int:
    """N of `wait=N`, limited to LONGEST_SECONDS; 0 without it. Other preferences are ignored."""
    for preference in (prefer or "").split(","):
        if found := WAIT.fullmatch(preference.strip()):
            return min(int(found[1]), LONGEST_SECONDS)
    return 0


def version_of(view: JobView, settings: Settings) -> str:
    """Version of a view's content without its links; it changes before the links expire."""
    content = view.model_dump_json(exclude={"outputs": {"__all__": {"url"}}})
    if view.outputs:
        content += str(int(2 * time.time() // settings.link_seconds))
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return f"{view.state}-{view.attempt}-{digest}"


def entity_tag(view: JobView, settings: Settings) -> str:
    """The version as a weak `ETag`: weak, because links differ between equal versions."""
    return f'W/"{version_of(view, settings)}"'


def matches(if_none_match: str | None, tag: str) -> bool:
    """Return whether the caller already has the response with this tag."""
    tags = [each.strip().removeprefix("W/") for each in (if_none_match or "").split(",")]
    return "*" in tags or tag.removeprefix("W/") in tags


def known_status(if_none_match: str | None, status: tuple[State, int]) -> tuple[State, int]:
    """State and attempt of the caller's tag; without one, the current ones."""
    found = TAG.search(if_none_match or "")
    return status if found is None else (State(found[1]), int(found[2]))


def has_changed(status: JobStatus | None, known: tuple[State, int]) -> bool:
    """Return whether a job has another state or attempt than `known`, or was deleted."""
    return status is None or (status.state, status.attempt) != known


def has_ended(status: JobStatus | None) -> bool:
    """Return whether a job has ended or was deleted."""
    return status is None or status.state.final
