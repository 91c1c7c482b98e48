"""Recordings of voices for the judge of lips."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import InputError
from tests import tiny_person
from training.data.audio import SAMPLES_PER_FRAME, write_wav
from training.demo.judge import judge_sync, judged_avatar
from training.demo.recordings import (
    aligned_phones,
    judge_recordings,
    read_recording,
    sample_recordings,
    words_of,
)
from training.person_facts import DEMO_PERSON


def write_voice(path: Path, *, rate: int = 8000) -> None:
    rng = np.random.default_rng(1)
    syllables = np.repeat(rng.uniform(0, 0.3, 30), rate // 6)
    write_wav(path, (syllables * rng.uniform(-1, 1, len(syllables)))[:, None], rate=rate)


def test_a_recording_of_any_rate_is_her_channel_in_whole_frames(tmp_path: Path) -> None:
    write_voice(tmp_path / "a.wav")
    samples = read_recording(tmp_path / "a.wav")
    assert len(samples) % SAMPLES_PER_FRAME == 0
    assert len(samples) == pytest.approx(5 * 48000, abs=SAMPLES_PER_FRAME)
    assert np.abs(samples[:, 0]).max() > 0.1
    assert not samples[:, 1].any()


def test_a_folder_is_judged_without_the_truth(tmp_path: Path) -> None:
    write_voice(tmp_path / "a.wav")
    person = tiny_person.write_tiny_person(tmp_path)
    figures = judge_recordings(person, tmp_path, judged_avatar(person), english=False)
    assert figures.keys() == {"recordings_envelope", "recordings_lag_ms"}
    with pytest.raises(InputError, match="no WAV files"):
        judge_recordings(person, person, judged_avatar(person), english=False)


def test_words_beside_a_recording_are_read(tmp_path: Path) -> None:
    assert words_of(tmp_path / "a.wav") is None
    (tmp_path / "a.txt").write_text("press one")
    assert words_of(tmp_path / "a.wav") == "press one"


def test_the_lips_of_recordings_need_no_sampling() -> None:
    folder = DEMO_PERSON.parents[1] / "examples"
    path = folder / "conversation.wav"
    avatar = judged_avatar(DEMO_PERSON)
    one, other = (
        sample_recordings(DEMO_PERSON, [path], avatar, english=False, lips_alone=True, seed=seed)[0]
        for seed in (1, 2)
    )
    assert np.array_equal(one.units, other.units)
    assert judge_sync([one], avatar)["envelope"] > 0.5


@pytest.mark.skipif(find_spec("pocketsphinx") is None, reason="pocketsphinx is not installed")
def test_words_that_nobody_says_are_refused() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 48000)
    with pytest.raises(InputError, match="does not find these words"):
        aligned_phones(noise, "welcome to the directory of all the people in this building")


@pytest.mark.skipif(find_spec("pocketsphinx") is not None, reason="pocketsphinx is installed")
def test_phones_need_the_aligner(tmp_path: Path) -> None:
    person = tiny_person.write_tiny_person(tmp_path)
    with pytest.raises(InputError, match="pip install pocketsphinx"):
        sample_recordings(person, [], judged_avatar(person), english=True)
