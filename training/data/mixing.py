"""Mixing of voices with disturbances as powers of bands, anew in every step.

Powers of unrelated sounds add up, so a window needs neither waveforms nor transforms, and hears a
voice in another place, at another level and in other company whenever it is drawn.
Letters: B windows, K disturbances, S spectra of a segment, M bands; powers are natural logarithms.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.motion.speech import SPEECH_RATE
from training.data.band_changes import scale_formants
from training.data.disturbances import ACTIVE, make_disturbance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Generator, Tensor

    from models.motion.speech import MelSpeech, MelSpeechConfig

logger = logging.getLogger(__name__)

SILENT = -23.0  # power of no sound, -100 dB
DECIBEL = math.log(10) / 10
SOUNDS, BABBLES = 96, 160  # disturbances of a bank
MOST_VOICES = 12  # of babble
CROWD = 6  # voices; fewer of them alone could be the person's own
VOICE_LEVELS = 6.0  # dB, range of the voices of babble
BABBLE, SECOND = 0.5, 0.3  # share of babble, and of windows with two disturbances
LEVELS = ((-3.0, 28.0), (0.0, 24.0))  # dB, of speech over a sound, over babble
GONE = 0.3  # share of silenced voices that are silent in all of the segment
ALONE = (-8.0, 1.0)  # power of a disturbance without speech
KNOTS, RESPONSE = 6, 4.0  # of a random frequency response, and its spread in dB


@dataclass(frozen=True)
class Bank:
    """Disturbances in two groups, each with babble of the voices of the other one."""

    powers: Tensor  # [K, S, M] float16
    groups: Tensor  # [K], of the windows that may hear it: 0, 1, or 2 for both
    babble: Tensor  # [K] bool
    crowd: Tensor  # [K] bool, certainly not the person herself

    def draw(self, groups: Tensor, alone: Tensor, generator: Generator) -> Tensor:
        """Choose a disturbance for each window [B]: indices [B].

        groups: of the windows. alone: windows without a voice.
        """
        fits = (self.groups == 2) | (self.groups == groups[:, None])  # [B, K]
        fits &= self.crowd | ~alone[:, None]
        weights = torch.zeros(fits.shape)
        for kind, share in ((self.babble, BABBLE), (~self.babble, 1 - BABBLE)):
            of_kind = (fits & kind).float()
            weights += share * of_kind / of_kind.sum(1, keepdim=True).clamp(min=1)
        return torch.multinomial(weights, 1, generator=generator)[:, 0]

    def turned(self, chosen: Tensor, generator: Generator) -> Tensor:
        """Disturbances [N] from any moment on, [N, S, M]."""
        shifts = torch.randint(self.powers.shape[1], (len(chosen),), generator=generator).tolist()
        return torch.stack(
            [self.powers[i].roll(by, 0) for i, by in zip(chosen.tolist(), shifts, strict=True)]
        ).float()


def make_bank(
    front_end: MelSpeech, voices: tuple[Sequence[Tensor], Sequence[Tensor]], spectra: int
) -> Bank:
    """Make the disturbances of a training, always the same ones.

    voices: powers [S, M] of the persons of the scenes of both groups; without any, no babble.
    """
    rng = np.random.default_rng(11)
    generator = torch.Generator().manual_seed(11)
    frames = spectra // front_end.config.slices
    samples = frames * SPEECH_RATE // 30
    powers, groups, babble, crowd = [], [], [], []
    for _ in range(SOUNDS):
        sound = torch.from_numpy(make_disturbance(samples, rng)).float()[None]
        powers.append(log_powers(front_end, sound / sound.abs().max().clamp(min=1e-6), spectra)[0])
        groups.append(2)
        babble.append(False)
        crowd.append(True)
    for number in range(BABBLES):
        others = voices[1 - number % 2]
        if not others:
            continue
        count = 1 + int(MOST_VOICES * rng.random() ** 1.5)
        powers.append(_babble(front_end.config, others, count, generator))
        groups.append(number % 2)
        babble.append(True)
        crowd.append(count >= CROWD)
    return Bank(
        torch.stack(powers).half(), torch.tensor(groups), torch.tensor(babble), torch.tensor(crowd)
    )


def _babble(
    mel: MelSpeechConfig, voices: Sequence[Tensor], count: int, generator: Generator
) -> Tensor:
    """Several voices at once, shifted in time and about as loud as each other: [S, M]."""
    chosen = torch.randint(len(voices), (count,), generator=generator).tolist()
    shifts = torch.randint(len(voices[0]), (count,), generator=generator).tolist()
    together = torch.stack(
        [voices[each].roll(shift, 0) for each, shift in zip(chosen, shifts, strict=True)]
    )
    together = _scaled(together, mel, 0.1, generator)
    gains = -VOICE_LEVELS * DECIBEL * torch.rand(count, generator=generator)
    together = together + (gains - active_power(together))[:, None, None]
    return together.logsumexp(0).clamp(min=SILENT)


def log_powers(front_end: MelSpeech, sounds: Tensor, spectra: int) -> Tensor:
    """Powers of the bands of sounds at 16 kHz: [B, n] -> [B, S, M]."""
    return front_end.band_powers(sounds, spectra).clamp(min=math.exp(SILENT)).log()


def active_power(powers: Tensor) -> Tensor:
    """Power of the loudest moments: [B, S, M] -> [B]."""
    total = powers.exp().sum(-1)
    count = max(1, round(ACTIVE * total.shape[1]))
    return total.topk(count, dim=1).values.mean(1).clamp(min=math.exp(SILENT)).log()


@dataclass(frozen=True)
class Shares:
    """Shares of windows with a disturbance, and without a voice; the largest change of formants."""

    disturbed: float
    silenced: float
    formants: float


def mixed_rows(
    front_end: MelSpeech,
    voices: Tensor,  # [B, S, M]
    partners: Tensor,  # [B], dB: level of the other channel
    groups: Tensor,  # [B]
    bank: Bank,
    shares: Shares,
    generator: Generator,
    *,
    window: int,
) -> tuple[Tensor, Tensor]:
    """Rows of disturbed voices [B, T, s M], and whether each still sounds in the window [B].

    window: spectra at the start of a segment that are trained on. Some voices are silenced there,
    so that what sounds is not the person, and some of those in all of the segment.
    """
    mel, count = front_end.config, len(voices)
    heard = torch.rand(count, generator=generator) >= shares.silenced
    gone = ~heard & (torch.rand(count, generator=generator) < GONE)
    silent = ~heard[:, None] & (torch.arange(voices.shape[1]) < window) | gone[:, None]  # [B, S]
    voices = _scaled(voices, mel, shares.formants, generator)
    voices = voices + _responses(mel, count, generator)
    level = active_power(voices)
    sounds = torch.where(silent[..., None], SILENT, voices)
    noisy = torch.rand(count, generator=generator) < shares.disturbed
    second = noisy & (torch.rand(count, generator=generator) < SECOND)
    for now in (noisy.nonzero()[:, 0], second.nonzero()[:, 0]):
        if not len(now):
            continue
        chosen = bank.draw(groups[now], gone[now], generator)
        drawn = torch.rand(len(now), generator=generator)
        limits = DECIBEL * torch.tensor(LEVELS)[bank.babble[chosen].long()]  # [N, 2]
        below = limits[:, 0] + (limits[:, 1] - limits[:, 0]) * drawn
        alone = ALONE[0] + (ALONE[1] - ALONE[0]) * drawn
        wanted = torch.where(gone[now], alone, level[now] - below)
        noise = bank.turned(chosen, generator) + _responses(mel, len(now), generator)
        noise = noise + (wanted - active_power(noise))[:, None, None]
        sounds[now] = _sum(sounds[now], noise, mel, generator)
    return _rows(front_end, sounds, partners), heard


def _sum(one: Tensor, other: Tensor, mel: MelSpeechConfig, generator: Generator) -> Tensor:
    """Power of two sounds with random phases, [B, S, M]: on average the sum of their powers."""
    first, second = one.exp(), other.exp()
    spread = math.sqrt(0.5) / bins_of_bands(mel).sqrt()  # of the mean cosine of phases
    cosine = (torch.randn(one.shape, generator=generator) * spread).clamp(-0.95, 0.95)
    power = first + second + 2 * (first * second).sqrt() * cosine
    return power.clamp(min=math.exp(SILENT)).log()


def bins_of_bands(mel: MelSpeechConfig) -> Tensor:
    """Number of independent bins of a transform in each band, at least 1: [M]."""
    high = 2595 * math.log10(1 + mel.highest / 700)
    low = 2595 * math.log10(1 + mel.lowest / 700)
    edges = 700 * (10 ** (torch.linspace(low, high, mel.bands + 2) / 2595) - 1)
    return ((edges[2:] - edges[:-2]) / 2 / (SPEECH_RATE / mel.window)).clamp(min=1.0)


def _rows(front_end: MelSpeech, powers: Tensor, partners: Tensor) -> Tensor:
    """Rows relative to the level of the speech, as the front end makes them: [B, T, s M]."""
    mel = front_end.config
    linear = powers.exp()
    loudness = linear.sum(-1) / (mel.transform // 2 + 1)  # bands overlap to 1
    other = (DECIBEL * partners).exp()[:, None].expand_as(loudness)
    pairs = torch.stack([loudness, other], dim=1).flatten(0, 1)  # [2 B, S]
    reference = front_end.reference(pairs)[::2]
    rows = (powers.clamp(min=math.log(mel.floor)) / DECIBEL - reference) / 20 + 1
    return torch.unflatten(rows, 1, (-1, mel.slices)).flatten(2)


def _scaled(powers: Tensor, mel: MelSpeechConfig, most: float, generator: Generator) -> Tensor:
    rows = torch.unflatten(powers, 1, (-1, mel.slices)).flatten(2)
    scaled = scale_formants(rows, mel, most, generator)
    return torch.unflatten(scaled, -1, (mel.slices, mel.bands)).flatten(1, 2)


def _responses(mel: MelSpeechConfig, count: int, generator: Generator) -> Tensor:
    """Smooth random frequency responses, [B, 1, M]."""
    knots = torch.randn(count, 1, KNOTS, generator=generator) * (RESPONSE * DECIBEL)
    return torch.nn.functional.interpolate(knots, size=mel.bands, mode="linear", align_corners=True)
