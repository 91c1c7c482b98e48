"""Request body of POST /jobs/{id}/render."""

from pydantic import BaseModel, ConfigDict, Field

from jobs.request import (
    MOST_SAMPLES,
    Background,
    Format,
    Metadata,
    Outputs,
    Priority,
    Size,
    Take,
    Views,
)

LOOK = ("size", "views", "outputs", "format", "background", "supersampling")  # not the motion


class RenderAsked(BaseModel):
    """How to show it; what is left out stays as it was."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    takes: tuple[Take, ...] | None = Field(
        default=None, min_length=1, max_length=10, description="Which of the takes, from 1. All."
    )
    size: Size | None = Field(default=None, description='Of one view in pixels: "WxH", or "N".')
    views: Views | None = Field(default=None, description="The person's cameras that show it.")
    outputs: Outputs | None = Field(default=None, description="video, motion, or both.")
    format: Format | None = Field(default=None, description="mp4, mov, webm or png.")
    background: Background | None = Field(
        default=None, description='A colour like "#20242c", or "transparent".'
    )
    supersampling: int | None = Field(
        default=None, ge=1, le=MOST_SAMPLES, description="Samples along each side of a pixel."
    )
    priority: Priority = Field(default=0, description="-10 to 10: higher ones are done first.")
    metadata: Metadata = Field(default={}, description="Your own words about it.")
    callback_url: str | None = Field(default=None, description="Is told when the job has ended.")
