"""Speech features of both channels: rows over time, computed once per clip.

Letters: B clips, n samples at 48 kHz, L rows, A width of a row (both channels).
Two front ends: the convolutions of a pretrained speech network (released people) and log-mel rows,
one per frame (people trained with this project).
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

    Progress = Callable[[float], None]  # share of the work done; an exception from it ends the work

SPEECH_RATE = 16_000
CHUNK_ROWS = 1024  # rows of a wide convolution computed at a time on a CPU
RELEASED_LAYERS = (  # channels, kernel, stride; the gumbel model ends with two kernels of 1
    (512, 10, 5), (512, 8, 4), (512, 4, 2), (512, 4, 2), (512, 4, 2), (512, 1, 1), (512, 1, 1),
    (512, 1, 1),
)  # fmt: skip


def no_progress(_share: float) -> None:
    """Ignore progress."""


def between(progress: Progress, first: float, last: float) -> Progress:
    """Map the progress of one part of the work to the range `first` to `last` of the whole."""
    return lambda share: progress(first + share * (last - first))


class FrontEnd(Protocol):
    """Network from audio to speech features."""

    width: int  # A, both channels
    context: int  # frames before a window of a long clip that its features are computed from

    def rows(self, frames: int) -> int:
        """Return L for a clip of `frames` frames of motion."""
        ...

    def __call__(self, audio: Tensor, *, progress: Progress = no_progress) -> Tensor:
        """Extract features of normalised audio [B, n, 2] -> [B, L, A]."""
        ...


class ConvStack(nn.Module):
    """Convolutions without padding, each followed by GroupNorm over the clip and an activation.

    The norm makes each row depend on the whole clip, so a batch must hold clips of equal length.
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

    def forward(self, audio: Tensor, *, progress: Progress = no_progress) -> Tensor:
        """Convolve audio at 16 kHz [B, samples] -> [B, width, L].

        progress: called several times within each layer.
        """
        x, count = audio[:, None], len(self.convolutions)
        layers = zip(self.convolutions, self.norms, strict=True)
        for layer, (convolution, norm) in enumerate(layers):
            inner = between(progress, layer / count, (layer + 0.8) / count)
            x = self.activation(norm(convolve(convolution, x, progress=inner)))
            progress((layer + 1) / count)
        return (x.abs() + 1).log() if self.log_compression else x


def convolve(convolution: nn.Conv1d, x: Tensor, *, progress: Progress = no_progress) -> Tensor:
    """Apply a convolution to x [B, C, N] -> [B, D, L], in chunks on a CPU.

    A wide convolution over a long clip takes seconds on a CPU; between chunks `progress` can
    cancel it. The result equals that of one call.
    """
    (kernel,), (stride,) = convolution.kernel_size, convolution.stride
    rows = (x.shape[-1] - kernel) // stride + 1
    if x.device.type != "cpu" or kernel == 1 or torch.is_grad_enabled():
        return convolution(x)
    result = x.new_empty(len(x), convolution.out_channels, rows)
    for first in range(0, rows, CHUNK_ROWS):
        last = min(first + CHUNK_ROWS, rows)
        chunk = x[..., first * stride : (last - 1) * stride + kernel]
        result[..., first:last] = convolution(chunk)
        progress(last / rows)
    return result


@dataclass(frozen=True)
class ConvSpeechConfig:
    """Sizes of the convolutions of the gumbel vq-wav2vec model (arXiv 1910.05453)."""

    layers: tuple[tuple[int, int, int], ...] = RELEASED_LAYERS
    activation: str = "gelu"
    log_compression: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(tuple(layer) for layer in self.layers))
        if self.activation not in ("gelu", "relu"):
            raise ValueError(f"activation must be 'gelu' or 'relu', got {self.activation!r}")


class ConvSpeech(nn.Module):
    """Front end of released people: about 100 rows per second, each channel separately."""

    context = 30  # its rows are the larger part of the work
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
        """Return L for T frames; released sizes: floor((ceil(1600 T / 3) - 465) / 160) + 1."""
        length = -(-frames * SAMPLES_PER_FRAME * SPEECH_RATE // SAMPLE_RATE)
        for _, kernel, stride in self.config.layers:
            length = (length - kernel) // stride + 1
        return length

    def forward(self, audio: Tensor, *, progress: Progress = no_progress) -> Tensor:
        """Extract features [B, n, 2] -> [B, L, A]: those of channel 0, then those of channel 1."""
        channels = audio.transpose(1, 2).flatten(0, 1)  # [B, n, 2] -> [2 B, n]
        resampled = resample_with(channels, self.filters, SAMPLE_RATE, SPEECH_RATE)
        features = self.stack(resampled, progress=progress)  # [2 B, A / 2, L]
        return torch.unflatten(features, 0, (-1, 2)).flatten(1, 2).transpose(1, 2)


@dataclass(frozen=True)
class MelSpeechConfig:
    """Sizes and levels of the log-mel front end; each row holds a few short spectra."""

    bands: int = 32
    slices: int = 4  # spectra per row; a row lasts slices * hop
    window: int = 400  # samples at 16 kHz
    transform: int = 512  # FFT size
    lowest: float = 60.0  # Hz
    highest: float = 7600.0  # Hz
    floor: float = 1e-10  # lowest power, with full scale at 1
    quietest: float = -60.0  # dB, lower limit of the reference level, which limits the gain
    partner_gap: float = 25.0  # dB, largest difference between the gains of the channels

    def __post_init__(self) -> None:
        hop = SPEECH_RATE / FRAME_RATE / self.slices
        if not hop <= self.window <= self.transform:
            raise ValueError(
                f"window of {self.window} samples must be at least the hop ({hop:.0f}) and at most "
                f"the transform ({self.transform})"
            )


class MelSpeech(nn.Module):
    """Log-mel rows, 30 per second, normalised by the level of the speech.

    Each channel is normalised by the loudness of its speech, so whispers and shouts, near and
    far microphones give similar rows. A channel that is much quieter than the other stays quiet.
    """

    context = 300  # the level of a window is that of 20 s, as in training
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
        """Return L: one row per frame."""
        return frames

    def forward(self, audio: Tensor, *, progress: Progress = no_progress) -> Tensor:
        """Extract rows [B, n, 2] -> [B, L, A]: those of channel 0, then those of channel 1.

        Raises: ValueError: when the shape differs or n is not a multiple of 1600.
        """
        if audio.ndim != 3 or audio.shape[2] != 2 or audio.shape[1] % SAMPLES_PER_FRAME:
            raise ValueError(
                f"audio must be [B, multiple of {SAMPLES_PER_FRAME}, 2], got {list(audio.shape)}"
            )
        rows = audio.shape[1] // SAMPLES_PER_FRAME
        features = self.resampled_rows(self.resample(audio), rows)
        progress(1.0)  # one call is enough: the work takes milliseconds
        return features

    def resample(self, audio: Tensor) -> Tensor:
        """Resample the channels to 16 kHz: [B, n, 2] -> [2 B, N]."""
        channels = audio.transpose(1, 2).flatten(0, 1)  # [B, n, 2] -> [2 B, n]
        return resample_with(channels, self.filters, SAMPLE_RATE, SPEECH_RATE)

    def resampled_rows(self, resampled: Tensor, rows: int) -> Tensor:
        """Extract rows [B, L, A] from channels at 16 kHz, [2 B, N]."""
        power = self._power(resampled, rows * self.config.slices)  # [2 B, spectra, bins]
        bands = 10 * (power @ self.mel).clamp(min=self.config.floor).log10()  # [2 B, spectra, M]
        bands = (bands - self.reference(power.mean(-1))) / 20 + 1
        grouped = torch.unflatten(bands, 1, (rows, -1)).flatten(2)  # [2 B, L, A / 2]
        return torch.unflatten(grouped, 0, (-1, 2)).transpose(1, 2).flatten(2)

    def band_powers(self, sounds: Tensor, spectra: int) -> Tensor:
        """Powers of the bands of sounds at 16 kHz: [B, N] -> [B, spectra, M]."""
        return self._power(sounds, spectra) @ self.mel

    def _power(self, audio: Tensor, spectra: int) -> Tensor:
        """Power spectra at centres of equal parts of the clip: [2 B, N] -> [2 B, spectra, bins].

        Scaled so that the mean over the bins equals the mean square of the audio.
        """
        hop = audio.shape[1] / spectra
        centres = ((torch.arange(spectra, device=audio.device) + 0.5) * hop).round().long()
        half = self.config.window // 2
        windows = functional.pad(audio, (half, half)).unfold(1, self.config.window, 1)[:, centres]
        spectrum = torch.fft.rfft(windows * self.window, self.config.transform)
        return (spectrum.real.square() + spectrum.imag.square()) / self.window.square().sum()

    def reference(self, loudness: Tensor) -> Tensor:
        """Reference level, the mean of the loudest tenth: [2 B, spectra] -> dB [2 B, 1, 1].

        loudness: mean power of each spectrum, of channel 0 and channel 1 in turn.
        """
        count = max(1, loudness.shape[1] // 10)
        loud = loudness.topk(count, dim=1).values.mean(1).clamp(min=self.config.floor)
        level = (10 * loud.log10()).clamp(min=self.config.quietest).view(-1, 2)
        joint = level.amax(1, keepdim=True)
        return torch.maximum(level, joint - self.config.partner_gap).view(-1, 1, 1)


def mel_filters(config: MelSpeechConfig) -> Tensor:
    """Triangular filters, even in mel, 2595 log10(1 + f / 700): [transform / 2 + 1, bands]."""
    edges = torch.tensor([config.lowest, config.highest], dtype=torch.float64)
    low, high = (2595 * torch.log10(1 + edges / 700)).tolist()
    mel = torch.linspace(low, high, config.bands + 2, dtype=torch.float64)
    corners = 700 * (10 ** (mel / 2595) - 1)
    bins = torch.linspace(0, SPEECH_RATE / 2, config.transform // 2 + 1, dtype=torch.float64)
    rising = (bins[:, None] - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - bins[:, None]) / (corners[2:] - corners[1:-1])
    return torch.minimum(rising, falling).clamp(min=0).float()


class Bands(Protocol):
    """Bands that are even in mel, of which rows consist."""

    @property
    def bands(self) -> int: ...

    @property
    def lowest(self) -> float: ...

    @property
    def highest(self) -> float: ...


def band_centres(mel: Bands) -> Tensor:
    """Centre of each band, Hz [M]."""
    low, high = _mel(torch.tensor([mel.lowest, mel.highest])).tolist()
    return 700 * (10 ** (torch.linspace(low, high, mel.bands + 2)[1:-1] / 2595) - 1)


def scale_frequencies(rows: Tensor, mel: Bands, factors: Tensor) -> Tensor:
    """Read rows at their frequencies times a factor: [B, T, s M], factors [B] -> [B, T, s M].

    A factor below 1 gives a voice with a shorter vocal tract.
    """
    bands = torch.unflatten(rows, -1, (-1, mel.bands))  # [B, T, s, M]
    centres = band_centres(mel)
    step = _mel(centres[1]) - _mel(centres[0])
    place = (_mel(centres * factors[:, None].cpu()) - _mel(centres[0])) / step  # [B, M]
    place = place.clamp(0, mel.bands - 1).to(rows.device)
    below = place.floor().long().clamp(max=mel.bands - 2)
    share = (place - below)[:, None, None]
    index = below[:, None, None].expand_as(bands)
    mixed = (1 - share) * bands.gather(-1, index) + share * bands.gather(-1, index + 1)
    return mixed.flatten(2)


def _mel(hertz: Tensor) -> Tensor:
    return 2595 * torch.log10(1 + hertz / 700)


def kind_of(front_end: ConvSpeech | MelSpeech) -> str:
    """Return the `kind` of a front end in its checkpoint."""
    return "mel" if isinstance(front_end, MelSpeech) else "convolutions"


def load_speech(path: Path, *, device: torch.device) -> ConvSpeech | MelSpeech:
    """Load the front end in speech.safetensors, of either kind.

    Raises: CheckpointError: when the file is missing, damaged or of an unknown kind.
    """
    config, weights = checkpoint.read(path, device=device)
    kind = config.pop("kind", None)
    network: ConvSpeech | MelSpeech
    if kind == "mel":
        network = MelSpeech(checkpoint.config_of(MelSpeechConfig, config, path))
    elif kind == "convolutions":
        network = ConvSpeech(checkpoint.config_of(ConvSpeechConfig, config, path))
    else:
        raise checkpoint.CheckpointError(
            f"{path}: unknown front end {kind!r}; known kinds are 'convolutions' and 'mel'"
        )
    return checkpoint.restore(network, weights, path).to(device)
