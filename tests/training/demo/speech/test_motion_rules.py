"""Rule-based motion: mouth, face, gestures and stress follow the phones."""

import numpy as np
import pytest

from tests.fake_speech import KEYS, says, track
from training.demo.speech.motion_rules import (
    ARMS,
    FACE_UNITS,
    POSE_NAMES,
    UNIT,
    Track,
    body,
    clauses,
    ease,
    face,
    mouth,
)
from training.demo.speech.voices import SILENCE, Phone, fill_audible_gaps, mark_stress

JAW = UNIT["jawOpen"]


def frame(seconds: float) -> int:
    return int(seconds * 30)


@pytest.mark.parametrize("sound", "pbm")
def test_the_lips_are_closed_in_the_middle_of_p_b_and_m(sound: str) -> None:
    units = mouth(track(says(f"aa{sound}aa")))
    assert units[frame(1.25), JAW] < 0.03
    assert units[frame(1.05), JAW] > 0.3
    assert units[frame(1.25), UNIT["mouthPressLeft"]] > 0.1


def test_the_mouth_is_closed_in_silence_and_while_the_partner_speaks() -> None:
    units = mouth(track(says("talata"), says("talata" * 5, start=4.0)))
    assert units[: frame(0.85)].max() == 0
    assert units[frame(1.8) :].max() == 0


def test_a_louder_vowel_opens_the_mouth_wider() -> None:
    quiet = track(says("aaaa"))
    loud = Track(quiet.person, (), quiet.loudness * 1.15)
    quiet = Track(quiet.person, (), quiet.loudness * 0.4)
    assert mouth(loud)[frame(1.2), JAW] > 1.3 * mouth(quiet)[frame(1.2), JAW]


def test_only_rounded_phones_round_the_lips() -> None:
    units = mouth(track(says("uuuu    iiii")))
    pucker = units[:, UNIT["mouthPucker"]]
    assert pucker[frame(1.2)] > 0.5
    assert pucker[frame(2.0)] < 0.1
    assert units[frame(2.0), UNIT["mouthStretchLeft"]] > 0.15


def test_the_mouth_opens_before_the_first_phone() -> None:
    units = mouth(track(says("aaa")))
    assert units[frame(0.97), JAW] > 0.01


def test_face_units_stay_between_0_and_1_and_blink() -> None:
    units = face(track(says("tadabama" * 4)), np.random.default_rng(3))
    assert units.shape == (300, len(FACE_UNITS))
    assert units.min() >= 0
    assert units.max() <= 1
    assert units[:, UNIT["eyeBlinkLeft"]].max() > 0.9


def test_the_arms_move_more_in_speech_and_come_to_rest_while_listening() -> None:
    own = says("tatanata mata " * 3, start=0.5)
    scene = track(own, says("tatanata" * 4, start=6.0), frames=330)
    pose = body(scene, KEYS, np.random.default_rng(1))
    assert pose.shape == (330, len(POSE_NAMES)) == (330, 104)
    speed = np.abs(np.diff(pose[:, ARMS], axis=0)).mean(1)
    assert speed[15:140].mean() > 3 * speed[200:].mean()
    elbow = pose[:, POSE_NAMES.index("elbow_R_flex")]
    assert abs(elbow[250] - 0.5) < 0.05


def test_arm_moves_are_smooth() -> None:
    pose = body(track(says("tatanata mata " * 5, start=0.5)), KEYS, np.random.default_rng(1))
    jerk = np.abs(np.diff(pose[:, ARMS], 3, axis=0)).max()
    assert jerk < 0.12


def test_the_same_seed_gives_the_same_motion() -> None:
    scene = track(says("tatanata"))
    first = body(scene, KEYS, np.random.default_rng(7))
    assert np.array_equal(first, body(scene, KEYS, np.random.default_rng(7)))
    assert not np.array_equal(first, body(scene, KEYS, np.random.default_rng(8)))


def test_ease_starts_and_ends_at_rest() -> None:
    x = ease(np.linspace(0, 1, 1001))
    assert x[0] == 0
    assert x[-1] == 1
    assert np.abs(np.diff(x))[[0, -1]].max() < 1e-5


def test_clauses_are_split_only_at_pauses() -> None:
    assert [len(run) for run in clauses(says("tata    ta"))] == [4, 2]
    assert [len(run) for run in clauses(says("tata ta"))] == [6]


def test_audible_silence_is_assigned_to_the_neighbouring_phones() -> None:
    samples = np.full(48_000, 0.5, np.float32)
    samples[36_000:] = 0
    phones = [Phone("a", 0, 0.3), Phone(SILENCE, 0.3, 0.4), Phone("t", 0.4, 0.7),
              Phone(SILENCE, 0.76, 1.0)]  # fmt: skip
    filled = fill_audible_gaps(phones, samples)
    assert [p.symbol for p in filled] == ["a", "t", SILENCE]
    assert filled[0].end == pytest.approx(0.35)
    assert filled[1].start == pytest.approx(0.35)


def test_the_louder_and_longer_vowel_is_stressed() -> None:
    samples = np.concatenate([np.full(4800, level) for level in (0.1, 0.1, 0.8, 0.1, 0.1)])
    phones = [Phone(s, 0.1 * i, 0.1 * (i + 1)) for i, s in enumerate("atata")]
    marked = mark_stress(phones, samples.astype(np.float32))
    assert [phone.stressed for phone in marked] == [False, False, True, False, False]
