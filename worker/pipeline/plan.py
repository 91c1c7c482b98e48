"""Resolve a request and a person's defaults into a plan."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from jobs.request.declare import Group
from jobs.request.model import declared_values
from jobs.request.values import (
    TRANSPARENT,
    check_samples,
    check_width,
    parse_colour,
    parse_size,
)
from models.avatar.appearance import RenderOptions
from models.motion.pipeline import Sampling, take_seed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contracts.outputs import Output
    from jobs.persons import PersonDefaults
    from jobs.request.model import GenerateRequest
    from models.avatar.avatar import Avatar
    from models.avatar.camera import Camera

# Fields that the plan itself or the decoder reads; all others are passed on by name.
PLANNED = {
    "person", "person_channel", "takes", "seed", "size", "views", "outputs", "format", "background",
}  # fmt: skip
RENAMED = {"supersampling": "samples"}  # request field -> attribute of RenderOptions


@dataclass(frozen=True)
class Plan:
    """A request whose empty fields have the person's defaults."""

    sampling: Sampling
    width: int  # of each view, in pixels
    height: int
    views: tuple[str, ...]  # empty: the default camera
    options: RenderOptions
    outputs: tuple[Output, ...]

    @property
    def renders(self) -> bool:
        """True when any output contains frames."""
        return any(output.frames for output in self.outputs)


def plan_of(request: GenerateRequest, defaults: PersonDefaults) -> Plan:
    """Resolve a request whose seed is set (`GenerateRequest.seeded`).

    Raises: SizeUnsupported: when the views are too wide together or have too many samples.
    """
    assert request.seed is not None
    size, views = request.size or defaults.size, request.views or defaults.views or ()
    check_width(size, views)
    check_samples(size, request.supersampling)
    width, height = parse_size(size)
    seeds = tuple(take_seed(request.seed, take) for take in range(1, request.takes + 1))
    motion = declared_values(request, Group.MOTION, defaults)
    look = declared_values(request, Group.LOOK, defaults)
    return Plan(
        sampling=Sampling(seeds=seeds, **_arguments(Sampling, motion)),
        width=width,
        height=height,
        views=views,
        options=RenderOptions(background=_background(request), **_arguments(RenderOptions, look)),
        outputs=request.selected_outputs(),
    )


def cameras_of(plan: Plan, avatar: Avatar) -> list[Camera]:
    """Return the avatar's camera of each view, from left to right. Raises: CameraError."""
    names = plan.views or (None,)
    return [avatar.camera(name).resized(plan.width, plan.height) for name in names]


def _background(request: GenerateRequest) -> Any:
    background = request.effective_background
    return background if background in (None, TRANSPARENT) else parse_colour(background)


def _arguments(config: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of request fields as arguments of a config; those without an attribute go to `extra`.

    None is omitted, so that the config's default applies.
    """
    attributes = {each.name for each in fields(config)}
    named = {
        RENAMED.get(name, name): value
        for name, value in values.items()
        if name not in PLANNED and value is not None
    }
    known = {name: value for name, value in named.items() if name in attributes}
    extra = tuple((name, value) for name, value in named.items() if name not in attributes)
    return known | {"extra": extra}
