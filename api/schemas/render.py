"""Request body of POST /jobs/{id}/render."""

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from jobs.request.declare import Group, declared_fields
from jobs.request.fields.job import JobFields
from jobs.request.values import TakeNumber

if TYPE_CHECKING:
    _Look = BaseModel
else:
    _Look = create_model(
        "_Look",
        **{
            field.name: (
                field.optional_annotation,
                Field(
                    default=None,
                    description=f"{field.help} Default: as before.",
                    json_schema_extra=field.info.json_schema_extra,
                ),
            )
            for field in declared_fields(Group.LOOK)
        },
    )


class RenderAsked(JobFields, _Look):
    """Look of the new files; a field that is left out keeps its value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    takes: tuple[TakeNumber, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=10,
        description="Numbers of the takes to render, from 1. Default: all.",
    )

    def changed_look(self) -> dict[str, Any]:
        """Return the look fields that the caller has set."""
        names = {field.name for field in declared_fields(Group.LOOK)}
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}
