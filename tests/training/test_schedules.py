"""Learning rates of the released tokenizer and guide at the places where they bend."""

import pytest

from training.schedules import RELEASED_GUIDE, RELEASED_TOKENIZER, StepSchedule

SHORT = StepSchedule(rate=1.0, warmup=4, milestones=(6, 10), gamma=0.1)


def test_the_warm_up_rises_in_equal_steps_to_a_hair_below_the_rate() -> None:
    assert [SHORT.at(update) for update in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_after_the_warm_up_its_last_rate_stays() -> None:
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


def test_where_the_warm_up_is_apart_milestones_are_counted_from_its_end() -> None:
    apart = StepSchedule(rate=1.0, warmup=4, milestones=(6,), gamma=0.1, warmup_apart=True)
    assert [apart.at(update) for update in range(5)] == pytest.approx([0.4, 0.6, 0.8, 0.8, 0.8])
    assert apart.at(3 + 5) == pytest.approx(0.8)
    assert apart.at(3 + 6) == pytest.approx(0.08)


def test_the_released_tokenizer_has_one_milestone_and_a_thousand_warm_up_rates() -> None:
    assert RELEASED_TOKENIZER.at(0) == pytest.approx(1e-3 * 2 / 1001)
    assert RELEASED_TOKENIZER.at(998) == pytest.approx(1e-3 * 1000 / 1001)
    assert RELEASED_TOKENIZER.at(200_000) == pytest.approx(1e-3 * 1000 / 1001)
    assert RELEASED_TOKENIZER.at(400_000) == pytest.approx(5e-5 * 1000 / 1001)


def test_the_released_guide_slows_down_twice() -> None:
    full = 2e-4 * 5000 / 5001
    assert RELEASED_GUIDE.at(0) == pytest.approx(2e-4 / 5001)
    for update, share in ((4999, 1), (49_999, 1), (50_000, 0.1), (400_000, 0.01)):
        assert RELEASED_GUIDE.at(update) == pytest.approx(full * share)
