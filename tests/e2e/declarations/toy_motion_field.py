"""Toy request field of motion: the sampler."""

from typing import Literal

from pydantic import BaseModel

from contracts.samplers import SAMPLERS
from jobs.request.declare import FieldSet, FormInput, Group, request_field


class ToyMotionFields(BaseModel):
    sampler: Literal[tuple(SAMPLERS.by_name)] = request_field(
        "ddim", "Diffusion sampler.", form=FormInput("Sampler")
    )


FIELDS = FieldSet("toy motion", Group.MOTION, ToyMotionFields)
