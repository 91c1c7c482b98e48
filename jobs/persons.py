"""The persons that the service can show: person.json and camera names, without torch."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from contracts.person import MANIFEST, PersonError, read_manifest
from jobs.request.declare import declared_fields
from jobs.request.values import Views

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger(__name__)

FIRST_DEFAULTS = {"steps", "guidance_face", "guidance_body", "diversity", "size"}


def _default_fields() -> dict[str, Any]:
    """Return the fields of `PersonDefaults`: request fields whose default a person may set.

    Persons of the first release have all of that release's fields; a later field may be missing.
    """
    fields: dict[str, Any] = {}
    for field in declared_fields():
        if not field.person_default:
            continue
        if field.name == "views":  # GET /people returns them as `default_views`
            fields["views"] = (Views | None, Field(default=None, exclude=True))
        elif field.name in FIRST_DEFAULTS:
            fields[field.name] = (field.type, ...)
        else:
            fields[field.name] = (field.type | None, None)
    return fields


if TYPE_CHECKING:

    class PersonDefaults(BaseModel):
        """Values of request fields that a request leaves empty."""

        steps: int
        guidance_face: float
        guidance_body: float
        diversity: float
        size: str
        views: Views | None = None

else:
    PersonDefaults = create_model(
        "PersonDefaults",
        __config__=ConfigDict(frozen=True),
        __doc__="Values of request fields that a request leaves empty.",
        __module__=__name__,
        **_default_fields(),
    )


class PersonSummary(BaseModel):
    """A person as the API describes it."""

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    licence: str
    max_seconds: float
    views: tuple[str, ...] = Field(description="All names that `views` of a request may contain.")
    default_views: tuple[str, ...] = Field(description="The views of a request that names none.")
    defaults: PersonDefaults
    digest: str  # SHA-256 of person.json


def list_people(folder: Path) -> list[PersonSummary]:
    """Return every person below `folder`, by name; one with an invalid person.json is logged."""
    found = []
    for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
        try:
            found.append(_read(manifest.parent))
        except (OSError, PersonError, ValidationError, ValueError) as error:
            logger.warning("person left out", extra={"path": str(manifest), "reason": str(error)})
    return found


def _read(folder: Path) -> PersonSummary:
    manifest = read_manifest(folder)
    if manifest.name != folder.name:
        raise ValueError(f"name: {manifest.name!r} is not the name of its folder")
    if not manifest.max_seconds > 0:
        raise ValueError(f"limits.max_seconds: must be above 0 ({manifest.max_seconds})")
    for member in ("title", "licence"):
        if getattr(manifest, member) is None:
            raise ValueError(f"{member}: missing; add it to {MANIFEST}")
    views, defaults = _cameras(folder / "cameras.json"), PersonDefaults(**manifest.defaults)
    return PersonSummary(
        name=manifest.name,
        title=manifest.title or "",
        licence=manifest.licence or "",
        max_seconds=manifest.max_seconds,
        views=views,
        default_views=defaults.views or views[:1],
        defaults=defaults,
        digest=manifest.digest,
    )


def _cameras(path: Path) -> tuple[str, ...]:
    """Return camera names in order; empty for an invalid file, which the worker reports."""
    try:
        entries = json.loads(path.read_bytes())["cameras"]
        return tuple(str(entry["name"]) for entry in entries)
    except (OSError, ValueError, KeyError, TypeError):
        return ()
