"""Changes of bands: frequencies of other voices, bands of a telephone."""

import torch
from torch import Generator, Tensor

from models.motion.speech import MelSpeech, MelSpeechConfig, band_centres
from training.data.band_changes import HIGHEST_CUT, narrow_bands, scale_formants

MEL = MelSpeechConfig(bands=20)
SECONDS = 2


def rows_of_tone(hertz: float) -> Tensor:
    """Rows [1, T, s M] of a tone in weak noise."""
    time = torch.arange(48000 * SECONDS) / 48000
    tone = 0.1 * torch.sin(2 * torch.pi * hertz * time)
    noise = 1e-3 * torch.randn(len(tone), generator=Generator().manual_seed(1))
    audio = torch.stack([tone + noise, torch.zeros_like(tone)], dim=-1)[None]
    rows: Tensor = MelSpeech(MEL)(audio)
    return rows[..., : MEL.slices * MEL.bands]


def loudest(rows: Tensor) -> Tensor:
    """Centre of the loudest band, interpolated, in Hz: [B, T, s M] -> [B]."""
    power = 10 ** (2 * torch.unflatten(rows, -1, (MEL.slices, MEL.bands)).mean((1, 2)))  # [B, M]
    return (power * band_centres(MEL)).sum(1) / power.sum(1)


def test_a_scaled_voice_has_its_tone_at_other_frequencies() -> None:
    rows = rows_of_tone(1500).expand(200, -1, -1)
    found = loudest(scale_formants(rows, MEL, 0.2, Generator().manual_seed(1)))
    middle = float(loudest(rows_of_tone(1500))[0])
    assert float(found.min()) < 0.88 * middle
    assert float(found.max()) > 1.12 * middle
    assert abs(float(found.mean()) / middle - 1) < 0.05


def test_without_a_change_the_rows_are_the_same() -> None:
    rows = rows_of_tone(700)
    generator = Generator().manual_seed(1)
    assert scale_formants(rows, MEL, 0.0, generator) is rows
    assert narrow_bands(rows, MEL, 0.0, generator) is rows
    torch.testing.assert_close(scale_formants(rows, MEL, 1e-6, generator), rows, atol=1e-3, rtol=0)


def test_narrow_bands_keep_those_of_a_telephone() -> None:
    rows = torch.zeros(400, 3, MEL.slices * MEL.bands)
    changed = narrow_bands(rows, MEL, 0.5, Generator().manual_seed(1))
    bands = torch.unflatten(changed, -1, (MEL.slices, MEL.bands))
    assert torch.equal(bands, bands[:, :1, :1].expand_as(bands))  # a cut is one for its window
    cut = bands[:, 0, 0] < 0  # [B, M]
    centres = band_centres(MEL)
    assert 0.4 < float(cut.any(1).float().mean()) < 0.6
    assert not cut[:, (centres > 300) & (centres < 3200)].any()
    assert cut[cut.any(1)][:, centres > HIGHEST_CUT[1]].all()
