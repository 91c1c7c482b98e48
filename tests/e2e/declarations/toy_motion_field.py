"""Toy request field of motion."""

from pydantic import BaseModel

from jobs.request.declare import FieldSet, FormInput, Group, request_field


class ToyMotionFields(BaseModel):
    swing: int = request_field(0, "Swing.", ge=0, le=9, form=FormInput("Swing"))


FIELDS = FieldSet("toy motion", Group.MOTION, ToyMotionFields)
