"""Costs of a job and of a worker, in seconds, as measured elsewhere."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Costs:
    """Seconds of the parts of a job on one worker, and of what surrounds it.

    A job takes (`job` + `clip` times the length of its clip) times one of the factors.
    """

    job: float = 0.0  # whatever the length of the clip
    clip: float = 1.0  # for each second of the clip
    factors: Sequence[float] = (1.0,)  # measured seconds, divided by the line above
    motion: float = 0.6  # share of a job after which its motion is stored for the next attempt
    claim: float = 0.005  # from the end of a job, or a wake-up, to the start of the next job
    poll: float = 0.25  # between two looks of an idle worker
    messages: bool = False  # wake-ups through a broker, which shorten the wait for the next look
    message: float = 0.003  # of a wake-up
    start: float = 20.0  # of a new worker, until it claims: image, process, models, kernels

    def seconds(self, clip_seconds: float, generator: random.Random) -> float:
        """Draw the seconds of a job."""
        factor = self.factors[generator.randrange(len(self.factors))]
        return (self.job + self.clip * clip_seconds) * factor

    @property
    def factor(self) -> float:
        """Mean of the factors."""
        return sum(self.factors) / len(self.factors)


def write_costs(costs: Costs, path: Path) -> None:
    """Write costs as JSON."""
    path.write_text(json.dumps(asdict(costs), indent=1) + "\n", encoding="utf-8")


def read_costs(path: Path) -> Costs:
    """Read costs. Raises: ValueError: when the file does not contain costs."""
    content = json.loads(path.read_text(encoding="utf-8"))
    try:
        return Costs(**content)
    except TypeError as error:
        raise ValueError(f"{path}: not a file of costs: {error}") from error


def demo_costs() -> Costs:
    """Costs of a video of the demo person on two idle CPU cores, 512 pixels wide.

    They are those from which the service estimates the time left. A start takes what a pod with
    images on its node took there: process, models, kernels.
    """
    from worker.time_left import costs as measured

    motion = measured.SPEECH + sum(measured.ONE_BY_ONE.values())
    render = measured.FRAME_RATE * (measured.FRAME + measured.SAMPLE * 512 * 512 * 4)
    return Costs(
        job=measured.PUBLISH,
        clip=motion + render,
        factors=(0.85, 0.95, 1.0, 1.05, 1.15),
        motion=motion / (motion + render),
        poll=2.0,
        messages=True,
        start=60.0,
    )
