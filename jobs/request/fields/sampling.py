"""Fields that select how motion is sampled: a level of quality, and what it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel

from contracts.quality import QUALITIES
from contracts.samplers import SAMPLERS
from jobs.request.declare import FieldSet, FormInput, Group, request_field

if TYPE_CHECKING:
    QualityName = str
    SamplerName = str
else:
    QualityName = Literal[tuple(QUALITIES)]
    SamplerName = Literal[tuple(SAMPLERS.by_name)]

_LEVELS = {name: f"{name}: {quality.description}" for name, quality in QUALITIES.items()}
_SAMPLERS = {sampler.name: sampler.description for sampler in SAMPLERS}


class SamplingFields(BaseModel):
    """Quality, sampler and guidance interval."""

    quality: QualityName | None = request_field(
        None,
        "Default of `sampler`, `steps`, `guidance_until` and `supersampling`. "
        f"{'; '.join(_LEVELS.values())}. "
        "A request with `steps` or `sampler` alone does not take the person's quality.",
        form=FormInput("Quality", main=True, labels=_LEVELS),
        person_default=True,
    )
    sampler: SamplerName | None = request_field(
        None,
        f"Diffusion sampler. {'; '.join(f'{name}: {text}' for name, text in _SAMPLERS.items())}. "
        "Default: that of the quality, or ddim.",
        form=FormInput("Sampler", placeholder="that of the quality", labels=_SAMPLERS),
    )
    guidance_until: int | None = request_field(
        None,
        "Timestep, from 999 (noise) to 0 (clean motion), below which a step takes one pass instead "
        "of two, with the guidance of the last step before. Default: that of the quality, or 0.",
        ge=0,
        le=999,
        form=FormInput("Guidance until timestep", placeholder="that of the quality"),
    )


FIELDS = FieldSet("sampling", Group.MOTION, SamplingFields, order=15)
