"""Lips are regressed in pieces of 4 s, each on its own, and stretched to the rows of speech."""

import math
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from models import checkpoint
from models.motion.lips import (
    CHUNK_FRAMES,
    LipConfig,
    LipRegressor,
    lip_geometry,
    lip_rows,
    load_lips,
    sinusoids,
    source_frames,
)
from models.motion.speech import SAMPLES_PER_FRAME

NARROW = LipConfig(
    layers=((8, 10, 5), (8, 8, 4), (8, 4, 2), (8, 4, 2), (8, 4, 2), (8, 1, 1), (8, 1, 1)),
    context_kernels=(2, 3),
    vertices=3,
    heads=2,
    hidden=16,
    encoder_layers=1,
    decoder_layers=1,
)


@pytest.fixture(scope="module")
def regressor() -> LipRegressor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return LipRegressor(NARROW).eval().requires_grad_(requires_grad=False)


def sound(frames: int, clips: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.randn(clips, frames * SAMPLES_PER_FRAME, 2, generator=generator)


@pytest.mark.parametrize("frames", [30, 120, 150, 270])
def test_pieces_with_a_shorter_last_one_are_as_good_as_one_after_the_other(
    regressor: LipRegressor, frames: int
) -> None:
    clips = sound(frames, clips=2)
    pieces = clips.split(CHUNK_FRAMES * SAMPLES_PER_FRAME, dim=1)
    one_by_one = [
        torch.cat([regressor(piece[clip : clip + 1, :, 0]).flatten(2) for piece in pieces], dim=1)
        for clip in range(2)
    ]
    got = lip_geometry(regressor, clips)
    assert got.shape == (2, frames, 3 * NARROW.vertices)
    torch.testing.assert_close(got, torch.cat(one_by_one), rtol=1e-4, atol=1e-5)


def test_lips_do_not_hear_the_partner(regressor: LipRegressor) -> None:
    clip = sound(30)
    other = torch.stack([clip[..., 0], torch.zeros_like(clip[..., 1])], dim=-1)
    assert torch.equal(lip_geometry(regressor, clip), lip_geometry(regressor, other))


@pytest.mark.parametrize("frames", [1, 30, 120])
def test_there_are_a_hundred_speech_rows_a_second(regressor: LipRegressor, frames: int) -> None:
    rows = regressor.speech(sound(frames)[..., 0])
    assert rows.shape == (1, math.ceil(frames * 10 / 3) - (frames == 1), NARROW.width)


@pytest.mark.parametrize(("frames", "rows"), [(30, 98), (120, 398), (600, 1998), (7, 7), (9, 4)])
def test_each_row_takes_the_frame_at_its_middle(frames: int, rows: int) -> None:
    expected = [math.floor((row + 0.5) * frames / rows) for row in range(rows)]
    assert source_frames(frames, rows).tolist() == expected


def test_lips_are_stretched_to_the_rows_of_speech() -> None:
    geometry = torch.arange(3.0).view(1, 3, 1).expand(2, -1, 5)
    stretched = lip_rows(geometry, 8)
    assert stretched[1, :, 4].tolist() == [0, 0, 0, 1, 1, 2, 2, 2]


def test_the_table_of_positions_has_sines_and_cosines_in_turn() -> None:
    table = sinusoids(4, 4)
    slow = 3 / 100
    expected = torch.tensor([math.sin(3), math.cos(3), math.sin(slow), math.cos(slow)])
    torch.testing.assert_close(table[3], expected)


def test_a_saved_regressor_comes_back_the_same(tmp_path: Path, regressor: LipRegressor) -> None:
    path = tmp_path / "lips.safetensors"
    checkpoint.write(path, asdict(regressor.config), regressor.state_dict())
    loaded = load_lips(path, device=torch.device("cpu"))
    assert loaded.config == NARROW
    assert torch.equal(lip_geometry(loaded, sound(30)), lip_geometry(regressor, sound(30)))


def test_progress_rises_to_one_over_whole_and_shorter_pieces(regressor: LipRegressor) -> None:
    told: list[float] = []

    lip_geometry(regressor, sound(150), progress=told.append)

    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)
    assert len(told) > 20  # in every layer: whoever cancels waits for none but one
