"""Synthetic conversations, with fake voices in place of speech engines."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.random import Generator

from tests.fake_speech import KEYS, HummingEngine
from tests.training.scenes import read_wav
from training.data.audio import SAMPLES_PER_FRAME, loudness, write_wav
from training.demo.speech import conversations, sentences
from training.demo.speech.motion_rules import speaking
from training.demo.speech.voices import Voice

BASIS = np.linalg.qr(np.random.default_rng(0).standard_normal((256, 52)))[0].astype(np.float32)


def humming_voices(_rng: Generator) -> tuple[Voice, Voice]:
    return Voice(HummingEngine("low", 120.0)), Voice(HummingEngine("high", 220.0), 1.1)


def scene(seed: int = 1, seconds: float = 20.0) -> conversations.Scene:
    rng = np.random.default_rng(seed)
    return conversations.converse(humming_voices(rng), seconds=seconds, rng=rng)


def make(folder: Path, *, seed: int = 3) -> None:
    conversations.make_dataset(
        folder,
        minutes=0.5,
        seed=seed,
        keys=KEYS,
        basis=BASIS,
        pick=humming_voices,
        scene_seconds=15.0,
    )


def test_alone_she_speaks_most_of_the_time_and_nobody_else() -> None:
    rng = np.random.default_rng(5)
    scene = conversations.converse(humming_voices(rng), seconds=12, rng=rng, alone=True)
    assert not scene.track.partner
    spoken = sum(phone.end - phone.start for phone in scene.track.person)
    assert spoken > 0.5 * scene.track.frames / 30
    assert np.diff([phone.start for phone in scene.track.person]).min() >= 0  # no overlaps


def test_a_scene_consists_of_whole_frames_of_two_channels() -> None:
    made = scene()
    assert made.samples.shape == (made.track.frames * SAMPLES_PER_FRAME, 2)
    assert np.abs(made.samples).max() <= 1


@pytest.mark.parametrize("seed", range(4))
def test_the_first_channel_is_louder_during_the_phones_of_the_person(seed: int) -> None:
    made = scene(seed)
    own = speaking(made.track.person, made.track.times, early=0.01, late=0.01) > 0.9
    level = loudness(made.samples[:, 0])
    assert level[own].mean() > 1.3 * level[~own].mean()


def test_scenes_differ_in_level_like_recordings() -> None:
    levels = [20 * np.log10(np.abs(scene(seed).samples).max()) for seed in range(8)]
    assert max(levels) - min(levels) > 8


def test_both_speakers_talk_and_listen() -> None:
    made = scene(2, seconds=40)
    times = made.track.times
    for phones in (made.track.person, made.track.partner):
        share = (speaking(phones, times, early=0.1, late=0.1) > 0.5).mean()
        assert 0.1 < share < 0.9


def test_the_dataset_has_the_released_layout(tmp_path: Path) -> None:
    make(tmp_path)
    assert [path.name for path in sorted(tmp_path.glob("scene000_*"))] == [
        "scene000_audio.wav",
        "scene000_body_pose.npy",
        "scene000_face_expression.npy",
        "scene000_missing_face_frames.npy",
        "scene000_phones.json",
    ]
    samples = read_wav(tmp_path / "scene001_audio.wav")
    pose = np.load(tmp_path / "scene001_body_pose.npy")
    face = np.load(tmp_path / "scene001_face_expression.npy")
    assert len(samples) == SAMPLES_PER_FRAME * len(pose)
    assert pose.shape[1:] == (104,)
    assert face.shape == (len(pose), 256)
    assert face.dtype == pose.dtype == np.float32


def test_the_same_seed_makes_the_same_bytes(tmp_path: Path) -> None:
    make(tmp_path / "a")
    make(tmp_path / "b")
    make(tmp_path / "c", seed=4)
    first, again, other = (
        [path.read_bytes() for path in sorted((tmp_path / name).iterdir())] for name in "abc"
    )
    assert first == again
    assert first != other
    assert json.loads((tmp_path / "a" / "voices.json").read_text())["seed"] == 3


def test_no_training_scene_has_the_held_out_voice() -> None:
    rng = np.random.default_rng(0)
    names = [voice.name for _ in range(300) for voice in conversations.training_voices(rng)]
    assert not [name for name in names if conversations.HELD_OUT in name]
    pairs = [conversations.training_voices(rng) for _ in range(100)]
    assert all(first.name != second.name for first, second in pairs)


def test_every_sentence_is_filled_in() -> None:
    rng = np.random.default_rng(0)
    texts = [sentences.turn(rng) for _ in range(300)]
    assert not [text for text in texts if "{" in text or "}" in text]
    assert len(set(texts)) > 250


def test_a_shifted_voice_keeps_its_pace_and_changes_its_pitch() -> None:
    plain = Voice(HummingEngine()).speak("tatata")
    lower = Voice(HummingEngine(), 0.8).speak("tatata")
    assert lower.seconds == pytest.approx(plain.seconds, rel=0.02)
    assert lower.phones[-1].end == pytest.approx(plain.phones[-1].end, rel=0.02)
    peak = [np.abs(np.fft.rfft(u.samples)).argmax() / u.seconds for u in (plain, lower)]
    assert peak[1] == pytest.approx(0.8 * peak[0], rel=0.05)


def test_audio_survives_a_round_trip_through_a_wav_file(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (4800, 2)).astype(np.float32)
    write_wav(tmp_path / "a.wav", samples)
    assert np.abs(read_wav(tmp_path / "a.wav") - samples).max() < 1e-4


def test_audio_at_another_sample_rate_raises_an_error(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.zeros((100, 2), np.float32), rate=16_000)
    with pytest.raises(ValueError, match="16000 Hz"):
        read_wav(tmp_path / "a.wav")
