"""Preview strips: the truth above the prediction of each network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.motion.statistics import load_statistics
from tests import tiny_person
from training.data.scenes import Scene
from training.networks.codebooks import LearningTokenizer
from training.networks.previews import GAP, PICTURES, SIZE, Clip, clip_of, predict, preview_of
from training.person_directory import CPU

FRAMES = 270


@pytest.fixture
def person(tmp_path: Path) -> Path:
    return tiny_person.write_tiny_person(tmp_path)


def scene(channels: int) -> Scene:
    generator = torch.Generator().manual_seed(1)
    motion = torch.randn(FRAMES, channels, generator=generator)
    features = torch.randn(FRAMES, tiny_person.AUDIO, generator=generator)
    return Scene("a", features, motion, torch.ones(FRAMES))


def network(name: str) -> nn.Module:
    networks = tiny_person.tiny_networks()
    return LearningTokenizer(networks.tokenizer) if name == "tokenizer" else getattr(networks, name)


@pytest.mark.parametrize("name", ["face", "body", "tokenizer", "guide"])
def test_a_strip_has_the_truth_above_and_the_prediction_below(person: Path, name: str) -> None:
    channels = 256 if name == "face" else 104
    preview = preview_of(name, network(name), scene(channels), person, device=CPU)
    assert preview is not None
    with torch.no_grad():
        picture, again = preview(), preview()
    assert picture.shape == (2 * SIZE + GAP, PICTURES * SIZE, 3)
    assert (picture[SIZE : SIZE + GAP] == 255).all()
    assert picture[:SIZE].std() > 5
    assert not np.array_equal(picture[:SIZE], picture[SIZE + GAP :])
    assert np.array_equal(picture, again)


def test_a_perfect_network_shows_the_truth_twice(
    person: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scene(104)
    preview = preview_of("body", network("body"), whole, person, device=CPU)
    assert preview is not None

    def perfect(_network: nn.Module, clip: Clip, _tokenizer: object) -> torch.Tensor:
        return clip.motion

    monkeypatch.setattr("training.networks.previews.predict", perfect)
    picture = preview()
    assert np.array_equal(picture[:SIZE], picture[SIZE + GAP :])


@pytest.mark.parametrize(("name", "rows"), [("face", 240), ("tokenizer", 8), ("guide", 8)])
def test_predictions_are_motion_or_key_poses(name: str, rows: int) -> None:
    channels = 256 if name == "face" else 104
    whole = scene(channels)
    clip = Clip(whole.features[None, :240], whole.motion[None, :240])
    with torch.no_grad():
        predicted = predict(network(name), clip, tiny_person.tiny_networks().tokenizer)
    assert predicted.shape == (1, rows, channels)


def test_the_clip_has_the_most_motion(person: Path) -> None:
    still = torch.zeros(600, 256)
    still[330:] = scene(256).motion
    whole = Scene("a", torch.zeros(600, tiny_person.AUDIO), still, torch.ones(600))
    clip = clip_of(whole, CPU)
    assert torch.equal(clip.motion[0], still[330:570])


def test_a_person_without_an_avatar_has_no_previews(person: Path) -> None:
    (person / "avatar.safetensors").unlink()
    assert preview_of("body", network("body"), scene(104), person, device=CPU) is None


def test_a_person_in_training_needs_no_person_json(person: Path) -> None:
    (person / "person.json").unlink()
    short = replace(scene(256), motion=scene(256).motion[:90], features=scene(256).features[:90])
    preview = preview_of("face", network("face"), short, person, device=CPU)
    assert preview is not None
    with torch.no_grad():
        assert preview().shape[1] == PICTURES * SIZE
    assert load_statistics(person / "stats.json", device=CPU).audio_std == 0.1
