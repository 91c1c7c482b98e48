"""The people that this worker has in memory: loaded on first use, a new version picked up."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from jobs.persons import list_people

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from jobs.persons import PersonDefaults, PersonSummary
    from jobs.settings import Settings
    from models.avatar.appearance import RenderOptions
    from models.avatar.camera import Camera
    from models.motion.pipeline import Motion, Sampling
    from worker.pipeline.progress import Progress

logger = logging.getLogger(__name__)

IN_MEMORY = 2  # the demo person's networks are small; a released person takes some gigabytes


class PersonUnknown(LookupError):
    """There is no such person (any more)."""


class Animates(Protocol):
    """What `models.motion.pipeline.Animator` can do."""

    def animate(
        self,
        audio: Tensor,  # [samples, 2]
        sampling: Sampling,
        *,
        progress: Progress,
    ) -> list[Motion]:
        """One motion for each seed."""


class Renders(Protocol):
    """What `models.avatar` can do, as far as work needs it."""

    def camera(self, name: str | None = None) -> Camera:
        """A camera by name, the default one for None. Raises CameraUnknown for another name."""

    def render(
        self,
        face: Tensor,  # [T, 256]
        pose: Tensor,  # [T, 104]
        cameras: Sequence[Camera],
        *,
        batch: int,
        look: RenderOptions,
    ) -> Iterator[NDArray[np.uint8]]:
        """Frames in order, [N, H, W * views, 3] with N <= batch, views side by side.

        4 for 3 where the look is transparent: RGBA.
        """


@dataclass(frozen=True)
class Models:
    """What is loaded from a person's folder."""

    animator: Animates
    avatar: Renders


@dataclass(frozen=True)
class Person:
    """One person, ready to work."""

    name: str
    digest: str
    defaults: PersonDefaults
    models: Models


class People:
    """Persons by name, the last few of them kept in memory."""

    def __init__(
        self, folder: Path, *, load: Callable[[Path], Models], in_memory: int = IN_MEMORY
    ) -> None:
        """load: the models of one person's folder; raises when its files are not what they were."""
        self._folder = folder
        self._load = load
        self._in_memory = in_memory
        self._kept: OrderedDict[str, Person] = OrderedDict()

    def get(self, name: str) -> Person:
        """The person as it is on the disk now. PersonUnknown says whom there is."""
        summary = self.summary(name)
        kept = self._kept.get(name)
        if kept is None or kept.digest != summary.digest:
            self._kept.pop(name, None)
            while len(self._kept) >= self._in_memory:  # room first: two at once may not fit
                self._kept.popitem(last=False)
            self._kept[name] = self._loaded(summary)
        self._kept.move_to_end(name)
        return self._kept[name]

    def forget(self) -> None:
        """Keep nobody in memory: they are loaded again when they are asked for."""
        self._kept.clear()

    def summary(self, name: str) -> PersonSummary:
        """What person.json says, with nothing loaded. PersonUnknown says whom there is."""
        return find_person(self._folder, name)

    def _loaded(self, summary: PersonSummary) -> Person:
        began = time.perf_counter()
        models = self._load(self._folder / summary.name)
        seconds = round(time.perf_counter() - began, 2)
        logger.info("person loaded", extra={"person": summary.name, "seconds": seconds})
        return Person(summary.name, summary.digest, summary.defaults, models)


def find_person(folder: Path, name: str) -> PersonSummary:
    """What person.json of somebody below `folder` says. PersonUnknown says whom there is."""
    found = {person.name: person for person in list_people(folder)}
    if name not in found:
        there = ", ".join(found) or "none"
        raise PersonUnknown(f"there is no person {name!r}; there are: {there}")
    return found[name]


def load_models(folder: Path, *, device: torch.device, settings: Settings) -> Models:
    """Animator and avatar of a person, after every file was held against its sha256."""
    from contracts.person import check_files
    from models.motion.pipeline import load_animator

    check_files(folder)
    avatar = load_renderer(folder, device=device, settings=settings)
    return Models(load_animator(folder, device=device), avatar)


def load_renderer(folder: Path, *, device: torch.device, settings: Settings) -> Renders:
    """The avatar alone, painted as the settings say."""
    from models.avatar.codec.precision import Precision
    from models.avatar.codec.renderer import CodecOptions
    from models.avatar.loading import load_avatar

    chosen = settings.render_precision
    precision = Precision(
        half=chosen == "bfloat16",
        tf32=chosen == "tf32",
        compiler="inductor" if settings.render_compile else None,
    )
    options = CodecOptions(rounding=settings.render_rounding)
    return load_avatar(folder, device=device, options=options, precision=precision)
