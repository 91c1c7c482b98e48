"""Both front ends: rows in time, and log-mel rows that do not ask how loud a clip was recorded."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models import checkpoint
from models.checkpoint import CheckpointError
from models.motion.speech import (
    RELEASED_LAYERS,
    SAMPLES_PER_FRAME,
    ConvSpeech,
    ConvSpeechConfig,
    MelSpeech,
    MelSpeechConfig,
    convolve,
    load_speech,
    mel_filters,
)
from training.person_directory import write_speech

CPU = torch.device("cpu")
MEL = MelSpeechConfig(bands=12, slices=2)
NARROW = ConvSpeechConfig(layers=tuple((4, *layer[1:]) for layer in RELEASED_LAYERS))
FRAMES = 12


def decibels(value: float) -> float:
    return 10 ** (value / 20)


def talk(frames: int = FRAMES, level: float = -20.0, seed: int = 1) -> Tensor:
    """Noise that comes and goes, [n, 2]; its two channels are about equally loud."""
    generator = torch.Generator().manual_seed(seed)
    count = frames * SAMPLES_PER_FRAME
    swell = 0.6 + 0.4 * torch.sin(torch.arange(count) / 5000)
    return decibels(level) * swell[:, None] * torch.randn(count, 2, generator=generator)


@pytest.fixture
def mel() -> MelSpeech:
    return MelSpeech(MEL)


@pytest.mark.parametrize("frames", [1, 7, 120])
def test_mel_rows_are_in_step_with_frames(mel: MelSpeech, frames: int) -> None:
    features = mel(talk(frames)[None])
    assert features.shape == (1, frames, 2 * MEL.bands * MEL.slices)
    assert features.shape[1:] == (mel.rows(frames), mel.width)


def test_a_quieter_recording_gives_the_same_rows(mel: MelSpeech) -> None:
    clip = talk()
    loud, quiet = mel(clip[None]), mel(decibels(-20) * clip[None])
    torch.testing.assert_close(loud, quiet, rtol=0, atol=1e-3)


def test_below_the_quietest_speech_a_clip_is_not_lifted(mel: MelSpeech) -> None:
    rows = mel(torch.stack([talk(level=-80), talk(level=-30)]))
    assert (rows[1] - rows[0]).mean() > 0.5  # 20 dB are 1


def test_a_partner_far_away_is_lifted_to_the_gap_and_no_further(mel: MelSpeech) -> None:
    clip = talk()
    clip[:, 1] = decibels(-40) * clip[:, 0]
    own, partner = mel(clip[None])[0].chunk(2, dim=1)
    torch.testing.assert_close(
        own - partner, torch.full_like(own, (40 - MEL.partner_gap) / 20), rtol=0, atol=1e-3
    )


def test_a_partner_who_is_only_a_little_quieter_looks_as_near(mel: MelSpeech) -> None:
    clip = talk()
    clip[:, 1] = decibels(-15) * clip[:, 0]
    own, partner = mel(clip[None])[0].chunk(2, dim=1)
    torch.testing.assert_close(own, partner, rtol=0, atol=1e-3)


def test_silence_is_one_finite_number(mel: MelSpeech) -> None:
    rows = mel(torch.zeros(1, 3 * SAMPLES_PER_FRAME, 2))
    lowest = 10 * math.log10(MEL.floor)
    expected = (lowest - MEL.quietest) / 20 + 1
    torch.testing.assert_close(rows, torch.full_like(rows, expected))


def test_one_silent_channel_leaves_the_other_as_it_is(mel: MelSpeech) -> None:
    clip = talk()
    alone = clip * torch.tensor([1.0, 0.0])
    both, one = mel(clip[None]), mel(alone[None])
    half = mel.width // 2
    torch.testing.assert_close(both[..., :half], one[..., :half])
    assert one[..., half:].max() < -1


def test_channels_swapped_are_halves_swapped(mel: MelSpeech) -> None:
    clip = talk()
    first, second = mel(clip[None]).chunk(2, dim=2)
    swapped = mel(clip.flip(1)[None])
    torch.testing.assert_close(swapped, torch.cat([second, first], dim=2))


def test_clips_of_a_batch_do_not_hear_each_other(mel: MelSpeech) -> None:
    clips = torch.stack([talk(), talk(level=-45, seed=2)])
    torch.testing.assert_close(mel(clips), torch.cat([mel(clip[None]) for clip in clips]))


def test_a_tone_shows_in_the_band_that_holds_it(mel: MelSpeech) -> None:
    time = torch.arange(6 * SAMPLES_PER_FRAME) / 48_000
    for band in (2, 5, 9):
        hertz = int(mel_filters(MEL)[:, band].argmax()) * 16_000 / MEL.transform
        tone = 0.1 * torch.sin(2 * math.pi * hertz * time)
        rows = mel(torch.stack([tone, tone], dim=1)[None])[0, 3]
        assert int(rows[: MEL.bands].argmax()) == band


def test_mel_filters_are_triangles_that_add_up_to_one() -> None:
    filters = mel_filters(MelSpeechConfig(bands=20))
    hertz = torch.linspace(0, 8000, len(filters))
    centres = filters.argmax(0)
    inner = filters[centres[0] : centres[-1]]
    torch.testing.assert_close(inner.sum(1), torch.ones(len(inner)))
    assert filters[(hertz < 60) | (hertz > 7600)].abs().max() == 0


@pytest.mark.parametrize("shape", [(1, 1601, 2), (1, 1600, 1), (1600, 2), (1, 2, 1600)], ids=str)
def test_sound_of_another_shape_is_refused_with_the_shape(
    mel: MelSpeech, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"multiple of 1600, 2\], got \[" + str(shape[0])):
        mel(torch.zeros(shape))


@pytest.mark.parametrize("wrong", [{"window": 100}, {"window": 600}])
def test_a_window_must_fit_between_hop_and_transform(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"window of {wrong['window']} samples must be"):
        MelSpeechConfig(**wrong)


@pytest.mark.parametrize("frames", [1, 2, 3, 29, 30, 31, 61])
def test_convolutions_give_the_rows_that_they_promise(frames: int) -> None:
    network = ConvSpeech(NARROW).eval()
    with torch.inference_mode():
        features = network(torch.randn(1, frames * SAMPLES_PER_FRAME, 2))
    assert features.shape == (1, network.rows(frames), network.width)
    samples = math.ceil(1600 * frames / 3)
    assert network.rows(frames) == (samples - 465) // 160 + 1


def test_log_compression_is_a_logarithm_of_the_plain_features() -> None:
    plain = ConvSpeech(NARROW).eval()
    compressed = ConvSpeech(ConvSpeechConfig(layers=NARROW.layers, log_compression=True)).eval()
    compressed.load_state_dict(plain.state_dict())
    sound = torch.randn(1, 3 * SAMPLES_PER_FRAME, 2)
    torch.testing.assert_close(compressed(sound), (plain(sound).abs() + 1).log())


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match="must be 'gelu' or 'relu', got 'mish'"):
        ConvSpeechConfig(activation="mish")


@pytest.mark.parametrize("network", [MelSpeech(MEL), ConvSpeech(NARROW)], ids=["mel", "conv"])
def test_a_saved_front_end_comes_back_the_same(
    tmp_path: Path, network: MelSpeech | ConvSpeech
) -> None:
    write_speech(tmp_path / "speech.safetensors", network)
    loaded = load_speech(tmp_path / "speech.safetensors", device=CPU)
    assert loaded.config == network.config
    torch.testing.assert_close(loaded(talk()[None]), network.eval()(talk()[None]))


def test_a_front_end_of_an_unknown_kind_is_told(tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "speech.safetensors", {"kind": "hubert"}, {"a": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="of kind 'hubert'; known are 'convolutions' and"):
        load_speech(tmp_path / "speech.safetensors", device=CPU)


@pytest.mark.parametrize("rows", [1, 1024, 1025, 5000])
def test_a_convolution_in_pieces_has_the_numbers_of_one_at_once(rows: int) -> None:
    convolution = nn.Conv1d(3, 5, 8, 4, bias=False)
    x = torch.randn(2, 3, (rows - 1) * 4 + 8 + 3)
    told: list[float] = []

    with torch.inference_mode():
        found = convolve(convolution, x, progress=told.append)
        torch.testing.assert_close(found, convolution(x), rtol=0, atol=1e-6)

    assert found.shape == (2, 5, rows)
    assert len(told) == -(-rows // 1024)
    assert told[-1] == 1.0


def test_whoever_cancels_waits_for_no_layer() -> None:
    class Canceled(Exception):
        pass

    def cancel(share: float) -> None:
        if share > 0.1:
            raise Canceled

    network = ConvSpeech(NARROW).eval()
    with torch.inference_mode(), pytest.raises(Canceled):
        network(torch.randn(1, 48_000, 2), progress=cancel)
