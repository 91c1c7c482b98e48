"""Levels of quality: the sampling options that a request leaves out.

Measured with the demo person: docs/adr/0018-few-steps.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from contracts.samplers import DEFAULT_SAMPLER, STUDENT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contracts.person import StudentFacts


@dataclass(frozen=True)
class Quality:
    """Sampling options of one level."""

    name: str
    description: str
    sampler: str  # a name in `contracts.samplers`
    steps: int
    guidance_until: int  # timestep below which a step takes one pass
    student: bool = False  # a person's student samples instead, where its guidance is wanted
    supersampling: int | None = None  # samples along a pixel's side; None: the person's


REFERENCE = Quality(
    "reference", "the setting of the released people, 100 steps of DDIM", "ddim", 100, 0
)
STANDARD = Quality("standard", "11 steps of UniPC, close to the result of many", "unipc", 11, 300)
DRAFT = Quality(
    "draft",
    "rougher, by the person's student or 7 steps of UniPC, with one sample a pixel",
    "unipc", 7, 25, student=True, supersampling=1,
)  # fmt: skip

QUALITIES = {quality.name: quality for quality in (DRAFT, STANDARD, REFERENCE)}


def sampling_options(
    defaults: Mapping[str, Any], steps: int | None = None, *, student: StudentFacts | None = None
) -> dict[str, Any]:
    """Return sampler, steps and guidance interval of a person's defaults.

    steps: DDIM with this number of steps instead. student: that of the person.
    """
    quality = QUALITIES.get(defaults.get("quality") or "")
    if steps is not None or quality is None:
        return {"sampler": DEFAULT_SAMPLER, "steps": steps or defaults["steps"]}
    if quality.student and student is not None and student.guides_as(defaults):
        return {"sampler": STUDENT, "steps": student.steps}
    return {
        "sampler": quality.sampler,
        "steps": quality.steps,
        "guidance_until": quality.guidance_until,
    }
