"""Resolve a request and the defaults of its persons into performers with their plans."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from contracts.avatar_kinds import FULL
from jobs.request.declare import Group
from jobs.request.model import declared_values
from jobs.request.values import (
    SIDE,
    TRANSPARENT,
    check_samples,
    check_width,
    parse_colour,
    parse_size,
)
from models.avatar.appearance import RenderOptions
from models.avatar.camera import PORTRAIT
from models.motion.pipeline import Sampling, take_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from contracts.outputs import Output
    from jobs.persons import PersonDefaults
    from jobs.request.model import GenerateRequest
    from models.avatar.avatar import Avatar
    from models.avatar.camera import Camera
    from worker.pipeline.persons import Person

# Fields that the plan itself or the decoder reads; all others are passed on by name.
PLANNED = {
    "person", "person_channel", "takes", "seed", "both", "partner_person", "quality", "size",
    "views", "layout", "outputs", "format", "background", "use", "watermark",
}  # fmt: skip
RENAMED = {"supersampling": "samples"}  # request field -> attribute of RenderOptions


EARLY_SHARE = 0.2  # of the time of previews and videos at default sizes


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
    def early(self) -> tuple[Output, ...]:
        """Outputs that are written for all takes before the other files."""
        return tuple(output for output in self.outputs if output.early)

    @property
    def late(self) -> tuple[Output, ...]:
        """The other outputs."""
        return tuple(output for output in self.outputs if not output.early)

    @property
    def early_share(self) -> float:
        """Share of the stage "render" for early outputs, 0..1."""
        if any(output.frames for output in self.late):
            return EARLY_SHARE if self.early else 0.0
        return 1.0 if self.early else 0.0

    @property
    def renders(self) -> bool:
        """True when any output contains frames."""
        return any(output.frames for output in self.outputs)


@dataclass(frozen=True)
class Performer:
    """One person of a job: who it is, which voice is theirs, and their takes."""

    person: Person
    plan: Plan
    role: str = ""  # in names of files; empty for the first person
    swapped: bool = False  # the voice is the second channel of the decoded audio, not the first


@dataclass(frozen=True)
class TakeFile:
    """The performers that one file of a take shows, from left to right."""

    places: tuple[int, ...]  # of the performers in their job
    role: str = ""  # in the name of the file


@dataclass(frozen=True)
class Cast:
    """The performers of a job, from left to right."""

    performers: tuple[Performer, ...]
    request: GenerateRequest  # resolved for all of them
    together: bool = True  # one picture shows all of them

    @property
    def plan(self) -> Plan:
        """The plan of the first performer; all have the same outputs."""
        return self.performers[0].plan

    def files(self, output: Output) -> tuple[TakeFile, ...]:
        """Return the files of one output of a take."""
        if output.frames and self.together:
            return (TakeFile(tuple(range(len(self.performers)))),)
        return tuple(TakeFile((place,), each.role) for place, each in enumerate(self.performers))

    def check_cameras(self) -> None:
        """Check the views and the size of all pictures. Raises: CameraError, SizeUnsupported."""
        if not self.plan.renders:
            return
        cameras = [cameras_of(each.plan, each.person.models.avatar) for each in self.performers]
        if self.together:
            names = [camera.name for views in cameras for camera in views]
            check_width(f"{self.plan.width}x{self.plan.height}", names)


def cast_of(request: GenerateRequest, person_named: Callable[[str], Person]) -> Cast:
    """Return the performers of a request whose seed is set.

    Raises: SizeUnsupported: as `plan_of`. Errors of `person_named`.
    """
    people = [person_named(name) for name in request.people]
    resolved = request.resolved(*(each.defaults for each in people))
    performers = tuple(
        Performer(person, plan_of(alone, person.defaults), role, swapped=place > 0)
        for place, (person, alone, role) in enumerate(
            zip(people, resolved.performers, resolved.roles, strict=True)
        )
    )
    return Cast(performers, resolved, together=request.layout == SIDE)


def plan_of(request: GenerateRequest, defaults: PersonDefaults) -> Plan:
    """Resolve a request of one person whose seed is set (`GenerateRequest.seeded`).

    Raises: SizeUnsupported: when the views are too wide together or have too many samples.
    """
    assert request.seed is not None
    seeds = tuple(take_seed(request.seed, take) for take in range(1, request.takes + 1))
    request = request.resolved(defaults)
    size, views = request.size or defaults.size, request.views or defaults.views or ()
    check_width(size, views)
    check_samples(size, request.supersampling)
    width, height = parse_size(size)
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
    """Return the avatar's camera of each view, from left to right.

    The shading `full` has the camera `portrait` as its default, where the person has it.
    Raises: CameraError.
    """
    portrait = plan.options.shading == FULL and PORTRAIT in avatar.cameras
    names = plan.views or (PORTRAIT if portrait else None,)
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
