"""Which people there are: reads person.json and names of cameras, so the API needs no torch."""

import hashlib
import json
import logging
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jobs.request import Views

logger = logging.getLogger(__name__)


class PersonLimits(BaseModel):
    """What the person's networks take."""

    model_config = ConfigDict(frozen=True)

    max_seconds: float = Field(gt=0)


class PersonDefaults(BaseModel):
    """What a request means that leaves a field empty."""

    model_config = ConfigDict(frozen=True)

    steps: int
    guidance_face: float
    guidance_body: float
    diversity: float
    size: str
    views: Views | None = Field(default=None, exclude=True)  # None: the first camera


class PersonSummary(BaseModel):
    """One person, as far as a caller needs to know."""

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    licence: str
    max_seconds: float
    views: tuple[str, ...] = Field(description="All that `views` of a request may name.")
    default_views: tuple[str, ...] = Field(description="What is shown where none is named.")
    defaults: PersonDefaults
    digest: str  # sha256 of person.json


class _Manifest(BaseModel):
    name: str
    title: str
    licence: str
    limits: PersonLimits
    defaults: PersonDefaults


def list_people(folder: Path) -> list[PersonSummary]:
    """Everyone below `folder`, by name; one with a broken person.json is logged and left out."""
    found = []
    for manifest in sorted(folder.glob("*/person.json")):
        try:
            found.append(_read(manifest))
        except (OSError, ValidationError, ValueError) as error:
            logger.warning("person left out", extra={"path": str(manifest), "reason": str(error)})
    return found


def _read(path: Path) -> PersonSummary:
    content = path.read_bytes()
    manifest = _Manifest.model_validate_json(content)
    if manifest.name != path.parent.name:
        raise ValueError(f"the name {manifest.name!r} is not that of its folder")
    views = _cameras(path.with_name("cameras.json"))
    return PersonSummary(
        name=manifest.name,
        title=manifest.title,
        licence=manifest.licence,
        max_seconds=manifest.limits.max_seconds,
        views=views,
        default_views=manifest.defaults.views or views[:1],
        defaults=manifest.defaults,
        digest=hashlib.sha256(content).hexdigest(),
    )


def _cameras(path: Path) -> tuple[str, ...]:
    """Their names in order; none where they cannot be read, which is for the worker to tell."""
    try:
        entries = json.loads(path.read_bytes())["cameras"]
        return tuple(str(entry["name"]) for entry in entries)
    except (OSError, ValueError, KeyError, TypeError):
        return ()
