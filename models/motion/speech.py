"""Speech features: what the networks hear. Both channels, rows in time, made once per clip.

Letters: B clips, n samples at 48 kHz, L rows, A width of a row (both channels).
Two front ends: the convolutions of a pretrained speech network (released people), and log-mel
rows, one a frame (people who are trained here).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from models import checkpoint
from models.formats.wav import FRAME_RATE as FRAME_RATE
from models.formats.wav import SAMPLE_RATE as SAMPLE_RATE
from models.formats.wav import SAMPLES_PER_FRAME as SAMPLES_PER_FRAME
from models.motion.layers import stack
from models.motion.resample import resample_with, sinc_filters

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Progress = Callable[[float], None]  # share of the work that is done; what it raises ends it

SPEECH_RATE = 16_000
PIECE_ROWS = 1024  # of a wide convolution at a time, on a CPU
RELEASED_LAYERS = (  # channels, kernel, stride; the last two kernels of 1 are the gumbel model's
    (512, 10, 5), (512, 8, 4), (512, 4, 2), (512, 4, 2), (512, 4, 2), (512, 1, 1), (512, 1, 1),
    (512, 1, 1),
)  # fmt: skip


def no_progress(_share: float) -> None:
    """The progress that nobody wants to know."""


def between(progress: Progress, first: float, last: float) -> Progress:
    """Progress of a part of the work, told as that of the whole: from `first` to `last`."""
    return lambda share: progress(first + share * (last - first))


class FrontEnd(Protocol):
    """Anything that makes features of sound."""

    width: int  # A, both channels

    def rows(self, frames: int) -> int:
        """L, for a clip of so many frames of motion."""
        ...

    def __call__(self, audio: Tensor, *, progress: Progress = no_progress) -> Tensor:
        """Normalised sound [B, n, 2] -> features [B, L, A]."""
        ...


class ConvStack(nn.Module):
    """Convolutions without padding, each with GroupNorm over the whole clip and an activation.

    Because of the norm, every row depends on the whole clip: batch only clips of equal length.
    """

    def __init__(
        self, layers: tuple[tuple[int, int, int], ...], *, activation: str, log_compression: bool
    ) -> None:
        super().__init__()
        self.activation, self.log_compression = getattr(functional, activation), log_compression
        widths = [1, *(width for width, _, _ in layers)]
        self.convolutions = stack(
            nn.Conv1d(before, width, kernel, stride, bias=False)
            for before, (width, kernel, stride) in zip(widths, layers, strict=False)
        )
        self.norms = stack(nn.GroupNorm(1, width) for width, _, _ in layers)

    def forward(self, sound: Tensor, *, progress: Progress = no_progress) -> Tensor:
        """Sound at 16 kHz [B, samples] -> [B, width, L]. progress: told within each layer."""
        x, count = sound[:, None], len(self.convolutions)
        layers = zip(self.convolutions, self.norms, strict=True)
        for layer, (convolution, norm) in enumerate(layers):
            told = between(progress, layer / count, (layer + 0.8) / count)
            x = self.activation(norm(convolve(convolution, x, progress=told)))
            progress((layer + 1) / count)
        return (x.abs() + 1).log() if self.log_compression else x


def convolve(convolution: nn.Conv1d, x: Tensor, *, progress: Progress = no_progress) -> Tensor:
    """x [B, C, N] -> [B, D, L], with the numbers of the convolution at once.

    On a CPU a wide one of a long clip takes seconds: there it goes piece by piece, so that whoever
    cancels need not wait for all of it.
    """
    (kernel,), (stride,) = convolution.kernel_size, convolution.stride
    rows = (x.shape[-1] - kernel) // stride + 1
    if x.device.type != "cpu" or kernel == 1 or torch.is_grad_enabled():
        return convolution(x)
    found = x.new_empty(len(x), convolution.out_channels, rows)
    for first in range(0, rows, PIECE_ROWS):
        last = min(first + PIECE_ROWS, rows)
        seen = x[..., first * stride : (last - 1) * stride + kernel]
        found[..., first:last] = convolution(seen)
        progress(last / rows)
    return found


@dataclass(frozen=True)
class ConvSpeechConfig:
    """The convolutions of the gumbel vq-wav2vec model (arXiv 1910.05453)."""

    layers: tuple[tuple[int, int, int], ...] = RELEASED_LAYERS
    activation: str = "gelu"
    log_compression: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(tuple(layer) for layer in self.layers))
        if self.activation not in ("gelu", "relu"):
            raise ValueError(f"activation must be 'gelu' or 'relu', got {self.activation!r}")


class ConvSpeech(nn.Module):
    """The front end of released people: about 100 rows a second, each channel on its own."""

    filters: Tensor

    def __init__(self, config: ConvSpeechConfig) -> None:
        super().__init__()
        self.config = config
        self.width = 2 * config.layers[-1][0]
        self.register_buffer("filters", sinc_filters(SAMPLE_RATE, SPEECH_RATE), persistent=False)
        self.stack = ConvStack(
            config.layers,
            activation=config.activation,
            log_compression=config.log_compression,
        )

    def rows(self, frames: int) -> int:
        """L for T frames: floor((ceil(1600 T / 3) - 465) / 160) + 1 at the released sizes."""
        length = -(-frames * SAMPLES_PER_FRAME * SPEECH_RATE // SAMPLE_RATE)
        for _, kernel, stride in self.config.layers:
            length = (length - kernel) // stride + 1
        return length

    def forward(self, audio: Tensor, *, progress: Progress = no_progress) -> Tensor:
        """[B, n, 2] -> [B, L, A]: channel 0's features, then channel 1's."""
        channels = audio.transpose(1, 2).flatten(0, 1)  # [B, n, 2] -> [2 B, n]
        slow = resample_with(channels, self.filters, SAMPLE_RATE, SPEECH_RATE)
        features = self.stack(slow, progress=progress)  # [2 B, A / 2, L]
        return torch.unflatten(features, 0, (-1, 2)).flatten(1, 2).transpose(1, 2)


@dataclass(frozen=True)
class MelSpeechConfig:
    """Rows in step with the frames of motion, each of a few short spectra."""

    bands: int = 32
    slices: int = 4  # spectra in a row, so rows last slices * hop
    window: int = 400  # samples at 16 kHz
    transform: int = 512
    lowest: float = 60.0  # Hz
    highest: float = 7600.0
    floor: float = 1e-10  # of power, for sound that is full scale at 1
    quietest: float = -60.0  # dB: a clip is never lifted more than if its speech were this loud
    partner_gap: float = 25.0  # dB that one channel may be lifted above the other

    def __post_init__(self) -> None:
        hop = SPEECH_RATE / FRAME_RATE / self.slices
        if not hop <= self.window <= self.transform:
            raise ValueError(
                f"a window of {self.window} samples must be at least a hop ({hop:.0f}) and at "
                f"most a transform ({self.transform})"
            )


class MelSpeech(nn.Module):
    """Log-mel rows, 30 a second, free of the level at which a clip was recorded.

    Each channel's loudness is measured against its own speech, so that a whisper and a shout, a
    near and a far microphone look alike; a channel that is much quieter than the other stays quiet.
    """

    filters: Tensor
    mel: Tensor
    window: Tensor

    def __init__(self, config: MelSpeechConfig) -> None:
        super().__init__()
        self.config = config
        self.width = 2 * config.bands * config.slices
        self.register_buffer("filters", sinc_filters(SAMPLE_RATE, SPEECH_RATE), persistent=False)
        self.register_buffer("mel", mel_filters(config))
        self.register_buffer("window", torch.hann_window(config.window), persistent=False)

    def rows(self, frames: int) -> int:
        """L: one for each frame."""
        return frames

    def forward(self, audio: Tensor, *, progress: Progress = no_progress) -> Tensor:
        """[B, n, 2] -> [B, L, A]: channel 0's rows, then channel 1's. n is a multiple of 1600."""
        if audio.ndim != 3 or audio.shape[2] != 2 or audio.shape[1] % SAMPLES_PER_FRAME:
            raise ValueError(
                f"audio must be [B, multiple of {SAMPLES_PER_FRAME}, 2], got {list(audio.shape)}"
            )
        rows = audio.shape[1] // SAMPLES_PER_FRAME
        channels = audio.transpose(1, 2).flatten(0, 1)  # [B, n, 2] -> [2 B, n]
        slow = resample_with(channels, self.filters, SAMPLE_RATE, SPEECH_RATE)
        power = self._power(slow, rows * self.config.slices)  # [2 B, spectra, bins]
        bands = 10 * (power @ self.mel).clamp(min=self.config.floor).log10()  # [2 B, spectra, M]
        bands = (bands - self._reference(power.mean(-1))) / 20 + 1
        grouped = torch.unflatten(bands, 1, (rows, -1)).flatten(2)  # [2 B, L, A / 2]
        progress(1.0)  # milliseconds: one step
        return torch.unflatten(grouped, 0, (-1, 2)).transpose(1, 2).flatten(2)

    def _power(self, slow: Tensor, spectra: int) -> Tensor:
        """Power in the middles of equal parts of the clip: [2 B, N] -> [2 B, spectra, bins].

        Scaled so that the mean over the bins is the mean square of the sound.
        """
        hop = slow.shape[1] / spectra
        starts = ((torch.arange(spectra, device=slow.device) + 0.5) * hop).round().long()
        half = self.config.window // 2
        pieces = functional.pad(slow, (half, half)).unfold(1, self.config.window, 1)[:, starts]
        spectrum = torch.fft.rfft(pieces * self.window, self.config.transform)
        return (spectrum.real.square() + spectrum.imag.square()) / self.window.square().sum()

    def _reference(self, loudness: Tensor) -> Tensor:
        """What counts as loud: the loudest tenth of a channel, [2 B, spectra] -> dB [2 B, 1, 1]."""
        count = max(1, loudness.shape[1] // 10)
        loud = loudness.topk(count, dim=1).values.mean(1).clamp(min=self.config.floor)
        level = (10 * loud.log10()).clamp(min=self.config.quietest).view(-1, 2)
        joint = level.amax(1, keepdim=True)
        return torch.maximum(level, joint - self.config.partner_gap).view(-1, 1, 1)


def mel_filters(config: MelSpeechConfig) -> Tensor:
    """Triangles evenly spaced in mel (2595 log10(1 + f / 700)), [transform / 2 + 1, bands]."""
    edges = torch.tensor([config.lowest, config.highest], dtype=torch.float64)
    low, high = (2595 * torch.log10(1 + edges / 700)).tolist()
    mel = torch.linspace(low, high, config.bands + 2, dtype=torch.float64)
    corners = 700 * (10 ** (mel / 2595) - 1)
    bins = torch.linspace(0, SPEECH_RATE / 2, config.transform // 2 + 1, dtype=torch.float64)
    rising = (bins[:, None] - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - bins[:, None]) / (corners[2:] - corners[1:-1])
    return torch.minimum(rising, falling).clamp(min=0).float()


def kind_of(front_end: ConvSpeech | MelSpeech) -> str:
    """The word that stands for its class in a checkpoint."""
    return "mel" if isinstance(front_end, MelSpeech) else "convolutions"


def load_speech(path: Path, *, device: torch.device) -> ConvSpeech | MelSpeech:
    """The front end in speech.safetensors, of whatever kind. Raises CheckpointError."""
    config, weights = checkpoint.read(path, device=device)
    kind = config.pop("kind", None)
    network: ConvSpeech | MelSpeech
    if kind == "mel":
        network = MelSpeech(checkpoint.config_of(MelSpeechConfig, config, path))
    elif kind == "convolutions":
        network = ConvSpeech(checkpoint.config_of(ConvSpeechConfig, config, path))
    else:
        raise checkpoint.CheckpointError(
            f"{path} holds a front end of kind {kind!r}; known are 'convolutions' and 'mel'"
        )
    return checkpoint.restore(network, weights, path).to(device)
