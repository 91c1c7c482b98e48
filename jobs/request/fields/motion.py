"""Fields that the motion depends on."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from jobs.request.declare import FieldSet, FormInput, Group, request_field
from jobs.request.values import SEED_LIMIT, PersonName


class MotionFields(BaseModel):
    """Person, takes and sampling options."""

    person: PersonName = request_field(
        "demo",
        "The person to show: a name from GET /people.",
        values="a name from `GET /people`",
        always_in_digest=True,
    )
    takes: int = request_field(
        1,
        "Number of different takes to sample.",
        ge=1,
        le=10,
        form=FormInput("Takes", main=True),
        always_in_digest=True,
    )
    seed: int | None = request_field(
        None,
        "The same seed gives the same motion. Default: random, returned with the job.",
        ge=0,
        le=SEED_LIMIT - 1,
        form=FormInput("Seed", placeholder="random"),
        always_in_digest=True,
    )
    diversity: float | None = request_field(
        None,
        "Spread of the sampled key poses (top-p).",
        ge=0.01,
        le=1,
        form=FormInput("Diversity", step=0.01),
        person_default=True,
        always_in_digest=True,
    )
    guidance_face: float | None = request_field(
        None,
        "Guidance scale of the face: how closely it follows the audio.",
        ge=0,
        le=10,
        form=FormInput("Face follows the audio", step=0.1),
        person_default=True,
        always_in_digest=True,
    )
    guidance_body: float | None = request_field(
        None,
        "Guidance scale of the body: how closely it follows the audio.",
        ge=0,
        le=10,
        form=FormInput("Body follows the audio", step=0.1),
        person_default=True,
        always_in_digest=True,
    )
    steps: int | None = request_field(
        None,
        "Denoising steps: more is slower and finer. Default: those of the quality, or of the "
        "person.",
        ge=1,
        le=1000,
        form=FormInput("Steps"),
        person_default=True,
        always_in_digest=True,
    )
    person_channel: Literal["left", "right"] = request_field(
        "left",
        "Channel of the person in a recording of two channels; with a file for each person, right "
        "shows the partner.",
        form=FormInput("Channel of the person"),
    )


FIELDS = FieldSet("motion", Group.MOTION, MotionFields, order=10)
