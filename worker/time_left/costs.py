"""Expected seconds of each stage of a job, and the name under which its rate is learned.

A cost is the time of the demo person on two idle CPU cores. A rate is the measured time divided by
the cost, so that rates of one person on one machine apply to clips of other lengths and sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from contracts.avatar_kinds import FULL
from contracts.samplers import DEFAULT_SAMPLER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from contracts.outputs import Output
    from worker.pipeline.plan import Plan

FRAME_RATE = 30
STEPS = 50  # of the costs below

# Seconds for each second of audio; those of takes for each take.
SPEECH = 0.02
ONE_BY_ONE = {"face": 0.8, "guide": 0.06, "body": 0.8}
# Other samplers sample guide and body beside the face: they report after it, and cost little more.
BESIDE = {"face": 0.2, "guide": 0.005, "body": 0.01}
FRAME = 0.004  # seconds of a frame, whatever its size
SAMPLE = 5e-9  # seconds of a sample of a pixel
SAMPLE_FULL = 2.3e-8  # in the shading `full`
PREVIEW = 0.07  # seconds for each second of a take
WRITE = 0.01  # seconds of a take without frames
PUBLISH = 0.2


@dataclass(frozen=True)
class Cost:
    """Seconds of one stage at a rate of 1."""

    seconds: float
    rate: str  # name of its rate: stages that differ in speed have different names
    begun: float = 0.0  # fraction that earlier attempts have done


def stage_costs(
    plans: Sequence[Plan],
    seconds: float,
    *,
    shown: int,
    finished: int = 0,
    stored: bool = False,
) -> Mapping[str, Cost]:
    """Return the cost of each stage after decoding, in their order.

    plans: of each person. seconds: of audio. shown: number of takes that are made into files, of
    which some may be finished. stored: whether the motion of an earlier attempt or job is used.
    """
    first, *others = (
        _costs_of_one(plan, seconds, shown=shown, finished=finished, stored=stored)
        for plan in plans
    )
    return {
        stage: replace(cost, seconds=cost.seconds + sum(each[stage].seconds for each in others))
        for stage, cost in first.items()
    } | {"publish": first["publish"]}


def _costs_of_one(
    plan: Plan, seconds: float, *, shown: int, finished: int, stored: bool
) -> dict[str, Cost]:
    sampling = plan.sampling
    motion = 0.0 if stored else seconds
    takes = motion * len(sampling.seeds)
    usual = ONE_BY_ONE if sampling.sampler == DEFAULT_SAMPLER else BESIDE
    steps, suffix = sampling.steps / STEPS, f"/{sampling.sampler}-{sampling.guidance_until}"
    return {
        "speech": Cost(SPEECH * motion, "speech"),
        "face": Cost(usual["face"] * takes * steps, f"face{suffix}"),
        "guide": Cost(usual["guide"] * takes, "guide"),
        "body": Cost(usual["body"] * takes * steps, f"body{suffix}"),
        "render": Cost(
            shown * sum(_output_seconds(output, plan, seconds) for output in plan.outputs),
            f"render/{'+'.join(output.name for output in plan.outputs)}",
            begun=finished / max(1, shown),
        ),
        "publish": Cost(PUBLISH, "publish"),
    }


def _output_seconds(output: Output, plan: Plan, seconds: float) -> float:
    """Return the seconds of one output of a take."""
    if output.early:
        return PREVIEW * seconds
    if not output.frames:
        return WRITE
    views, samples = max(1, len(plan.views)), plan.options.samples or 2
    pixels = plan.width * plan.height * views * samples**2
    sample = SAMPLE_FULL if plan.options.shading == FULL else SAMPLE
    return seconds * FRAME_RATE * (FRAME + sample * pixels)
