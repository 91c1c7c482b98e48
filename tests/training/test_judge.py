"""The judge of motion: what is right gets ones, what stands still gets nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import tiny_person
from tests.training.scenes import write_scene, write_turns
from training.data.audio import SAMPLES_PER_FRAME, loudness
from training.data.voice_activity import heard
from training.demo.judge import (
    JAW,
    SHOWN,
    Played,
    arm_speed,
    cut_clips,
    judge_alone,
    judge_body,
    judge_lips,
    judged,
)
from training.demo.speech.motion_rules import ARMS, UNIT
from training.evaluation.metrics import correlation

FRAMES = 240
SPEAKING = slice(30, 120)
LISTENING = slice(150, 220)


def talk() -> Played:
    """She speaks for three seconds, then her partner does; her jaw is as loud as she is."""
    rng = np.random.default_rng(1)
    samples = np.zeros((FRAMES, SAMPLES_PER_FRAME, 2), np.float32)
    swell = 0.5 + 0.4 * np.sin(np.arange(FRAMES) / 2)
    for channel, part in enumerate((SPEAKING, LISTENING)):
        noise = rng.uniform(-0.3, 0.3, (FRAMES, SAMPLES_PER_FRAME))
        samples[part, :, channel] = (noise * swell[:, None])[part]
    samples = samples.reshape(-1, 2)
    units, pose = np.zeros((FRAMES, 52)), rng.normal(0, 0.002, (FRAMES, 104)).cumsum(0)
    units[:, JAW] = loudness(samples[:, 0])
    for name in SHOWN[1:]:
        units[:, UNIT[name]] = rng.uniform(0, 0.3, FRAMES)
    pose[SPEAKING, ARMS] += 0.05 * rng.normal(size=pose[SPEAKING, ARMS].shape)
    return Played(samples, units, pose, units.copy(), pose.copy())


def test_the_truth_itself_gets_ones() -> None:
    lips, body = judge_lips([talk(), talk()]), judge_body([talk()])
    for name, value in lips.items():
        if name != "jaw_on_off_only":
            assert value == pytest.approx(1), name
    for name in ("body_speed_ratio", "body_second_difference_ratio", "body_spread_ratio"):
        assert body[name] == pytest.approx(1), name


def test_who_only_knows_whether_she_speaks_does_worse_than_the_truth() -> None:
    assert 0.3 < judge_lips([talk()])["jaw_on_off_only"] < 0.99


def test_a_frozen_mouth_gets_nothing() -> None:
    frozen = replace(talk(), units=np.full((FRAMES, 52), 0.2))
    for name, value in judge_lips([frozen]).items():
        if name != "jaw_on_off_only":
            assert value == pytest.approx(0, abs=1e-9), name
    assert judge_alone([frozen])["jaw_loudness"] == 0


def test_a_mouth_half_as_lively_has_half_the_spread_and_the_full_correlation() -> None:
    played = talk()
    figures = judge_lips([replace(played, units=played.units / 2)])
    assert figures["jaw_spread_ratio"] == pytest.approx(0.5)
    assert figures["jawOpen_speaking"] == pytest.approx(1)


def test_a_body_twice_as_lively_has_twice_the_speed_and_spread() -> None:
    played = talk()
    figures = judge_body([replace(played, pose=2 * played.pose)])
    assert figures["body_speed_ratio"] == pytest.approx(2)
    assert figures["body_spread_ratio"] == pytest.approx(2)


def test_a_trembling_body_is_rougher_than_it_is_fast() -> None:
    played = talk()
    tremble = 0.02 * (-1.0) ** np.arange(FRAMES)[:, None]
    figures = judge_body([replace(played, pose=played.pose + tremble)])
    assert figures["body_second_difference_ratio"] > figures["body_speed_ratio"] > 1.5


def test_without_a_truth_lips_are_held_against_loudness_and_silence() -> None:
    alone = judge_alone([replace(talk(), true_units=None, true_pose=None)])
    assert alone["jaw_loudness"] == pytest.approx(1)
    assert alone["jaw_mean_speaking"] > 0.2
    assert alone["jaw_high_silent"] < 0.05
    assert alone["arm_speed_ratio"] > 2


def test_the_mouth_of_the_wrong_speaker_is_found_out() -> None:
    played = talk()
    swapped = judge_alone([replace(played, samples=played.samples[:, ::-1])])
    assert swapped["jaw_loudness"] < 0
    assert swapped["jaw_mean_silent"] > swapped["jaw_mean_speaking"]


def test_a_short_pause_is_still_speech_and_a_long_one_is_not() -> None:
    samples = talk().samples.reshape(FRAMES, SAMPLES_PER_FRAME, 2).copy()
    samples[60:66] = 0
    samples[80:110] = 0
    speaks = heard(samples.reshape(-1, 2), 0)
    assert speaks[40:70].all()
    assert not speaks[88:102].any()


def test_arm_speed_is_in_radians_a_second_and_as_long_as_the_clip() -> None:
    pose = np.zeros((10, 104))
    pose[:, ARMS] = 0.01 * np.arange(10)[:, None]
    np.testing.assert_allclose(arm_speed(pose), np.full(10, 0.3))


def test_correlation_is_pearsons_and_nothing_for_what_does_not_move() -> None:
    line = np.arange(10.0)
    assert correlation(line, 3 * line + 1) == pytest.approx(1)
    assert correlation(line, -line) == pytest.approx(-1)
    assert correlation(line, np.ones(10)) == 0


def test_clips_are_cut_one_after_the_other_without_the_rest(tmp_path: Path) -> None:
    write_scene(tmp_path, "a", 70)
    write_scene(tmp_path, "b", 30)
    clips = list(cut_clips(tmp_path, 1.0, 9))
    assert [int(codes[0, 0]) for _, codes, _ in clips] == [0, 30, 0]
    assert [part.shape for part in clips[1]] == [(48_000, 2), (30, 256), (30, 104)]
    assert len(list(cut_clips(tmp_path, 1.0, 2))) == 2


def test_a_person_is_judged_as_the_worker_would_show_her(tmp_path: Path) -> None:
    person = tiny_person.write_tiny_person(tmp_path)
    write_turns(tmp_path / "data", "a", 240)
    figures = judged(person, tmp_path / "data", clips=1, seconds=4.0, steps=1)
    assert all(isinstance(value, float) for value in figures.values())
    assert {"jaw_loudness", "jawOpen_speaking", "body_speed_ratio"} <= figures.keys()
    assert judged(person, tmp_path / "data", clips=1, seconds=4.0, steps=1) == figures
