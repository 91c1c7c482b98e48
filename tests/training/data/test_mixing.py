"""Mixing of powers: sums of sounds, levels, babble of others, silence."""

import math
from collections.abc import Iterator
from functools import cache

import pytest
import torch
from torch import Generator, Tensor

from models.motion.speech import MelSpeech, MelSpeechConfig
from training.data import mixing
from training.data.mixing import (
    DECIBEL,
    SILENT,
    Bank,
    Shares,
    active_power,
    log_powers,
    make_bank,
    mixed_rows,
)

FRAMES, WINDOW = 120, 50
CLEAN = Shares(disturbed=0.0, silenced=0.0, formants=0.0)
QUIET_PARTNER = -100.0  # dB


@cache
def front_end() -> MelSpeech:
    return MelSpeech(MelSpeechConfig(bands=20))


def sound(seed: int) -> Tensor:
    """Noise that comes and goes, [1, n] at 16 kHz."""
    generator = Generator().manual_seed(seed)
    times = torch.arange(FRAMES * 16000 // 30) / 16000
    level = 0.1 * (1.1 + torch.sin(2 * torch.pi * (1 + seed) * times))
    return (level * torch.randn(len(times), generator=generator))[None]


def powers(seed: int) -> Tensor:
    """Powers of a sound, [1, S, M]."""
    return log_powers(front_end(), sound(seed), FRAMES * 4)


@pytest.fixture
def bank(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bank]:
    monkeypatch.setattr(mixing, "SOUNDS", 3)
    monkeypatch.setattr(mixing, "BABBLES", 8)
    yield make_bank(front_end(), ([powers(1)[0]], [powers(2)[0]]), FRAMES * 4)


def mixed(voice: Tensor, bank: Bank, shares: Shares, *, seed: int = 1) -> tuple[Tensor, Tensor]:
    count = len(voice)
    partners = torch.full((count,), QUIET_PARTNER)
    groups = torch.zeros(count, dtype=torch.long)
    generator = Generator().manual_seed(seed)
    return mixed_rows(
        front_end(), voice, partners, groups, bank, shares, generator, window=4 * WINDOW
    )


def test_rows_of_a_clean_voice_are_those_of_the_front_end(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixing, "RESPONSE", 0.0)
    rows, heard = mixed(powers(1), bank, CLEAN)
    both = torch.cat([sound(1), torch.zeros_like(sound(1))])
    expected = front_end().resampled_rows(both, FRAMES)[..., :80]
    assert heard.all()
    torch.testing.assert_close(rows, expected, atol=0.03, rtol=0)  # of sound above the bands


def test_the_power_of_a_mixture_is_that_of_the_mixed_sounds() -> None:
    """On average over spectra: which phases two sounds have is chance in both."""
    together = log_powers(front_end(), sound(1) + sound(2), FRAMES * 4)
    found = mixing._sum(powers(1), powers(2), front_end().config, Generator().manual_seed(1))
    difference = (found - together) / DECIBEL
    assert abs(float(difference.mean())) < 0.3
    spread = (together - torch.logaddexp(powers(1), powers(2))).std()
    assert float((found - torch.logaddexp(powers(1), powers(2))).std() / spread) == pytest.approx(
        1, abs=0.3
    )


def test_a_disturbance_fills_the_pauses_of_a_voice_and_another_seed_draws_another(
    bank: Bank,
) -> None:
    voice = powers(1).expand(16, -1, -1).clone()
    voice[:, 240:] = SILENT
    shares = Shares(disturbed=1.0, silenced=0.0, formants=0.0)
    rows, _ = mixed(voice, bank, shares)
    assert float(rows[:, 70:].amax((1, 2)).min()) > -3
    assert torch.equal(rows, mixed(voice, bank, shares)[0])
    assert not torch.equal(rows, mixed(voice, bank, shares, seed=2)[0])


def test_no_window_hears_babble_of_its_own_group(bank: Bank) -> None:
    groups = torch.arange(400) % 2
    alone = torch.arange(400) % 4 > 1
    chosen = bank.draw(groups, alone, Generator().manual_seed(1))
    of_chosen = bank.groups[chosen]
    assert ((of_chosen == groups) | (of_chosen == 2)).all()
    assert bank.crowd[chosen[alone]].all()
    assert 0.4 < float(bank.babble[chosen[~alone]].float().mean()) < 0.6
    # Babble of group 0 is made of the voices of group 1, here of one voice.
    few = next(i for i in range(len(bank.groups)) if bank.babble[i] and bank.groups[i] == 0)
    assert bank.powers[few].isfinite().all()


def test_a_silenced_voice_is_not_in_the_window_but_mostly_elsewhere(bank: Bank) -> None:
    silenced = Shares(disturbed=0.0, silenced=0.999, formants=0.0)
    rows, heard = mixed(powers(1).expand(40, -1, -1), bank, silenced)
    silent = rows[~heard]
    assert len(silent) > 30
    assert float(silent[:, :WINDOW].max()) < -0.9
    elsewhere = silent[:, WINDOW:].amax((1, 2)) > 0
    assert 0.5 < float(elsewhere.float().mean()) < 0.9


def test_a_louder_sound_has_more_active_power() -> None:
    difference = active_power(powers(1) + math.log(100)) - active_power(powers(1))
    assert float(difference) == pytest.approx(math.log(100), abs=1e-3)
