"""Learning rates at the changes of their schedules."""

import pytest

from training.loop.schedules import ConstantSchedule, CosineSchedule, StepSchedule
from training.networks.recipes import read_recipe

SHORT = StepSchedule(rate=1.0, warmup=4, milestones=(6, 10), gamma=0.1)


def test_the_warm_up_rises_in_equal_steps_to_slightly_below_the_rate() -> None:
    assert [SHORT.at(update) for update in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_the_last_rate_of_the_warm_up_stays() -> None:
    assert [SHORT.at(update) for update in (4, 5)] == pytest.approx([0.8, 0.8])


def test_every_milestone_multiplies_the_rate() -> None:
    assert [SHORT.at(update) for update in (6, 9, 10, 1000)] == pytest.approx(
        [0.08, 0.08, 0.008, 0.008]
    )


def test_a_milestone_inside_the_warm_up_is_overwritten() -> None:
    early = StepSchedule(rate=1.0, warmup=4, milestones=(2, 6), gamma=0.1)
    assert [early.at(update) for update in range(12)] == pytest.approx(
        [0.2, 0.4, 0.6, 0.8, 0.8, 0.8] + [0.08] * 6
    )


def test_a_separate_warm_up_counts_milestones_from_its_end() -> None:
    apart = StepSchedule(rate=1.0, warmup=4, milestones=(6,), gamma=0.1, warmup_apart=True)
    assert [apart.at(update) for update in range(5)] == pytest.approx([0.4, 0.6, 0.8, 0.8, 0.8])
    assert apart.at(3 + 5) == pytest.approx(0.8)
    assert apart.at(3 + 6) == pytest.approx(0.08)


def test_the_cosine_warms_up_and_decreases_over_the_run() -> None:
    cosine = CosineSchedule(rate=1.0, warmup=10, final=0.1)
    assert cosine.at(0, 0.0) == pytest.approx(0.1)
    assert cosine.at(9, 0.0) == pytest.approx(1.0)
    assert cosine.at(500, 0.5) == pytest.approx(0.55)
    assert cosine.at(1000, 1.0) == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["face", "body"])
def test_the_released_denoisers_have_a_constant_rate(name: str) -> None:
    schedule = read_recipe(name, "released").loop.schedule
    assert schedule == ConstantSchedule(1e-4)
    assert {schedule.at(update, 0.3) for update in (0, 10, 800_000)} == {1e-4}


def test_the_released_tokenizer_has_one_milestone_and_a_thousand_warm_up_rates() -> None:
    schedule = read_recipe("tokenizer", "released").loop.schedule
    assert schedule.at(0, 0.0) == pytest.approx(1e-3 * 2 / 1001)
    assert schedule.at(998, 0.0) == pytest.approx(1e-3 * 1000 / 1001)
    assert schedule.at(200_000, 0.5) == pytest.approx(1e-3 * 1000 / 1001)
    assert schedule.at(400_000, 1.0) == pytest.approx(5e-5 * 1000 / 1001)


def test_the_released_guide_lowers_its_rate_twice() -> None:
    schedule = read_recipe("guide", "released").loop.schedule
    full = 2e-4 * 5000 / 5001
    assert schedule.at(0, 0.0) == pytest.approx(2e-4 / 5001)
    for update, share in ((4999, 1), (49_999, 1), (50_000, 0.1), (400_000, 0.01)):
        assert schedule.at(update, 0.0) == pytest.approx(full * share)
