"""Features on disk: of the right network and sound, in pieces, made once."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator

from models import checkpoint
from models.formats.dataset import SceneData, SceneFiles
from models.motion.lips import LipConfig, LipRegressor
from models.motion.speech import ConvSpeech, ConvSpeechConfig
from tests import tiny_person
from tests.training.scenes import read_wav, write_scene
from training.data.audio import write_wav
from training.data.features import (
    CLIPS,
    LIPS,
    SCENES,
    SPEECH,
    FeatureExtractor,
    FeaturesError,
    FreshFeatures,
    Pieces,
    fresh,
    keep,
    load_ears,
    open_kept,
    rate,
    shelf,
)
from training.data.scenes import FACE, POSE, draw_padded, draw_windows, window
from training.person_directory import FeatureMode, person_scenes, write_speech

CPU = torch.device("cpu")
LAYERS = ((8, 10, 5), (8, 8, 4), (8, 4, 2), (8, 4, 2), (8, 4, 2), (8, 1, 1))
LIP_LAYERS = tuple((16, kernel, stride) for _, kernel, stride in LAYERS)
LIP = LipConfig(
    layers=LIP_LAYERS, context_kernels=(2, 3), vertices=3, heads=2, hidden=16, encoder_layers=1,
    decoder_layers=1,
)  # fmt: skip
SHORT = Pieces(frames=60, hop=30)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_scene(tmp_path / "data", "a", 150)
    return tmp_path / "data"


@pytest.fixture
def scene(data: Path) -> SceneData:
    return SceneFiles(data, "a").open()


@pytest.fixture
def mel(tmp_path: Path) -> Path:
    """A person with log-mel rows and no lips."""
    return tiny_person.write_tiny_person(tmp_path)


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A person with convolutions and lips, of small width and random weights."""
    person = tiny_person.write_tiny_person(tmp_path, "ada")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        write_speech(person / "speech.safetensors", ConvSpeech(ConvSpeechConfig(layers=LAYERS)))
        checkpoint.write(person / "lips.safetensors", asdict(LIP), LipRegressor(LIP).state_dict())
    return person


def ears_of(person: Path) -> FeatureExtractor:
    return load_ears(person, device=CPU)


def count_hearing(ears: FeatureExtractor) -> tuple[FeatureExtractor, list[int]]:
    """The same ears, and how many samples they heard each time."""
    heard: list[int] = []

    class Counting(ConvSpeech):
        def forward(self, audio: torch.Tensor) -> torch.Tensor:
            heard.append(audio.shape[1])
            return super().forward(audio)

    counting = Counting(ears.speech.config)
    counting.load_state_dict(ears.speech.state_dict())
    return replace(ears, speech=counting.eval()), heard


def test_pieces_cover_a_scene_and_the_last_ends_with_it() -> None:
    assert SHORT.starts(150) == [0, 30, 60, 90]
    assert SHORT.starts(155) == [0, 30, 60, 90, 95]
    assert SHORT.starts(60) == SHORT.starts(20) == [0]
    assert SCENES.starts(18_000) == [0]


@pytest.mark.parametrize("wrong", [{"hop": 0}, {"hop": 61}, {"dtype": "int8"}])
def test_pieces_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"hop must be 1 to 60|float16 or float32, not as int8"):
        replace(SHORT, **wrong)


def test_rows_of_a_frame_are_those_of_the_front_ends(mel: Path, released: Path) -> None:
    assert rate(ears_of(mel).speech) == 1
    assert rate(ears_of(released).speech) == pytest.approx(10 / 3)
    assert (ears_of(mel).pieces, ears_of(released).pieces) == (SCENES, CLIPS)


def test_log_mel_rows_are_those_of_the_whole_scene(mel: Path, data: Path) -> None:
    ears = ears_of(mel)
    whole = ears.extract(SPEECH, ears.prepared(read_wav(data / "a_audio.wav")))
    (scene,) = person_scenes(mel, data, POSE)
    assert torch.equal(window(scene, 37, 40).features, whole[37:77])


@pytest.mark.parametrize("kind", [FACE, POSE])
def test_at_the_start_of_a_piece_features_are_those_of_that_clip_alone(
    released: Path, data: Path, scene: SceneData, kind: str
) -> None:
    """As the reference hears a window in every step: the same numbers, to the bit."""
    ears = ears_of(released)
    places = [shelf(ears, part, data / "features", SHORT) for part in (SPEECH, LIPS)]
    for place in places:
        assert keep(ears, place, [scene]) == 1
    speech, lips = places
    kept = open_kept(ears, scene, speech, lips if kind == FACE else None)
    anew = FreshFeatures(ears, scene, lips=kind == FACE)
    for start in (0, 30, 90):
        found = kept.window(start, 60, 60)
        assert found.shape == (ears.speech.rows(60), 16 + (9 if kind == FACE else 0))
        assert torch.equal(found, anew.window(start, 60, 60))


def test_inside_a_piece_rows_are_of_the_same_sound_under_another_norm(
    released: Path, data: Path, scene: SceneData
) -> None:
    ears = ears_of(released)
    place = shelf(ears, SPEECH, data / "features", SHORT)
    keep(ears, place, [scene])
    kept, anew = open_kept(ears, scene, place, None), FreshFeatures(ears, scene, lips=False)
    found, alone = kept.window(9, 30, 30), anew.window(9, 30, 30)
    assert found.shape == alone.shape
    alike = torch.corrcoef(torch.stack([found.flatten(), alone.flatten()]))[0, 1]
    shifted = torch.corrcoef(torch.stack([found[1:].flatten(), alone[:-1].flatten()]))[0, 1]
    assert alike > 0.99 > shifted


def test_half_precision_is_near(released: Path, data: Path, scene: SceneData) -> None:
    ears = ears_of(released)
    exact, half = (
        shelf(ears, SPEECH, data / name, replace(SHORT, dtype=name))
        for name in ("float32", "float16")
    )
    for place in (exact, half):
        keep(ears, place, [scene])
    one, other = (open_kept(ears, scene, place, None).window(0, 60, 60) for place in (exact, half))
    assert other.dtype == torch.float32
    assert not torch.equal(one, other)
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_a_window_begins_where_one_piece_has_all_of_it(
    released: Path, data: Path, scene: SceneData
) -> None:
    ears = ears_of(released)
    place = shelf(ears, SPEECH, data / "features", SHORT)
    keep(ears, place, [scene])
    kept = open_kept(ears, scene, place, None)
    assert [kept.fitting(start, 60) for start in (0, 29, 30, 89, 90)] == [0, 0, 30, 60, 90]
    assert [kept.fitting(start, 40) for start in (0, 20, 29, 30, 110)] == [0, 20, 20, 30, 110]
    with pytest.raises(FeaturesError, match="pieces of 60 frames, and 61 are asked for"):
        kept.fitting(0, 61)


class FrameNumbers(torch.nn.Module):
    """A front end whose row is what the first sample of its frame says."""

    width = 2

    def rows(self, frames: int) -> int:
        return frames

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        return audio[:, ::1600]


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureExtractor, SceneData]:
    """A scene of 155 frames, whose sound counts them."""
    folder = tmp_path_factory.mktemp("counted")
    write_scene(folder, "a", 155)
    counts = np.arange(155, dtype=np.float32).repeat(1600)[:, None] / 32767
    write_wav(folder / "a_audio.wav", counts.repeat(2, 1))
    statistics = replace(tiny_person.tiny_statistics(), audio_std=1 / 32768)
    write_speech(folder / "speech.safetensors", ConvSpeech(ConvSpeechConfig(layers=LAYERS)))
    ears = FeatureExtractor(folder, FrameNumbers(), None, statistics, CPU)
    scene = SceneFiles(folder, "a").open()
    keep(ears, shelf(ears, SPEECH, folder, Pieces(60, 25)), [scene])
    return ears, scene


@settings(deadline=None)
@given(start=st.integers(0, 154), frames=st.integers(1, 60), more=st.integers(0, 9))
def test_every_window_hears_its_own_frames(
    counted: tuple[FeatureExtractor, SceneData], start: int, frames: int, more: int
) -> None:
    ears, scene = counted
    start = min(start, scene.frames - frames)
    kept = open_kept(ears, scene, shelf(ears, SPEECH, ears.folder), None)
    first = kept.fitting(start, frames)
    assert start - 60 < first <= start
    assert kept.fitting(first, frames) == first
    found = kept.window(first, frames, frames + more)
    expected = torch.zeros(frames + more, 2)
    expected[:frames] = torch.arange(first, first + frames)[:, None]
    torch.testing.assert_close(found, expected)


def test_sound_and_motion_stay_together_where_the_window_was_moved(
    released: Path, data: Path
) -> None:
    (scene,) = person_scenes(released, data, FACE)
    ears = ears_of(released)
    anew = FreshFeatures(ears, SceneFiles(data, "a").open(), lips=True)
    place = shelf(ears, SPEECH, data / "features")
    assert place.pieces == CLIPS
    assert scene.features.speech.array.dtype == np.float16
    batch = draw_windows([scene], 150, 2, Generator().manual_seed(1))
    torch.testing.assert_close(batch.features[0], anew.window(0, 150, 150), rtol=1e-3, atol=1e-3)
    padded = draw_padded([scene], 3, Generator().manual_seed(1), shortest=100, longest=150)
    assert padded.features.shape == batch.features[:1].expand(3, -1, -1).shape
    rows = ears.speech.rows(int(padded.inside[0].sum()))
    assert padded.features[0, rows - 1].abs().sum() > 0
    assert padded.features[0, rows:].abs().sum() == 0


def test_anew_hears_the_silence_behind_a_short_sample(released: Path, data: Path) -> None:
    (scene,) = person_scenes(released, data, FACE, hearing=FeatureMode.ANEW)
    assert not (data / "features").exists()
    ears = ears_of(released)
    found = window(scene, 20, 60, padded=90).features
    sound = torch.zeros(1, 90 * 1600, 2)
    cut = read_wav(data / "a_audio.wav")[20 * 1600 : 80 * 1600]
    sound[:, : 60 * 1600] = ears.prepared(cut)
    assert torch.equal(found[:, :16], ears.speech(sound)[0])
    assert found[:, 16:].shape == (ears.speech.rows(90), 9)


def test_who_hears_nothing_makes_no_features_and_draws_the_same(mel: Path, data: Path) -> None:
    silent = person_scenes(mel, data, POSE, hearing=FeatureMode.NOTHING)
    assert not (data / "features").exists()
    batches = [
        draw_windows(scenes, 30, 4, Generator().manual_seed(1))
        for scenes in (silent, person_scenes(mel, data, POSE))
    ]
    assert batches[0].features.shape == (4, 30, 0)
    assert torch.equal(batches[0].motion, batches[1].motion)


def test_a_scene_is_heard_once_a_piece_at_a_time(released: Path, scene: SceneData) -> None:
    ears, heard = count_hearing(ears_of(released))
    place = shelf(ears, SPEECH, released / "features", SHORT)
    told: list[tuple[str, int, int]] = []
    assert keep(ears, place, [scene], progress=lambda *what: told.append(what)) == 1
    assert heard == [60 * 1600] * 4
    assert told == [("a", 1, 1)]
    assert keep(ears, place, [scene]) == 0
    assert len(heard) == 4
    names = sorted(path.name for path in place.folder.iterdir())
    assert names == [fresh(place, scene).name, "a.sound.json", "features.json"]


def test_a_call_that_was_cut_off_is_continued(released: Path, data: Path, scene: SceneData) -> None:
    write_scene(data, "b", 70)
    both = [scene, SceneFiles(data, "b").open()]
    ears, heard = count_hearing(ears_of(released))
    place = shelf(ears, SPEECH, data / "features", SHORT)

    def stop(_scene: str, _done: int, _all: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep(ears, place, both, progress=stop)
    assert keep(ears, place, both) == 1
    assert len(heard) == 4 + 2


def test_two_trainings_that_start_at_once_do_each_other_no_harm(
    released: Path, scene: SceneData
) -> None:
    ears = ears_of(released)
    place = shelf(ears, SPEECH, released / "features", SHORT)
    found: list[torch.Tensor] = []

    class Slow(ConvSpeech):
        """Another one is done, and reads, before it has begun to write."""

        def forward(self, audio: torch.Tensor) -> torch.Tensor:
            if not found:
                keep(ears, place, [scene])
                found.append(open_kept(ears, scene, place, None).window(0, 60, 60))
            return super().forward(audio)

    slow = Slow(ears.speech.config)
    slow.load_state_dict(ears.speech.state_dict())
    assert keep(replace(ears, speech=slow.eval()), place, [scene]) == 1
    assert torch.equal(open_kept(ears, scene, place, None).window(0, 60, 60), found[0])
    assert len(list(place.folder.iterdir())) == 3


def other_sound(data: Path) -> None:
    before = (data / "a_audio.wav").stat()
    write_wav(data / "a_audio.wav", read_wav(data / "a_audio.wav")[::-1])
    os.utime(data / "a_audio.wav", ns=(before.st_mtime_ns, before.st_mtime_ns + 1))


def same_sound_later(data: Path) -> None:
    os.utime(data / "a_audio.wav", ns=(5, 5))


def no_record(data: Path) -> None:
    next(data.glob("features/*/a.sound.json")).unlink()


def no_array(data: Path) -> None:
    next(data.glob("features/*/a.*.npy")).unlink()


@pytest.mark.parametrize(
    ("change", "stays"),
    [(other_sound, False), (no_record, False), (no_array, False), (same_sound_later, True)],
)
def test_features_of_another_sound_are_noticed(
    released: Path, data: Path, change: Callable[[Path], None], stays: bool
) -> None:
    ears = ears_of(released)
    place = shelf(ears, SPEECH, data / "features", SHORT)
    keep(ears, place, [SceneFiles(data, "a").open()])
    change(data)
    scene = SceneFiles(data, "a").open()
    assert (fresh(place, scene) is not None) is stays
    if not stays:
        with pytest.raises(FeaturesError, match="no speech of the sound that scene a has now"):
            open_kept(ears, scene, place, None)
    assert keep(ears, place, [scene]) == (0 if stays else 1)
    assert fresh(place, scene)
    assert len(list(place.folder.glob("*.npy"))) == 1


def test_another_network_or_other_statistics_have_features_of_their_own(released: Path) -> None:
    def folders() -> list[str]:
        ears = ears_of(released)
        return [shelf(ears, part, released).folder.name for part in (SPEECH, LIPS)]

    speech, lips = folders()
    assert folders() == [speech, lips]
    write_speech(
        released / "speech.safetensors", ConvSpeech(ConvSpeechConfig(LAYERS, log_compression=True))
    )
    other, same = folders()
    assert other != speech
    assert same == lips
    path = released / "stats.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"audio_std_flat": 0.2}))
    assert not {*folders()} & {speech, lips, other}


def test_other_pieces_are_kept_to_until_others_are_asked_for(
    released: Path, scene: SceneData
) -> None:
    ears = ears_of(released)
    keep(ears, shelf(ears, SPEECH, released, SHORT), [scene])
    assert shelf(ears, SPEECH, released).pieces == SHORT
    other = shelf(ears, SPEECH, released, replace(SHORT, hop=60))
    assert keep(ears, other, [scene]) == 1
    assert shelf(ears, SPEECH, released).pieces == other.pieces
