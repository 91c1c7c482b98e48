"""Lip regression in independent chunks of 4 s, resampled to the rows of speech features."""

import math
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch.nn.functional import interpolate

from models import checkpoint
from models.motion.lips import (
    CHUNK_FRAMES,
    LipRegressor,
    lip_geometry,
    lip_rows,
    load_lips,
    sinusoids,
    source_frames,
)
from models.motion.speech import SAMPLES_PER_FRAME, ConvSpeech, ConvSpeechConfig
from tests.tiny_person import LIPS, tiny_lips


@pytest.fixture(scope="module")
def regressor() -> LipRegressor:
    return tiny_lips().eval().requires_grad_(requires_grad=False)


def audio(frames: int, clips: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.randn(clips, frames * SAMPLES_PER_FRAME, 2, generator=generator)


@pytest.mark.parametrize("frames", [30, 120, 150, 270])
def test_batched_chunks_equal_chunks_computed_one_by_one(
    regressor: LipRegressor, frames: int
) -> None:
    clips = audio(frames, clips=2)
    chunks = clips.split(CHUNK_FRAMES * SAMPLES_PER_FRAME, dim=1)
    one_by_one = [
        torch.cat([regressor(chunk[clip : clip + 1, :, 0]).flatten(2) for chunk in chunks], dim=1)
        for clip in range(2)
    ]
    got = lip_geometry(regressor, clips)
    assert got.shape == (2, frames, 3 * LIPS.vertices)
    torch.testing.assert_close(got, torch.cat(one_by_one), rtol=1e-4, atol=1e-5)


def test_lips_do_not_depend_on_the_partner(regressor: LipRegressor) -> None:
    clip = audio(30)
    other = torch.stack([clip[..., 0], torch.zeros_like(clip[..., 1])], dim=-1)
    assert torch.equal(lip_geometry(regressor, clip), lip_geometry(regressor, other))


@pytest.mark.parametrize("frames", [1, 30, 120])
def test_there_are_a_hundred_speech_rows_per_second(regressor: LipRegressor, frames: int) -> None:
    rows = regressor.speech(audio(frames)[..., 0])
    assert rows.shape == (1, math.ceil(frames * 10 / 3) - (frames == 1), LIPS.width)


@pytest.mark.parametrize(("frames", "rows"), [(30, 98), (120, 398), (600, 1998), (7, 7), (9, 4)])
def test_each_row_takes_the_frame_at_its_centre(frames: int, rows: int) -> None:
    expected = [math.floor((row + 0.5) * frames / rows) for row in range(rows)]
    assert source_frames(frames, rows).tolist() == expected


def test_rows_at_a_boundary_take_the_frame_that_float32_gives() -> None:
    """The centre of row 415 of 831 over 250 frames is exactly 125; the reference takes 124."""
    assert source_frames(250, 831)[413:418].tolist() == [124, 124, 124, 125, 125]


def test_rows_take_the_frames_of_nearest_exact_interpolation() -> None:
    speech = ConvSpeech(ConvSpeechConfig())
    generator = torch.Generator().manual_seed(1)
    pairs = [(250, 831), *((frames, speech.rows(frames)) for frames in range(30, 1800, 11))]
    pairs += [tuple(pair) for pair in torch.randint(1, 3000, (300, 2), generator=generator)]
    for frames, rows in pairs:
        geometry = torch.randn(1, int(frames), 2, generator=generator)
        expected = interpolate(geometry.transpose(1, 2), int(rows), mode="nearest-exact")
        assert torch.equal(lip_rows(geometry, int(rows)), expected.transpose(1, 2)), (frames, rows)


def test_lips_are_resampled_to_the_rows_of_speech() -> None:
    geometry = torch.arange(3.0).view(1, 3, 1).expand(2, -1, 5)
    rows = lip_rows(geometry, 8)
    assert rows[1, :, 4].tolist() == [0, 0, 0, 1, 1, 2, 2, 2]


def test_the_position_table_alternates_sines_and_cosines() -> None:
    table = sinusoids(4, 4)
    slow = 3 / 100
    expected = torch.tensor([math.sin(3), math.cos(3), math.sin(slow), math.cos(slow)])
    torch.testing.assert_close(table[3], expected)


def test_a_saved_regressor_is_restored_exactly(tmp_path: Path, regressor: LipRegressor) -> None:
    path = tmp_path / "lips.safetensors"
    checkpoint.write(path, asdict(regressor.config), regressor.state_dict())
    loaded = load_lips(path, device=torch.device("cpu"))
    assert loaded.config == LIPS
    assert torch.equal(lip_geometry(loaded, audio(30)), lip_geometry(regressor, audio(30)))


def test_progress_rises_to_one_over_all_chunks(regressor: LipRegressor) -> None:
    shares: list[float] = []

    lip_geometry(regressor, audio(150), progress=shares.append)

    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert len(shares) > 20  # after each layer, so that cancelling waits for one layer at most
