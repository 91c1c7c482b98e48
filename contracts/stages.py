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


def overall_progress(stage: str, fraction: float) -> float:
    """Return the progress 0..1 of a job at `fraction` 0..1 of `stage`.

    Raises: ValueError: for an unknown stage.
    """
    if stage not in STAGE_NAMES:
        raise ValueError(f"unknown stage {stage!r}; available: {', '.join(STAGE_NAMES)}")
    position = STAGE_NAMES.index(stage)
    before = sum(each.weight for each in STAGES[:position])
    return min(1.0, before + STAGES[position].weight * min(max(fraction, 0.0), 1.0))
