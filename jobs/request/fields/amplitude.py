"""Fields that change how much a person moves: expressions and gestures."""

from __future__ import annotations

from pydantic import BaseModel

from jobs.request.declare import FieldSet, FormInput, Group, request_field


class AmplitudeFields(BaseModel):
    """Amplitudes around a person's neutral face and rest; their names are `contracts.CONTROLS`."""

    expressiveness: float = request_field(
        1.0,
        "Movement of face and head: 1 as trained, 0 a neutral face whose lips and blinks stay, 2 "
        "twice as much. Only for people with `controls` in GET /people.",
        ge=0,
        le=2,
        allow_inf_nan=False,
        form=FormInput("Expressiveness", step=0.1),
    )
    gestures: float = request_field(
        1.0,
        "Movement of arms and hands: 1 as trained, 0 at rest, 2 up to the limits of the joints. "
        "Only for people with `controls` in GET /people.",
        ge=0,
        le=2,
        allow_inf_nan=False,
        form=FormInput("Gestures", step=0.1),
    )


FIELDS = FieldSet("amplitude", Group.MOTION, AmplitudeFields, order=17)
