"""Evaluation of the demo person: the truth scores 1, a frozen face scores 0."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.person import PersonError
from tests import tiny_person
from tests.training.scenes import write_scene, write_turns
from training.data.audio import SAMPLES_PER_FRAME, loudness
from training.data.voice_activity import speech_mask
from training.demo.body_measures import (
    GROUPS,
    Hands,
    blinks,
    cue_frames,
    nods_at_cues,
    saccades,
    units_used,
)
from training.demo.judge import (
    JAW,
    REPORTED,
    SampledClip,
    arm_speed,
    cut_clips,
    judge,
    judge_body,
    judge_lips,
    judge_lips_alone,
    judge_movement,
    judge_without_truth,
    judged_avatar,
)
from training.demo.pose_keys import POSES
from training.demo.speech.motion_rules import ARMS, POSE, UNIT
from training.evaluation.metrics import correlation
from training.person_facts import DEMO_PERSON

FRAMES = 240
SPEAKING = slice(30, 120)
LISTENING = slice(150, 220)


def talk() -> SampledClip:
    """Three seconds of speech by each speaker; the jaw follows the loudness of the person."""
    rng = np.random.default_rng(1)
    samples = np.zeros((FRAMES, SAMPLES_PER_FRAME, 2), np.float32)
    swell = 0.5 + 0.4 * np.sin(np.arange(FRAMES) / 2)
    for channel, part in enumerate((SPEAKING, LISTENING)):
        noise = rng.uniform(-0.3, 0.3, (FRAMES, SAMPLES_PER_FRAME))
        samples[part, :, channel] = (noise * swell[:, None])[part]
    samples = samples.reshape(-1, 2)
    units, pose = np.zeros((FRAMES, 52)), rng.normal(0, 0.002, (FRAMES, 104)).cumsum(0)
    units[:, JAW] = loudness(samples[:, 0])
    for name in REPORTED[1:]:
        units[:, UNIT[name]] = rng.uniform(0, 0.3, FRAMES)
    pose[SPEAKING, ARMS] += 0.05 * rng.normal(size=pose[SPEAKING, ARMS].shape)
    return SampledClip(samples, units, pose, units.copy(), pose.copy())


def test_the_truth_scores_one() -> None:
    lips, body = judge_lips([talk(), talk()]), judge_body([talk()])
    for name, value in lips.items():
        if name != "jaw_on_off_only":
            assert value == pytest.approx(1), name
    for name in ("body_speed_ratio", "body_second_difference_ratio", "body_spread_ratio"):
        assert body[name] == pytest.approx(1), name


def test_the_on_off_baseline_scores_lower_than_the_truth() -> None:
    assert 0.3 < judge_lips([talk()])["jaw_on_off_only"] < 0.99


def test_a_frozen_mouth_scores_zero() -> None:
    frozen = replace(talk(), units=np.full((FRAMES, 52), 0.2))
    for name, value in judge_lips([frozen]).items():
        if name != "jaw_on_off_only":
            assert value == pytest.approx(0, abs=1e-9), name
    assert judge_without_truth([frozen])["jaw_loudness"] == 0


def test_a_mouth_that_moves_half_as_much_has_half_the_spread_and_full_correlation() -> None:
    clip = talk()
    figures = judge_lips([replace(clip, units=clip.units / 2)])
    assert figures["jaw_spread_ratio"] == pytest.approx(0.5)
    assert figures["jawOpen_speaking"] == pytest.approx(1)


def test_a_body_that_moves_twice_as_much_has_twice_the_speed_and_spread() -> None:
    clip = talk()
    figures = judge_body([replace(clip, pose=2 * clip.pose)])
    assert figures["body_speed_ratio"] == pytest.approx(2)
    assert figures["body_spread_ratio"] == pytest.approx(2)


def test_a_trembling_body_has_a_higher_roughness_ratio_than_speed_ratio() -> None:
    clip = talk()
    tremble = 0.02 * (-1.0) ** np.arange(FRAMES)[:, None]
    figures = judge_body([replace(clip, pose=clip.pose + tremble)])
    assert figures["body_second_difference_ratio"] > figures["body_speed_ratio"] > 1.5


def test_movement_is_measured_beside_the_truth() -> None:
    clip = talk()
    tremble = 0.02 * (-1.0) ** np.arange(FRAMES)[:, None]
    figures = judge_movement([replace(clip, pose=clip.pose + tremble)])
    for group in GROUPS:
        assert figures[f"jerk_{group}"] > 2 * figures[f"jerk_{group}_truth"], group
    assert figures["fast_head"] > 2 * figures["fast_head_truth"]
    assert figures["gaze_spread"] > figures["gaze_spread_truth"]


def test_the_lowest_ratio_of_arm_speeds_is_that_of_the_worst_take() -> None:
    clip = talk()
    restless = clip.pose + 0.01 * (-1.0) ** np.arange(FRAMES)[:, None]
    takes = [clip, replace(clip, pose=restless, take=2)]
    figures = judge_movement(takes)
    assert figures["arm_speed_ratio_lowest"] == judge_without_truth(takes[1:])["arm_speed_ratio"]
    assert figures["arm_speed_ratio_lowest"] < judge_without_truth(takes[:1])["arm_speed_ratio"]


def test_face_units_that_move_are_counted() -> None:
    units = np.zeros((400, 52))
    units[:40, 3] = 0.2
    units[:, 5] = 0.04
    units[7, 6] = 1.0  # one frame of 400
    assert units_used(units) == 1


def test_blinks_and_saccades_are_counted() -> None:
    units, pose = np.zeros((120, 52)), np.zeros((120, 104))
    for first in (20, 70):
        units[first : first + 4, [UNIT["eyeBlinkLeft"], UNIT["eyeBlinkRight"]]] = 0.9
        pose[first:, POSE["eye_L_ry"]] += 0.1
    assert (blinks(units), saccades(pose)) == (2, 2)


def test_nods_count_where_the_partner_has_just_finished() -> None:
    own, other = np.zeros(300, bool), np.zeros(300, bool)
    other[40:145] = True
    near, far = cue_frames(own, other)
    assert near[[123, 140, 157]].all() and not near[[100, 170]].any()
    assert not (near & far).any()
    at = np.arange(300) / 30
    pose = np.zeros((300, 104))
    pose[:, POSE["head_rx"]] = 0.1 * np.exp(-(((at - 140 / 30) / 0.4) ** 2)) * np.sin(13 * at)
    assert nods_at_cues([pose], [(own, other)]) > 4
    pose[:, POSE["head_rx"]] = 0.1 * np.sin(13 * at)
    assert nods_at_cues([pose], [(own, other)]) == pytest.approx(1, abs=0.1)
    assert nods_at_cues([pose], [(own, own)]) == 0


def test_the_key_poses_do_not_meet_and_the_judge_sees_hands_that_do() -> None:
    hands = Hands.of(judged_avatar(DEMO_PERSON))
    keys = json.loads(POSES.read_text(encoding="utf-8"))
    names = sorted({name[:-2] for name in keys} - {"me"})
    pairs = [(name, name) for name in names] + [("low", "me"), ("rest", "me"), ("me", "rest")]
    poses = np.zeros((len(pairs) + 1, 104))
    for row, (left, right) in zip(poses, pairs, strict=False):
        for name, angle in (keys[f"{left}_L"] | keys[f"{right}_R"]).items():
            row[POSE[name]] = angle
    for name, angle in (keys["me_L"] | keys["me_R"]).items():
        poses[-1, POSE[name]] = angle
    inside = hands.inside(poses, every=1)
    assert inside[:-1].max() == 0
    assert inside[-1] > 0.05


def test_without_truth_the_lips_are_compared_with_loudness_and_silence() -> None:
    figures = judge_without_truth([replace(talk(), true_units=None, true_pose=None)])
    assert figures["jaw_loudness"] == pytest.approx(1)
    assert figures["jaw_mean_speaking"] > 0.2
    assert figures["jaw_high_silent"] < 0.05
    assert figures["arm_speed_ratio"] > 2


def test_a_mouth_that_follows_the_wrong_speaker_is_detected() -> None:
    clip = talk()
    swapped = judge_without_truth([replace(clip, samples=clip.samples[:, ::-1])])
    assert swapped["jaw_loudness"] < 0
    assert swapped["jaw_mean_silent"] > swapped["jaw_mean_speaking"]


def test_a_short_pause_counts_as_speech_and_a_long_one_does_not() -> None:
    samples = talk().samples.reshape(FRAMES, SAMPLES_PER_FRAME, 2).copy()
    samples[60:66] = 0
    samples[80:110] = 0
    speaks = speech_mask(samples.reshape(-1, 2), 0)
    assert speaks[40:70].all()
    assert not speaks[88:102].any()


def test_arm_speed_is_in_radians_per_second_with_one_value_per_frame() -> None:
    pose = np.zeros((10, 104))
    pose[:, ARMS] = 0.01 * np.arange(10)[:, None]
    np.testing.assert_allclose(arm_speed(pose), np.full(10, 0.3))


def test_correlation_is_pearsons_and_zero_for_a_constant() -> None:
    line = np.arange(10.0)
    assert correlation(line, 3 * line + 1) == pytest.approx(1)
    assert correlation(line, -line) == pytest.approx(-1)
    assert correlation(line, np.ones(10)) == 0


def test_clips_are_consecutive_and_incomplete_ones_are_dropped(tmp_path: Path) -> None:
    write_scene(tmp_path, "a", 70)
    write_scene(tmp_path, "b", 30)
    clips = list(cut_clips(tmp_path, 1.0, 9))
    assert [int(codes[0, 0]) for _, codes, _, _ in clips] == [0, 30, 0]
    assert [part.shape for part in clips[1][:3]] == [(48_000, 2), (30, 256), (30, 104)]
    assert len(list(cut_clips(tmp_path, 1.0, 2))) == 2


def test_a_person_is_evaluated_with_the_pipeline_of_the_worker(tmp_path: Path) -> None:
    person = tiny_person.write_tiny_person(tmp_path)
    write_turns(tmp_path / "data", "a", 240)
    figures = judge(person, tmp_path / "data", clips=1, seconds=4.0, steps=1)
    assert all(isinstance(value, float) for value in figures.values())
    assert {
        "jaw_loudness",
        "jawOpen_speaking",
        "body_speed_ratio",
        "jerk_head_truth",
    } <= figures.keys()
    assert judge(person, tmp_path / "data", clips=1, seconds=4.0, steps=1) == figures


def test_lips_alone_are_measured_without_sampling(tmp_path: Path) -> None:
    write_turns(tmp_path, "a", 240)
    (tmp_path / "a_phones.json").write_text(json.dumps([["m", 1.0, 1.1], ["a", 1.1, 1.3]]))
    figures = judge_lips_alone(DEMO_PERSON, tmp_path, clips=1, seconds=4.0, noisy_clips=1)
    assert {"jawOpen_speaking", "envelope", "phones_pbm_closed"} <= figures.keys()
    assert figures["noise_clean_jaw_share"] == 1
    assert "body_speed_ratio" not in figures
    person = tiny_person.write_tiny_person(tmp_path)
    with pytest.raises(PersonError, match="no lip regressor"):
        judge_lips_alone(person, tmp_path, clips=1, seconds=4.0)
