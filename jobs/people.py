"""Which people there are: reads person.json and nothing else, so the API needs no torch."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

if TYPE_CHECKING:
    from pathlib import Path

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


class PersonSummary(BaseModel):
    """One person, as far as a caller needs to know."""

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    licence: str
    max_seconds: float
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
    return PersonSummary(
        name=manifest.name,
        title=manifest.title,
        licence=manifest.licence,
        max_seconds=manifest.limits.max_seconds,
        defaults=manifest.defaults,
        digest=hashlib.sha256(content).hexdigest(),
    )
