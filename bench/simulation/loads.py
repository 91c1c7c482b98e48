"""Loads: the times at which jobs arrive, their tenants and the lengths of their clips."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

HOUR = 3600.0
DAY = 24 * HOUR
# Share of the mean rate in each hour of a day of office hours: a quarter at night, double at noon.
OFFICE_DAY = tuple(
    round(1.125 - 0.875 * math.cos(2 * math.pi * (hour - 1) / 24), 3) for hour in range(24)
)
FLAT_DAY = (1.0,)


@dataclass(frozen=True)
class Arrival:
    """One job."""

    id: str
    at: float  # seconds
    clip_seconds: float
    tenant: str = "local"
    priority: int = 0


@dataclass(frozen=True)
class Batch:
    """Many jobs of one tenant at once."""

    at: float  # seconds
    jobs: int
    tenant: str = "batch"
    priority: int = 0


@dataclass(frozen=True)
class Load:
    """Rates and shapes of a load."""

    clips_per_hour: float
    clip_seconds: float = 10.0  # median
    clip_spread: float = 0.5  # standard deviation of the logarithm of the length
    tenants: Mapping[str, float] = None  # type: ignore[assignment] # shares; None: one tenant
    day: Sequence[float] = FLAT_DAY  # rates of equal parts of a day, relative to their mean
    burst_every: float = 0.0  # mean seconds between bursts; 0 for none
    burst_seconds: float = 60.0
    burst_factor: float = 5.0  # rate during a burst, relative to the rate without
    batches: Sequence[Batch] = ()

    def __post_init__(self) -> None:
        if self.tenants is None:
            object.__setattr__(self, "tenants", {"local": 1.0})
        if self.clips_per_hour <= 0 or self.clip_seconds <= 0:
            raise ValueError("clips_per_hour and clip_seconds must be above 0")


def arrivals(load: Load, seconds: float, seed: int) -> list[Arrival]:
    """Draw the jobs of `seconds` in order of time: a Poisson process with the rate of the load."""
    generator = random.Random(seed)
    bursts = list(_bursts(load, seconds, generator))
    mean_shape = sum(load.day) / len(load.day)
    top = max(load.day) / mean_shape * (load.burst_factor if bursts else 1.0)
    rate = load.clips_per_hour / HOUR
    times = []
    now = 0.0
    while (now := now + generator.expovariate(rate * top)) < seconds:
        part = load.day[int(now % DAY / DAY * len(load.day))] / mean_shape
        if any(start <= now < start + load.burst_seconds for start in bursts):
            part *= load.burst_factor
        if generator.random() < part / top:
            times.append((now, None))
    events = [*times, *((each.at, each) for each in load.batches for _ in range(each.jobs))]
    events.sort(key=lambda event: event[0])
    names, shares = list(load.tenants), list(accumulate(load.tenants.values()))
    return [
        Arrival(
            f"{number:08d}",
            at,
            generator.lognormvariate(math.log(load.clip_seconds), load.clip_spread),
            *(
                (batch.tenant, batch.priority)
                if batch
                else (generator.choices(names, cum_weights=shares)[0], 0)
            ),
        )
        for number, (at, batch) in enumerate(events)
    ]


def _bursts(load: Load, seconds: float, generator: random.Random) -> Iterator[float]:
    """Yield the starts of bursts."""
    now = 0.0
    while load.burst_every and (now := now + generator.expovariate(1 / load.burst_every)) < seconds:
        yield now
