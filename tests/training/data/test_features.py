"""Feature cache: right network and audio, in pieces, computed once."""

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
    feature_cache,
    fill_cache,
    find_cached,
    load_extractor,
    open_cached,
    rate,
)
from training.data.scenes import FACE, POSE, sample_padded, sample_windows, window
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
    """A person with a log-mel front end and no lips."""
    return tiny_person.write_tiny_person(tmp_path)


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A person with convolutional speech features and lips, small and untrained."""
    person = tiny_person.write_tiny_person(tmp_path, "ada")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        write_speech(person / "speech.safetensors", ConvSpeech(ConvSpeechConfig(layers=LAYERS)))
        checkpoint.write(person / "lips.safetensors", asdict(LIP), LipRegressor(LIP).state_dict())
    return person


def extractor_of(person: Path) -> FeatureExtractor:
    return load_extractor(person, device=CPU)


def count_extractions(extractor: FeatureExtractor) -> tuple[FeatureExtractor, list[int]]:
    """A copy of the extractor, and the number of samples of each call."""
    extracted: list[int] = []

    class Counting(ConvSpeech):
        def forward(self, audio: torch.Tensor) -> torch.Tensor:
            extracted.append(audio.shape[1])
            return super().forward(audio)

    counting = Counting(extractor.speech.config)
    counting.load_state_dict(extractor.speech.state_dict())
    return replace(extractor, speech=counting.eval()), extracted


def test_pieces_cover_a_scene_and_the_last_ends_with_it() -> None:
    assert SHORT.starts(150) == [0, 30, 60, 90]
    assert SHORT.starts(155) == [0, 30, 60, 90, 95]
    assert SHORT.starts(60) == SHORT.starts(20) == [0]
    assert SCENES.starts(18_000) == [0]


@pytest.mark.parametrize("invalid", [{"hop": 0}, {"hop": 61}, {"dtype": "int8"}])
def test_invalid_pieces_are_rejected(invalid: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"hop must be 1 to 60|float16 or float32, got int8"):
        replace(SHORT, **invalid)


def test_the_rate_is_rows_per_frame_of_the_front_end(mel: Path, released: Path) -> None:
    assert rate(extractor_of(mel).speech) == 1
    assert rate(extractor_of(released).speech) == pytest.approx(10 / 3)
    assert (extractor_of(mel).pieces, extractor_of(released).pieces) == (SCENES, CLIPS)


def test_log_mel_rows_equal_those_of_the_whole_scene(mel: Path, data: Path) -> None:
    extractor = extractor_of(mel)
    whole = extractor.extract(SPEECH, extractor.normalise(read_wav(data / "a_audio.wav")))
    (scene,) = person_scenes(mel, data, POSE)
    assert torch.equal(window(scene, 37, 40).features, whole[37:77])


@pytest.mark.parametrize("kind", [FACE, POSE])
def test_at_the_start_of_a_piece_features_equal_those_of_that_clip_alone(
    released: Path, data: Path, scene: SceneData, kind: str
) -> None:
    """The reference computes features of each window; the numbers are equal to the bit."""
    extractor = extractor_of(released)
    places = [feature_cache(extractor, part, data / "features", SHORT) for part in (SPEECH, LIPS)]
    for cache in places:
        assert fill_cache(extractor, cache, [scene]) == 1
    speech, lips = places
    cached = open_cached(extractor, scene, speech, lips if kind == FACE else None)
    fresh = FreshFeatures(extractor, scene, lips=kind == FACE)
    for start in (0, 30, 90):
        features = cached.window(start, 60, 60)
        assert features.shape == (extractor.speech.rows(60), 16 + (9 if kind == FACE else 0))
        assert torch.equal(features, fresh.window(start, 60, 60))


def test_inside_a_piece_features_differ_only_by_the_normalisation_of_the_piece(
    released: Path, data: Path, scene: SceneData
) -> None:
    extractor = extractor_of(released)
    cache = feature_cache(extractor, SPEECH, data / "features", SHORT)
    fill_cache(extractor, cache, [scene])
    cached, fresh = (
        open_cached(extractor, scene, cache, None),
        FreshFeatures(extractor, scene, lips=False),
    )
    features, alone = cached.window(9, 30, 30), fresh.window(9, 30, 30)
    assert features.shape == alone.shape
    alike = torch.corrcoef(torch.stack([features.flatten(), alone.flatten()]))[0, 1]
    shifted = torch.corrcoef(torch.stack([features[1:].flatten(), alone[:-1].flatten()]))[0, 1]
    assert alike > 0.99 > shifted


def test_half_precision_is_close(released: Path, data: Path, scene: SceneData) -> None:
    extractor = extractor_of(released)
    exact, half = (
        feature_cache(extractor, SPEECH, data / name, replace(SHORT, dtype=name))
        for name in ("float32", "float16")
    )
    for cache in (exact, half):
        fill_cache(extractor, cache, [scene])
    one, other = (
        open_cached(extractor, scene, cache, None).window(0, 60, 60) for cache in (exact, half)
    )
    assert other.dtype == torch.float32
    assert not torch.equal(one, other)
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_a_window_starts_where_one_piece_contains_it(
    released: Path, data: Path, scene: SceneData
) -> None:
    extractor = extractor_of(released)
    cache = feature_cache(extractor, SPEECH, data / "features", SHORT)
    fill_cache(extractor, cache, [scene])
    cached = open_cached(extractor, scene, cache, None)
    assert [cached.latest_start(start, 60) for start in (0, 29, 30, 89, 90)] == [0, 0, 30, 60, 90]
    assert [cached.latest_start(start, 40) for start in (0, 20, 29, 30, 110)] == [
        0,
        20,
        20,
        30,
        110,
    ]
    with pytest.raises(FeaturesError, match="pieces of 60 frames, too short for 61"):
        cached.latest_start(0, 61)


class FrameNumbers(torch.nn.Module):
    """Front end whose rows are the first samples of their frames."""

    width = 2

    def rows(self, frames: int) -> int:
        return frames

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        return audio[:, ::1600]


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureExtractor, SceneData]:
    """A scene of 155 frames whose audio contains the frame numbers."""
    folder = tmp_path_factory.mktemp("counted")
    write_scene(folder, "a", 155)
    counts = np.arange(155, dtype=np.float32).repeat(1600)[:, None] / 32767
    write_wav(folder / "a_audio.wav", counts.repeat(2, 1))
    statistics = replace(tiny_person.tiny_statistics(), audio_std=1 / 32768)
    write_speech(folder / "speech.safetensors", ConvSpeech(ConvSpeechConfig(layers=LAYERS)))
    extractor = FeatureExtractor(folder, FrameNumbers(), None, statistics, CPU)
    scene = SceneFiles(folder, "a").open()
    fill_cache(extractor, feature_cache(extractor, SPEECH, folder, Pieces(60, 25)), [scene])
    return extractor, scene


@settings(deadline=None)
@given(start=st.integers(0, 154), frames=st.integers(1, 60), more=st.integers(0, 9))
def test_every_window_has_the_features_of_its_frames(
    counted: tuple[FeatureExtractor, SceneData], start: int, frames: int, more: int
) -> None:
    extractor, scene = counted
    start = min(start, scene.frames - frames)
    cached = open_cached(extractor, scene, feature_cache(extractor, SPEECH, extractor.folder), None)
    first = cached.latest_start(start, frames)
    assert start - 60 < first <= start
    assert cached.latest_start(first, frames) == first
    features = cached.window(first, frames, frames + more)
    expected = torch.zeros(frames + more, 2)
    expected[:frames] = torch.arange(first, first + frames)[:, None]
    torch.testing.assert_close(features, expected)


def test_features_and_motion_belong_together_in_a_moved_window(released: Path, data: Path) -> None:
    (scene,) = person_scenes(released, data, FACE)
    extractor = extractor_of(released)
    fresh = FreshFeatures(extractor, SceneFiles(data, "a").open(), lips=True)
    cache = feature_cache(extractor, SPEECH, data / "features")
    assert cache.pieces == CLIPS
    assert scene.features.speech.array.dtype == np.float16
    batch = sample_windows([scene], 150, 2, Generator().manual_seed(1))
    torch.testing.assert_close(batch.features[0], fresh.window(0, 150, 150), rtol=1e-3, atol=1e-3)
    padded = sample_padded([scene], 3, Generator().manual_seed(1), shortest=100, longest=150)
    assert padded.features.shape == batch.features[:1].expand(3, -1, -1).shape
    rows = extractor.speech.rows(int(padded.inside[0].sum()))
    assert padded.features[0, rows - 1].abs().sum() > 0
    assert padded.features[0, rows:].abs().sum() == 0


def test_fresh_features_include_the_silence_after_a_short_sample(
    released: Path, data: Path
) -> None:
    (scene,) = person_scenes(released, data, FACE, mode=FeatureMode.FRESH)
    assert not (data / "features").exists()
    extractor = extractor_of(released)
    features = window(scene, 20, 60, padded=90).features
    audio = torch.zeros(1, 90 * 1600, 2)
    cut = read_wav(data / "a_audio.wav")[20 * 1600 : 80 * 1600]
    audio[:, : 60 * 1600] = extractor.normalise(cut)
    assert torch.equal(features[:, :16], extractor.speech(audio)[0])
    assert features[:, 16:].shape == (extractor.speech.rows(90), 9)


def test_without_features_none_are_computed_and_the_same_windows_are_sampled(
    mel: Path, data: Path
) -> None:
    plain = person_scenes(mel, data, POSE, mode=FeatureMode.NONE)
    assert not (data / "features").exists()
    batches = [
        sample_windows(scenes, 30, 4, Generator().manual_seed(1))
        for scenes in (plain, person_scenes(mel, data, POSE))
    ]
    assert batches[0].features.shape == (4, 30, 0)
    assert torch.equal(batches[0].motion, batches[1].motion)


def test_a_scene_is_computed_once_in_pieces(released: Path, scene: SceneData) -> None:
    extractor, extracted = count_extractions(extractor_of(released))
    cache = feature_cache(extractor, SPEECH, released / "features", SHORT)
    reported: list[tuple[str, int, int]] = []
    assert (
        fill_cache(extractor, cache, [scene], progress=lambda *facts: reported.append(facts)) == 1
    )
    assert extracted == [60 * 1600] * 4
    assert reported == [("a", 1, 1)]
    assert fill_cache(extractor, cache, [scene]) == 0
    assert len(extracted) == 4
    names = sorted(path.name for path in cache.folder.iterdir())
    assert names == [find_cached(cache, scene).name, "a.sound.json", "features.json"]


def test_an_interrupted_call_is_continued(released: Path, data: Path, scene: SceneData) -> None:
    write_scene(data, "b", 70)
    both = [scene, SceneFiles(data, "b").open()]
    extractor, extracted = count_extractions(extractor_of(released))
    cache = feature_cache(extractor, SPEECH, data / "features", SHORT)

    def stop(_scene: str, _done: int, _all: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_cache(extractor, cache, both, progress=stop)
    assert fill_cache(extractor, cache, both) == 1
    assert len(extracted) == 4 + 2


def test_two_runs_can_compute_the_same_scene_at_once(released: Path, scene: SceneData) -> None:
    extractor = extractor_of(released)
    cache = feature_cache(extractor, SPEECH, released / "features", SHORT)
    features: list[torch.Tensor] = []

    class Slow(ConvSpeech):
        """Front end that lets another process finish and read before its first result."""

        def forward(self, audio: torch.Tensor) -> torch.Tensor:
            if not features:
                fill_cache(extractor, cache, [scene])
                features.append(open_cached(extractor, scene, cache, None).window(0, 60, 60))
            return super().forward(audio)

    slow = Slow(extractor.speech.config)
    slow.load_state_dict(extractor.speech.state_dict())
    assert fill_cache(replace(extractor, speech=slow.eval()), cache, [scene]) == 1
    assert torch.equal(open_cached(extractor, scene, cache, None).window(0, 60, 60), features[0])
    assert len(list(cache.folder.iterdir())) == 3


def change_audio(data: Path) -> None:
    before = (data / "a_audio.wav").stat()
    write_wav(data / "a_audio.wav", read_wav(data / "a_audio.wav")[::-1])
    os.utime(data / "a_audio.wav", ns=(before.st_mtime_ns, before.st_mtime_ns + 1))


def touch_audio(data: Path) -> None:
    os.utime(data / "a_audio.wav", ns=(5, 5))


def remove_record(data: Path) -> None:
    next(data.glob("features/*/a.sound.json")).unlink()


def remove_array(data: Path) -> None:
    next(data.glob("features/*/a.*.npy")).unlink()


@pytest.mark.parametrize(
    ("change", "stays"),
    [(change_audio, False), (remove_record, False), (remove_array, False), (touch_audio, True)],
)
def test_features_of_changed_audio_are_outdated(
    released: Path, data: Path, change: Callable[[Path], None], stays: bool
) -> None:
    extractor = extractor_of(released)
    cache = feature_cache(extractor, SPEECH, data / "features", SHORT)
    fill_cache(extractor, cache, [SceneFiles(data, "a").open()])
    change(data)
    scene = SceneFiles(data, "a").open()
    assert (find_cached(cache, scene) is not None) is stays
    if not stays:
        with pytest.raises(
            FeaturesError, match="no speech features for the current audio of scene a"
        ):
            open_cached(extractor, scene, cache, None)
    assert fill_cache(extractor, cache, [scene]) == (0 if stays else 1)
    assert find_cached(cache, scene)
    assert len(list(cache.folder.glob("*.npy"))) == 1


def test_another_network_or_other_statistics_have_separate_caches(released: Path) -> None:
    def folders() -> list[str]:
        extractor = extractor_of(released)
        return [feature_cache(extractor, part, released).folder.name for part in (SPEECH, LIPS)]

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


def test_pieces_of_a_cache_stay_until_others_are_requested(
    released: Path, scene: SceneData
) -> None:
    extractor = extractor_of(released)
    fill_cache(extractor, feature_cache(extractor, SPEECH, released, SHORT), [scene])
    assert feature_cache(extractor, SPEECH, released).pieces == SHORT
    other = feature_cache(extractor, SPEECH, released, replace(SHORT, hop=60))
    assert fill_cache(extractor, other, [scene]) == 1
    assert feature_cache(extractor, SPEECH, released).pieces == other.pieces
