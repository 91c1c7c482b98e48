"""Cache of loaded persons: load on first use, reload when person.json changes."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from jobs.persons import read_people

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch
    from torch import Tensor

    from jobs.persons import PersonDefaults, PersonSummary
    from jobs.settings import Settings
    from models.avatar.avatar import Avatar
    from models.motion.pipeline import Motion, Sampling
    from worker.pipeline.progress import Progress

logger = logging.getLogger(__name__)

IN_MEMORY = 2  # the demo person is small; a released person takes some gigabytes


class PersonUnknown(LookupError):
    """No person has this name."""

    def __init__(self, message: str, reason: str = "") -> None:
        """reason: why people are left out, with paths: for the operator, not for API clients."""
        super().__init__(message)
        self.reason = reason


class Animator(Protocol):
    """Interface of `models.motion.pipeline.Animator`, so that tests can pass a fake."""

    def animate(
        self,
        audio: Tensor,  # [samples, 2]
        sampling: Sampling,
        *,
        progress: Progress,
    ) -> list[Motion]:
        """Return one motion for each seed."""


@dataclass(frozen=True)
class Models:
    """Models loaded from a person directory."""

    animator: Animator
    avatar: Avatar


@dataclass(frozen=True)
class Person:
    """A loaded person."""

    name: str
    digest: str
    defaults: PersonDefaults
    models: Models


class PersonCache:
    """Persons by name; the most recently used ones stay in memory."""

    def __init__(
        self, folder: Path, *, load: Callable[[Path], Models], in_memory: int = IN_MEMORY
    ) -> None:
        """load: loads the models of one person directory."""
        self._folder = folder
        self._load = load
        self._in_memory = in_memory
        self._loaded: OrderedDict[str, Person] = OrderedDict()

    def get(self, name: str) -> Person:
        """Return the current version of a person. Raises: PersonUnknown: with all names."""
        summary = self.summary(name)
        loaded = self._loaded.get(name)
        if loaded is None or loaded.digest != summary.digest:
            self._loaded.pop(name, None)
            while len(self._loaded) >= self._in_memory:  # evict first: both may not fit at once
                self._loaded.popitem(last=False)
            self._loaded[name] = self._load_person(summary)
        self._loaded.move_to_end(name)
        return self._loaded[name]

    def clear(self) -> None:
        """Evict all persons."""
        self._loaded.clear()

    def summary(self, name: str) -> PersonSummary:
        """Read person.json without loading models. Raises: PersonUnknown: with all names."""
        return find_person(self._folder, name)

    def _load_person(self, summary: PersonSummary) -> Person:
        start = time.perf_counter()
        models = self._load(self._folder / summary.name)
        seconds = round(time.perf_counter() - start, 2)
        logger.info("person loaded", extra={"person": summary.name, "seconds": seconds})
        return Person(summary.name, summary.digest, summary.defaults, models)


def find_person(folder: Path, name: str) -> PersonSummary:
    """Return a person below `folder` by name. Raises: PersonUnknown: with all names."""
    people = read_people(folder)
    for person in people.valid:
        if person.name == name:
            return person
    names = ", ".join(person.name for person in people.valid) or "none"
    raise PersonUnknown(f"unknown person {name!r}; available: {names}", people.reason(name))


def load_models(folder: Path, *, device: torch.device, settings: Settings) -> Models:
    """Check the files of a person against person.json, then load animator and avatar."""
    from contracts.person import check_files
    from models.avatar.loading import load_avatar
    from models.motion.pipeline import load_animator

    check_files(folder)
    avatar = load_avatar(folder, device=device, settings=settings.avatar_settings)
    return Models(load_animator(folder, device=device), avatar)
