"""Resolve a request and a person's defaults into a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from jobs.request import (
    TRANSPARENT,
    check_samples,
    check_width,
    parse_colour,
    parse_size,
)
from models.avatar.appearance import RenderOptions
from models.motion.pipeline import Sampling, take_seed

if TYPE_CHECKING:
    from jobs.persons import PersonDefaults
    from jobs.request import Format, GenerateRequest
    from models.avatar.camera import Camera
    from worker.pipeline.persons import Renders

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """A request with the person's own defaults in the places that were left empty."""

    sampling: Sampling
    width: int  # of each view
    height: int
    views: tuple[str, ...]  # empty: the first camera
    look: RenderOptions
    format: Format


def plan_of(request: GenerateRequest, defaults: PersonDefaults) -> Plan:
    """What to make; the request's seed is set: see `GenerateRequest.seeded`.

    Raises SizeUnsupported where the views are too wide together.
    """
    assert request.seed is not None
    size, views = request.size or defaults.size, request.views or defaults.views or ()
    check_width(size, views)
    check_samples(size, request.supersampling)
    width, height = parse_size(size)
    sampling = Sampling(
        seeds=tuple(take_seed(request.seed, take) for take in range(1, request.takes + 1)),
        steps=_given(request.steps, defaults.steps),
        guidance_face=_given(request.guidance_face, defaults.guidance_face),
        guidance_body=_given(request.guidance_body, defaults.guidance_body),
        diversity=_given(request.diversity, defaults.diversity),
    )
    return Plan(sampling, width, height, views, look_of(request), request.format)


def look_of(request: GenerateRequest) -> RenderOptions:
    """What is behind the person, and how finely edges are drawn."""
    behind = request.effective_background
    colour = None if behind in (None, TRANSPARENT) else parse_colour(behind)
    return RenderOptions("transparent" if behind == TRANSPARENT else colour, request.supersampling)


def cameras_of(plan: Plan, avatar: Renders) -> list[Camera]:
    """The avatar's cameras for every view, from left to right. Raises CameraError."""
    names = plan.views or (None,)
    return [avatar.camera(name).resized(plan.width, plan.height) for name in names]


def _given(value: T | None, default: T) -> T:
    return default if value is None else value
