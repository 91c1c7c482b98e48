"""Estimates of the time left, by a clock that the tests set."""

from collections.abc import Iterator, Mapping

import pytest

from jobs.persons import PersonDefaults
from jobs.request.model import GenerateRequest
from worker.pipeline.plan import Plan, plan_of
from worker.time_left.costs import Cost, stage_costs
from worker.time_left.estimator import TimeLeft

DEFAULTS = PersonDefaults(
    steps=50, guidance_face=1.5, guidance_body=1.5, diversity=0.9, size="512x512"
)
STEPS = 20  # reports of each stage
COSTS = {
    "speech": Cost(1.0, "speech"),
    "face": Cost(10.0, "face"),
    "guide": Cost(1.0, "guide"),
    "body": Cost(10.0, "body"),
    "render": Cost(20.0, "render"),
    "publish": Cost(0.5, "publish"),
}


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def run(
    estimate: TimeLeft, clock: Clock, truth: Mapping[str, float], *, begun: float = 0.0
) -> Iterator[tuple[float, float]]:
    """Do the stages in these seconds; yield the estimates with the true seconds left."""
    end = clock.seconds + sum(truth.values())
    for stage, seconds in truth.items():
        first = begun if stage == "render" else 0.0
        for step in range(1, STEPS + 1):
            clock.seconds += seconds / STEPS
            left = estimate(stage, first + (1 - first) * step / STEPS)
            assert left is not None
            yield left, end - clock.seconds


def shares_within(estimates: list[tuple[float, float]], tolerance: float) -> float:
    """Share of the estimates that are within a tolerance of the truth."""
    good = [abs(left - true) <= tolerance * true + 1e-6 for left, true in estimates]
    return sum(good) / len(good)


def begun(
    costs: Mapping[str, Cost] = COSTS, rates: Mapping[str, float] | None = None
) -> tuple[TimeLeft, Clock]:
    clock = Clock()
    estimate = TimeLeft(clock)
    assert estimate("decode", 0.0) is None
    clock.seconds += 7  # the person is loaded, which says nothing about later stages
    assert estimate("decode", 1.0) is None
    estimate.expect(costs, rates or {})
    return estimate, clock


def test_a_job_that_takes_its_expected_time_is_estimated_exactly() -> None:
    estimate, clock = begun()

    estimates = list(run(estimate, clock, {name: cost.seconds for name, cost in COSTS.items()}))

    assert shares_within(estimates, 0.001) == 1.0


@pytest.mark.parametrize("speed", [0.2, 3.0, 8.0])
def test_without_rates_the_first_stages_tell_the_speed_of_the_machine(speed: float) -> None:
    estimate, clock = begun()
    truth = {name: speed * cost.seconds for name, cost in COSTS.items()}

    estimates = list(run(estimate, clock, truth))

    after_face = estimates[2 * STEPS :]
    assert shares_within(after_face, 0.4) == 1.0
    assert shares_within(estimates[-STEPS:], 0.4) == 1.0


def test_the_rates_of_one_job_make_the_estimates_of_the_next_one_exact() -> None:
    truth = {"speech": 3.0, "face": 4.0, "guide": 9.0, "body": 2.0, "render": 60.0, "publish": 0.1}
    estimate, clock = begun()
    first = list(run(estimate, clock, truth))
    rates = estimate.rates
    assert rates == pytest.approx({name: truth[name] / COSTS[name].seconds for name in truth})

    again, clock = begun(rates=rates)
    second = list(run(again, clock, truth))

    assert shares_within(first, 0.1) < 0.9
    assert shares_within(second, 0.001) == 1.0


def test_load_that_doubles_during_the_job_is_followed() -> None:
    estimate, clock = begun()
    truth = {name: cost.seconds for name, cost in COSTS.items()} | {"body": 20.0, "render": 40.0}

    estimates = list(run(estimate, clock, truth))

    in_render = estimates[4 * STEPS : 5 * STEPS - 1]
    assert shares_within(in_render, 0.4) > 0.9
    middle = in_render[STEPS // 2 :]
    assert shares_within(middle, 0.2) == 1.0


def test_the_stages_of_stored_motion_take_no_time() -> None:
    costs = COSTS | {name: Cost(0.0, name) for name in ("speech", "face", "guide", "body")}
    estimate, clock = begun(costs)

    left, true = next(run(estimate, clock, {"render": 20.0, "publish": 0.5}))

    assert left == pytest.approx(true)
    assert estimate.rates == {}


def test_a_stage_that_an_earlier_attempt_began_is_not_learned() -> None:
    costs = COSTS | {"render": Cost(20.0, "render", begun=0.5)}
    estimate, clock = begun(costs)
    truth = {name: cost.seconds for name, cost in COSTS.items()} | {"render": 10.0}

    estimates = list(run(estimate, clock, truth, begun=0.5))

    assert shares_within(estimates[4 * STEPS :], 0.001) == 1.0
    assert "render" not in estimate.rates


def test_stages_may_alternate() -> None:
    estimate, clock = begun()
    left = []
    for window in range(1, 5):
        for stage in ("face", "body", "render"):
            clock.seconds += COSTS[stage].seconds / 4
            left.append(estimate(stage, window / 4))

    assert left[2] == pytest.approx(30.5, rel=0.1)
    assert left[5] == pytest.approx(20.5, rel=0.1)
    assert left[-1] == pytest.approx(0.5, rel=0.1)
    assert left == sorted(left, reverse=True)


def plan(**request: object) -> Plan:
    return plan_of(GenerateRequest.model_validate({"seed": 1} | request), DEFAULTS)


def test_costs_grow_with_takes_steps_size_and_length() -> None:
    usual = stage_costs([plan()], 10.0, shown=1)

    def ratio(stage: str, seconds: float = 10.0, shown: int = 1, **request: object) -> float:
        costs = stage_costs([plan(**request)], seconds, shown=shown)
        return costs[stage].seconds / usual[stage].seconds

    assert ratio("face", takes=3, shown=3) == pytest.approx(3)
    assert ratio("body", steps=25) == pytest.approx(0.5)
    assert ratio("speech", 20.0) == pytest.approx(2)
    assert ratio("render", size="1024") > 2.5
    assert ratio("render", takes=3, shown=2) == pytest.approx(2)
    assert ratio("render", outputs=["preview"]) < 0.3
    assert ratio("render", outputs=["motion"]) < 0.01


def test_outputs_that_differ_in_speed_have_rates_of_their_own() -> None:
    names = {
        stage_costs([plan(**request)], 1.0, shown=1)["render"].rate
        for request in ({}, {"format": "webm"}, {"outputs": ["preview"]}, {"format": "png"})
    }
    assert len(names) == 4


def test_stored_motion_and_finished_takes_cost_nothing() -> None:
    costs = stage_costs([plan(takes=4)], 10.0, shown=4, finished=3, stored=True)

    assert [costs[stage].seconds for stage in ("speech", "face", "guide", "body")] == [0] * 4
    assert costs["render"].begun == 0.75
