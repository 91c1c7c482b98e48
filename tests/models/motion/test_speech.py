"""Both speech front ends: numbers of rows, level normalisation, chunked convolutions."""

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


def speech(frames: int = FRAMES, level: float = -20.0, seed: int = 1) -> Tensor:
    """Noise with a slow envelope, [n, 2]; both channels are about equally loud."""
    generator = torch.Generator().manual_seed(seed)
    count = frames * SAMPLES_PER_FRAME
    envelope = 0.6 + 0.4 * torch.sin(torch.arange(count) / 5000)
    return decibels(level) * envelope[:, None] * torch.randn(count, 2, generator=generator)


@pytest.fixture
def mel() -> MelSpeech:
    return MelSpeech(MEL)


@pytest.mark.parametrize("frames", [1, 7, 120])
def test_there_is_one_mel_row_per_frame(mel: MelSpeech, frames: int) -> None:
    features = mel(speech(frames)[None])
    assert features.shape == (1, frames, 2 * MEL.bands * MEL.slices)
    assert features.shape[1:] == (mel.rows(frames), mel.width)


def test_a_quieter_recording_gives_the_same_rows(mel: MelSpeech) -> None:
    clip = speech()
    loud, quiet = mel(clip[None]), mel(decibels(-20) * clip[None])
    torch.testing.assert_close(loud, quiet, rtol=0, atol=1e-3)


def test_the_gain_is_limited_for_very_quiet_clips(mel: MelSpeech) -> None:
    rows = mel(torch.stack([speech(level=-80), speech(level=-30)]))
    assert (rows[1] - rows[0]).mean() > 0.5  # a difference of 20 dB is 1


def test_a_much_quieter_partner_is_amplified_up_to_the_gap_only(mel: MelSpeech) -> None:
    clip = speech()
    clip[:, 1] = decibels(-40) * clip[:, 0]
    own, partner = mel(clip[None])[0].chunk(2, dim=1)
    torch.testing.assert_close(
        own - partner, torch.full_like(own, (40 - MEL.partner_gap) / 20), rtol=0, atol=1e-3
    )


def test_a_slightly_quieter_partner_gives_the_same_rows(mel: MelSpeech) -> None:
    clip = speech()
    clip[:, 1] = decibels(-15) * clip[:, 0]
    own, partner = mel(clip[None])[0].chunk(2, dim=1)
    torch.testing.assert_close(own, partner, rtol=0, atol=1e-3)


def test_silence_gives_one_finite_value(mel: MelSpeech) -> None:
    rows = mel(torch.zeros(1, 3 * SAMPLES_PER_FRAME, 2))
    lowest = 10 * math.log10(MEL.floor)
    expected = (lowest - MEL.quietest) / 20 + 1
    torch.testing.assert_close(rows, torch.full_like(rows, expected))


def test_a_silent_channel_does_not_change_the_other(mel: MelSpeech) -> None:
    clip = speech()
    single = clip * torch.tensor([1.0, 0.0])
    both, one = mel(clip[None]), mel(single[None])
    half = mel.width // 2
    torch.testing.assert_close(both[..., :half], one[..., :half])
    assert one[..., half:].max() < -1


def test_swapping_channels_swaps_the_halves_of_rows(mel: MelSpeech) -> None:
    clip = speech()
    first, second = mel(clip[None]).chunk(2, dim=2)
    swapped = mel(clip.flip(1)[None])
    torch.testing.assert_close(swapped, torch.cat([second, first], dim=2))


def test_clips_of_a_batch_are_independent(mel: MelSpeech) -> None:
    clips = torch.stack([speech(), speech(level=-45, seed=2)])
    torch.testing.assert_close(mel(clips), torch.cat([mel(clip[None]) for clip in clips]))


def test_a_tone_is_strongest_in_its_own_band(mel: MelSpeech) -> None:
    time = torch.arange(6 * SAMPLES_PER_FRAME) / 48_000
    for band in (2, 5, 9):
        hertz = int(mel_filters(MEL)[:, band].argmax()) * 16_000 / MEL.transform
        tone = 0.1 * torch.sin(2 * math.pi * hertz * time)
        rows = mel(torch.stack([tone, tone], dim=1)[None])[0, 3]
        assert int(rows[: MEL.bands].argmax()) == band


def test_mel_filters_are_triangles_that_sum_to_one() -> None:
    filters = mel_filters(MelSpeechConfig(bands=20))
    hertz = torch.linspace(0, 8000, len(filters))
    centres = filters.argmax(0)
    inner = filters[centres[0] : centres[-1]]
    torch.testing.assert_close(inner.sum(1), torch.ones(len(inner)))
    assert filters[(hertz < 60) | (hertz > 7600)].abs().max() == 0


@pytest.mark.parametrize("shape", [(1, 1601, 2), (1, 1600, 1), (1600, 2), (1, 2, 1600)], ids=str)
def test_the_error_for_audio_of_another_shape_gives_the_shape(
    mel: MelSpeech, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"multiple of 1600, 2\], got \[" + str(shape[0])):
        mel(torch.zeros(shape))


@pytest.mark.parametrize("wrong", [{"window": 100}, {"window": 600}])
def test_a_window_must_be_between_hop_and_transform(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"window of {wrong['window']} samples must be at least"):
        MelSpeechConfig(**wrong)


@pytest.mark.parametrize("frames", [1, 2, 3, 29, 30, 31, 61])
def test_the_convolutions_give_the_announced_number_of_rows(frames: int) -> None:
    network = ConvSpeech(NARROW).eval()
    with torch.inference_mode():
        features = network(torch.randn(1, frames * SAMPLES_PER_FRAME, 2))
    assert features.shape == (1, network.rows(frames), network.width)
    samples = math.ceil(1600 * frames / 3)
    assert network.rows(frames) == (samples - 465) // 160 + 1


def test_log_compression_is_the_logarithm_of_the_plain_features() -> None:
    plain = ConvSpeech(NARROW).eval()
    compressed = ConvSpeech(ConvSpeechConfig(layers=NARROW.layers, log_compression=True)).eval()
    compressed.load_state_dict(plain.state_dict())
    audio = torch.randn(1, 3 * SAMPLES_PER_FRAME, 2)
    torch.testing.assert_close(compressed(audio), (plain(audio).abs() + 1).log())


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match="must be 'gelu' or 'relu', got 'mish'"):
        ConvSpeechConfig(activation="mish")


@pytest.mark.parametrize("network", [MelSpeech(MEL), ConvSpeech(NARROW)], ids=["mel", "conv"])
def test_a_saved_front_end_is_restored_exactly(
    tmp_path: Path, network: MelSpeech | ConvSpeech
) -> None:
    write_speech(tmp_path / "speech.safetensors", network)
    loaded = load_speech(tmp_path / "speech.safetensors", device=CPU)
    assert loaded.config == network.config
    torch.testing.assert_close(loaded(speech()[None]), network.eval()(speech()[None]))


def test_a_front_end_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "speech.safetensors", {"kind": "hubert"}, {"a": torch.zeros(1)})
    with pytest.raises(
        CheckpointError, match="unknown front end 'hubert'; known kinds are 'convolutions' and"
    ):
        load_speech(tmp_path / "speech.safetensors", device=CPU)


@pytest.mark.parametrize("rows", [1, 1024, 1025, 5000])
def test_a_convolution_in_chunks_equals_one_call(rows: int) -> None:
    convolution = nn.Conv1d(3, 5, 8, 4, bias=False)
    x = torch.randn(2, 3, (rows - 1) * 4 + 8 + 3)
    shares: list[float] = []

    with torch.inference_mode():
        result = convolve(convolution, x, progress=shares.append)
        torch.testing.assert_close(result, convolution(x), rtol=0, atol=1e-6)

    assert result.shape == (2, 5, rows)
    assert len(shares) == -(-rows // 1024)
    assert shares[-1] == 1.0


def test_progress_can_cancel_the_work_between_layers() -> None:
    class Canceled(Exception):
        pass

    def cancel(share: float) -> None:
        if share > 0.1:
            raise Canceled

    network = ConvSpeech(NARROW).eval()
    with torch.inference_mode(), pytest.raises(Canceled):
        network(torch.randn(1, 48_000, 2), progress=cancel)
