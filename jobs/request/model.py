"""The request of a job: all declared fields of motion and look."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from contracts.outputs import Output, alpha_formats, selected_outputs
from jobs.request.declare import FIELD_SETS, Group, declared_fields
from jobs.request.values import SEED_LIMIT, TRANSPARENT

if TYPE_CHECKING:
    from jobs.request.fields.look import LookFields
    from jobs.request.fields.motion import MotionFields

    class _Declared(LookFields, MotionFields):
        """The sets that this project declares; a set in another file adds its fields to these."""

else:
    # The last base is the first in the order of fields.
    _SETS = [fields.model for fields in FIELD_SETS if fields.group is not Group.JOB]
    _Declared = create_model("_Declared", __base__=tuple(reversed(_SETS)))


class GenerateRequest(_Declared):
    """Request for a clip; None selects the person's default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def effective_background(self) -> str | None:
        """Background with its default: transparent for formats with an alpha channel."""
        if self.background is None and self.format in alpha_formats():
            return TRANSPARENT
        return self.background

    def selected_outputs(self) -> tuple[Output, ...]:
        """Return the outputs to write for each take."""
        return tuple(selected_outputs(self.outputs, self.format))

    def seeded(self) -> GenerateRequest:
        """Return the request with a seed, so that every attempt gives the same motion."""
        if self.seed is not None:
            return self
        return self.model_copy(update={"seed": secrets.randbelow(SEED_LIMIT)})


class JobRequest(GenerateRequest):
    """The stored request of a job, with the takes that are made into files."""

    shown: tuple[int, ...] | None = Field(
        default=None, description="Numbers of the takes that are made into files; null: all."
    )

    def shows(self, take: int) -> bool:
        """Return whether this take, counted from 1, is made into files."""
        return self.shown is None or take in self.shown


def declared_values(request: GenerateRequest, group: Group, defaults: BaseModel) -> dict[str, Any]:
    """Return the values of a group's fields, empty ones replaced by the person's defaults."""
    values = {}
    for field in declared_fields(group):
        value = getattr(request, field.name)
        if value is None and field.person_default:
            value = getattr(defaults, field.name)
        values[field.name] = value
    return values


def motion_digest(request: GenerateRequest, person_digest: str) -> str:
    """Return the SHA-256 of everything that motion depends on; equal digests mean equal motion."""
    values = request.model_dump()
    facts: dict[str, Any] = {
        field.name: values[field.name]
        for field in declared_fields(Group.MOTION)
        if field.declared.get("always_in_digest") or values[field.name] != field.info.default
    }
    facts["person_digest"] = person_digest
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
