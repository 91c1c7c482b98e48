"""The persons that the service can show: person.json and camera names, without torch."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from contracts.person import DRAFT, MANIFEST, read_manifest
from jobs.request.declare import declared_fields
from jobs.request.values import Views

if TYPE_CHECKING:
    from collections.abc import Mapping
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


@dataclass(frozen=True)
class People:
    """Every person below a folder."""

    valid: tuple[PersonSummary, ...]  # by name
    left_out: Mapping[str, str]  # name of the folder -> reason, for the operator

    def reason(self, name: str) -> str:
        """Return the reason why a person is left out, else those of all; empty without any."""
        chosen = [name] if name in self.left_out else list(self.left_out)
        return "; ".join(f"{each} is left out: {self.left_out[each]}" for each in chosen)


def read_people(folder: Path) -> People:
    """Read every person below `folder`, with the reasons why some are left out."""
    valid, left_out = [], {}
    for draft in folder.glob(f"*/{DRAFT}"):
        left_out[draft.parent.name] = (
            f"its training is not complete, it has {DRAFT} but no {MANIFEST}; its trainers "
            "(`python -m training`) name the next step"
        )
    for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
        try:
            valid.append(_read(manifest.parent))
            left_out.pop(manifest.parent.name, None)
        except ValidationError as error:
            faults = [f"defaults.{each['loc'][0]}: {each['msg']}" for each in error.errors()]
            left_out[manifest.parent.name] = f"{manifest}: {', '.join(faults)}"
        except (OSError, ValueError) as error:
            text = str(error)
            named = text if str(manifest) in text else f"{manifest}: {text}"
            left_out[manifest.parent.name] = named
    return People(tuple(valid), dict(sorted(left_out.items())))


def list_people(folder: Path) -> list[PersonSummary]:
    """Return every person below `folder`, by name; one with an invalid person.json is logged."""
    people = read_people(folder)
    for name, reason in people.left_out.items():
        path = folder / name / MANIFEST
        if path.exists():
            logger.warning("person left out", extra={"path": str(path), "reason": reason})
    return list(people.valid)


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
