"""Toy request field of the look: the grey of the toy avatar, with a default in person.json."""

from pydantic import BaseModel

from jobs.request.declare import FieldSet, FormInput, Group, request_field


class ToyLookFields(BaseModel):
    grey: int | None = request_field(
        None, "Grey level.", ge=0, le=200, form=FormInput("Grey"), person_default=True
    )


FIELDS = FieldSet("toy look", Group.LOOK, ToyLookFields)
