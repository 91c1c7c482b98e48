"""What callers say about waiting and about what they know already: `Prefer`, `If-None-Match`."""

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
    Header(description=f"`wait=N`: answer late, up to N of at most {LONGEST_SECONDS} seconds."),
]
IfNoneMatch = Annotated[
    str | None, Header(description="An `ETag` of before: 304 when nothing has changed.")
]


def seconds_to_wait(prefer: str | None) -> int:
    """N of `wait=N`, no more than we allow; 0 where there is none. Other preferences are let be."""
    for preference in (prefer or "").split(","):
        if found := WAIT.fullmatch(preference.strip()):
            return min(int(found[1]), LONGEST_SECONDS)
    return 0


def version_of(view: JobView, settings: Settings) -> str:
    """Names what the view says, links apart; it changes before those run out."""
    said = view.model_dump_json(exclude={"outputs": {"__all__": {"url"}}})
    if view.outputs:
        said += str(int(2 * time.time() // settings.link_seconds))
    digest = hashlib.sha256(said.encode()).hexdigest()[:16]
    return f"{view.state}-{view.attempt}-{digest}"


def entity_tag(view: JobView, settings: Settings) -> str:
    """The version as `ETag` writes it: weak, because the links in it differ."""
    return f'W/"{version_of(view, settings)}"'


def matches(if_none_match: str | None, tag: str) -> bool:
    """Whether the caller has this already."""
    given = [each.strip().removeprefix("W/") for each in (if_none_match or "").split(",")]
    return "*" in given or tag.removeprefix("W/") in given


def known_before(if_none_match: str | None, status: tuple[State, int]) -> tuple[State, int]:
    """State and attempt that the caller knows of: those of its tag, else the present ones."""
    found = TAG.search(if_none_match or "")
    return status if found is None else (State(found[1]), int(found[2]))


def has_moved(status: JobStatus | None, known: tuple[State, int]) -> bool:
    """Whether a job is in another state, or another attempt, than was known; or gone."""
    return status is None or (status.state, status.attempt) != known


def has_ended(status: JobStatus | None) -> bool:
    """Whether a job is final, or gone."""
    return status is None or status.state.final
