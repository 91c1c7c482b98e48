"""Statistics of a person: loading, normalisation, errors."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from models.checkpoint import CheckpointError
from models.motion.statistics import LENGTHS, Statistics, load_statistics

CPU = torch.device("cpu")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    values = {name: [index / 10] * length for index, (name, length) in enumerate(LENGTHS.items())}
    (tmp_path / "stats.json").write_text(json.dumps(values | {"audio_std_flat": 0.5}))
    return tmp_path / "stats.json"


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_statistics_are_loaded_as_they_were_written(path: Path) -> None:
    read = load_statistics(path, device=CPU)
    torch.testing.assert_close(read.code_std, torch.full((256,), 0.1))
    torch.testing.assert_close(read.pose_mean, torch.full((104,), 0.2))
    assert read.audio_std == 0.5


def test_denormalising_reverts_normalising() -> None:
    statistics = Statistics(
        code_mean=torch.randn(256),
        code_std=torch.rand(256) + 0.1,
        pose_mean=torch.randn(104),
        pose_std=torch.rand(104) + 0.1,
        audio_mean=torch.tensor([0.5, -0.5]),
        audio_std=0.25,
    )
    face, pose = torch.randn(2, 5, 256), torch.randn(5, 104)
    normalised = (face - statistics.code_mean) / statistics.code_std
    torch.testing.assert_close(statistics.face(normalised), face, rtol=1e-4, atol=1e-5)
    normalised = (pose - statistics.pose_mean) / statistics.pose_std
    torch.testing.assert_close(statistics.pose(normalised), pose, rtol=1e-4, atol=1e-5)


def test_audio_channels_have_separate_means_and_one_standard_deviation() -> None:
    unused = torch.zeros(0)
    statistics = Statistics(*[unused] * 4, torch.tensor([1.0, 3.0]), 2.0)
    audio = torch.tensor([[1.0, 1.0], [5.0, 3.0]])
    assert statistics.normalised_audio(audio).tolist() == [[0, -1], [2, 0]]


def test_the_error_for_missing_statistics_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"stats\.json: statistics not found"):
        load_statistics(tmp_path / "stats.json", device=CPU)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null"])
def test_damaged_statistics_are_refused(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(CheckpointError, match=r"stats\.json: damaged, or a statistic is missing"):
        load_statistics(path, device=CPU)


@pytest.mark.parametrize("name", [*LENGTHS, "audio_std_flat"])
def test_the_error_names_a_missing_statistic(path: Path, name: str) -> None:
    values = json.loads(path.read_text())
    del values[name]
    path.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=f"a statistic is missing .KeyError.*{name}"):
        load_statistics(path, device=CPU)


@pytest.mark.parametrize("name", LENGTHS)
def test_the_error_for_another_length_gives_both_lengths(path: Path, name: str) -> None:
    change(path, **{name: [0.0] * 3})
    with pytest.raises(CheckpointError, match=rf"{name} must have {LENGTHS[name]} .* found \[3\]"):
        load_statistics(path, device=CPU)


def test_a_statistic_with_invalid_numbers_is_refused(path: Path) -> None:
    change(path, pose_std=["a"] * 104)
    with pytest.raises(CheckpointError, match="damaged"):
        load_statistics(path, device=CPU)
