"""Fields of a second person, who speaks with the other channel of the recording."""

from __future__ import annotations

from pydantic import BaseModel, ValidationInfo, field_validator

from jobs.request.declare import FieldSet, FormInput, Group, request_field
from jobs.request.values import PersonName  # noqa: TC001 - pydantic reads the annotation


class PartnerFields(BaseModel):
    """The partner as a second person in the result."""

    both: bool = request_field(
        default=False,
        help="Show both people: the partner, too, moves with the recording and listens to the "
        "person. Each has a channel of the recording, or a file.",
        form=FormInput("Show both people", main=True),
    )
    partner_person: PersonName | None = request_field(
        None,
        "With `both`, the person who is the partner: a name from GET /people. Default: the same "
        "person.",
        values="a name from `GET /people`",
        form=FormInput(
            "The partner", main=True, placeholder="the same person", people=True, needs="both"
        ),
    )

    @field_validator("partner_person")
    @classmethod
    def _partner_is_shown(cls, partner_person: str | None, info: ValidationInfo) -> str | None:
        if partner_person is not None and info.data.get("both") is False:
            raise ValueError("needs both=true; add it, or leave partner_person out")
        return partner_person


FIELDS = FieldSet("partner", Group.MOTION, PartnerFields, order=12)
