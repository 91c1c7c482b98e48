"""Cache of loaded persons: load on first use, reload when person.json changes."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from contracts.consent import UNKNOWN, Consent
from contracts.imports import quick_imports
from contracts.person import PersonError, check_files, read_manifest
from jobs.persons import read_people

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import torch
    from torch import Tensor

    from jobs.persons import PersonDefaults, PersonSummary
    from jobs.settings import Settings
    from models.avatar.avatar import Avatar
    from models.motion.execution.sizes import BatchSizes
    from models.motion.pipeline import Motion, Networks, Sampling
    from worker.pipeline.progress import Progress

    Signature = tuple[tuple[str, int, int, int], ...]

logger = logging.getLogger(__name__)

IN_MEMORY = 2  # the demo person is small; a released person takes some gigabytes


class PersonUnknown(LookupError):
    """No person has this name."""

    def __init__(self, message: str, reason: str = "") -> None:
        """reason: why people are left out, with paths: for the operator, not for API clients."""
        super().__init__(message)
        self.reason = reason


class PersonDamaged(PersonUnknown):
    """The person's directory is invalid on this machine."""


class NoPeople(PersonUnknown):
    """This machine has no person at all."""


class Animator(Protocol):
    """Interface of `models.motion.pipeline.Animator`, so that tests can pass a fake."""

    max_frames: int  # of a clip that the networks take whole

    def stream(
        self,
        chunks: Iterable[Tensor],  # [samples, 2] each
        sampling: Sampling,
        *,
        progress: Progress,
    ) -> Iterator[list[Motion]]:
        """Yield one motion for each seed, in parts; a clip that fits whole is one part."""

    def count_parts(self, frames: int, sampling: Sampling) -> int:
        """Return how many parts the networks make of a clip."""


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
    consent: Consent = UNKNOWN


class PersonCache:
    """Persons by name; the most recently used ones stay in memory."""

    def __init__(
        self, folder: Path, *, load: Callable[[Path], Models], in_memory: int = IN_MEMORY
    ) -> None:
        """load: loads the models of one person directory."""
        self._folder = folder
        self._load = load
        self._in_memory = in_memory
        self._lock = threading.RLock()  # attempts in several threads use the same persons
        self._loaded: OrderedDict[str, Person] = OrderedDict()
        self._incomplete: dict[str, Signature] = {}  # files that did not match

    def get(self, name: str) -> Person:
        """Return the current version of a person, complete; the one before while it is copied.

        Raises:
            PersonUnknown: with all names.
            PersonError: when the files do not match person.json and no version is loaded.
        """
        with self._lock:
            return self._current(name)

    def _current(self, name: str) -> Person:
        loaded = self._loaded.get(name)
        try:
            summary = self.summary(name)
            if loaded is None or loaded.digest != summary.digest:
                self._load_version(summary)
        except (PersonError, PersonDamaged, NoPeople) as error:
            if name not in self._loaded:
                raise
            facts = {"person": name, "reason": str(error)}
            logger.warning("person stays at its earlier version", extra=facts)
        self._loaded.move_to_end(name)
        return self._loaded[name]

    def usable(self, name: str) -> bool:
        """Return whether `get` would find a complete version of the person."""
        with self._lock:
            return self._is_usable(name)

    def _is_usable(self, name: str) -> bool:
        if name in self._loaded:
            return True
        try:
            self._check(self.summary(name))
        except (PersonError, PersonDamaged, NoPeople):
            return False
        except PersonUnknown:  # removed; a job learns it
            return True
        return True

    def clear(self) -> None:
        """Evict all persons."""
        with self._lock:
            self._loaded.clear()

    def summary(self, name: str) -> PersonSummary:
        """Read person.json without loading models. Raises: PersonUnknown: with all names."""
        return find_person(self._folder, name)

    def _load_version(self, summary: PersonSummary) -> None:
        """Replace the loaded version, once the files of the new one are complete."""
        files = self._check(summary)
        self._loaded.pop(summary.name, None)
        while len(self._loaded) >= self._in_memory:  # evict first: both may not fit at once
            self._loaded.popitem(last=False)
        start = time.perf_counter()
        folder = self._folder / summary.name
        try:
            with quick_imports():  # tables, and kernels where it is the first person
                models = self._load(folder)
        finally:
            if _signature(folder) != files:
                raise PersonError(f"{folder} changed while it was read")
        seconds = round(time.perf_counter() - start, 2)
        logger.info("person loaded", extra={"person": summary.name, "seconds": seconds})
        person = Person(summary.name, summary.digest, summary.defaults, models, summary.consent)
        self._loaded[summary.name] = person

    def _check(self, summary: PersonSummary) -> Signature:
        """Compare all files with person.json, unless nothing has changed since they differed.

        Raises: PersonError: when they differ.
        """
        folder = self._folder / summary.name
        files = _signature(folder)
        if self._incomplete.get(summary.name) == files:
            raise PersonError(f"{folder} does not match its person.json")
        try:
            check_files(folder)
            if read_manifest(folder).digest != summary.digest or _signature(folder) != files:
                raise PersonError(f"{folder} changed while it was checked")
        except PersonError:
            self._incomplete[summary.name] = files
            raise
        return files


def _signature(folder: Path) -> Signature:
    """Return name, inode, size and time of each file of a person."""
    stats = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if path.is_file()]
    return tuple((name, each.st_ino, each.st_size, each.st_mtime_ns) for name, each in stats)


def find_person(folder: Path, name: str) -> PersonSummary:
    """Return a person below `folder` by name. Raises: PersonUnknown: with all names."""
    people = read_people(folder)
    for person in people.valid:
        if person.name == name:
            return person
    names = ", ".join(person.name for person in people.valid) or "none"
    kind = PersonDamaged if name in people.left_out else PersonUnknown
    if not people.valid:
        kind = NoPeople
    raise kind(f"unknown person {name!r}; available: {names}", people.reason(name))


def load_models(folder: Path, *, device: torch.device, settings: Settings) -> Models:
    """Load animator and avatar of a person."""
    from models.avatar.loading import load_avatar
    from models.finishing.animator import load_finished_animator
    from models.motion.execution.sharing import SharedAnimator
    from models.motion.execution.sizes import sizes_within
    from worker.pipeline.device import free_memory

    def shared(networks: Networks) -> SharedAnimator:
        def sizes() -> BatchSizes:
            return sizes_within(networks, device, settings.jobs_together, free_memory(device))

        return SharedAnimator(networks, device=device, sizes=sizes)

    avatar = load_avatar(folder, device=device, settings=settings.avatar_settings)
    make = shared if settings.jobs_together > 1 else None
    return Models(load_finished_animator(folder, device=device, make=make), avatar)
