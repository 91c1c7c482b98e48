"""Stages of a job in order, each with its share of the progress bar and its time limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Stage:
    """One step of a job."""

    name: str  # in the API, in settings and in logs
    label: str  # for people
    weight: float  # share of a whole job: the demo person on a CPU
    # Seconds without a sign of progress, for a clip of up to 20 s (worker/process/watchdog.py).
    # Generous: a released person takes seconds per frame on a CPU, `decode` also loads the person.
    limit_seconds: float | None


STAGES: tuple[Stage, ...] = (
    Stage("queued", "Waiting", 0.0, None),
    Stage("decode", "Reading", 0.02, 600.0),
    Stage("speech", "Listening", 0.08, 600.0),
    Stage("face", "Face", 0.20, 600.0),
    Stage("guide", "Gestures", 0.10, 600.0),
    Stage("body", "Body", 0.20, 600.0),
    Stage("render", "Rendering", 0.38, 900.0),
    Stage("publish", "Finishing", 0.02, 600.0),
)
STAGE_NAMES: tuple[str, ...] = tuple(stage.name for stage in STAGES)
STAGE_SECONDS: Mapping[str, float] = {
    stage.name: stage.limit_seconds for stage in STAGES if stage.limit_seconds is not None
}


class JobProgress:
    """Progress of a job whose stages may overlap: each has its own fraction."""

    def __init__(self) -> None:
        self._done: dict[str, float] = {}
        self._overall = 0.0

    def report(self, stage: str, fraction: float) -> tuple[str, float, float]:
        """Return the latest stage that has begun, its fraction, and the progress of the job.

        None of them falls. A stage without reports before the latest one was skipped.
        Raises: ValueError: for an unknown stage.
        """
        _position(stage)
        self._done[stage] = max(self._done.get(stage, 0.0), min(max(fraction, 0.0), 1.0))
        latest = max(self._done, key=_position)
        begun = STAGES[: _position(latest) + 1]
        done = sum(each.weight * self._done.get(each.name, 1.0) for each in begun)
        self._overall = max(self._overall, min(1.0, done))
        return latest, self._done[latest], self._overall


def overall_progress(stage: str, fraction: float) -> float:
    """Return the progress 0..1 of a job at `fraction` 0..1 of `stage`.

    Raises: ValueError: for an unknown stage.
    """
    position = _position(stage)
    before = sum(each.weight for each in STAGES[:position])
    return min(1.0, before + STAGES[position].weight * min(max(fraction, 0.0), 1.0))


def _position(stage: str) -> int:
    if stage not in STAGE_NAMES:
        raise ValueError(f"unknown stage {stage!r}; available: {', '.join(STAGE_NAMES)}")
    return STAGE_NAMES.index(stage)
