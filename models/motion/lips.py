"""Lip geometry from audio, a second input of the face denoiser of released people, and lip units.

A person with named face units may have a regressor of them instead, for finishing: weights of the
units of the mouth, and whether the lips are closed, from the log-mel rows that the denoisers read.
A is the width of the rows of both channels, U the number of units.

Letters: B clips, T frames, n samples at 48 kHz, S speech rows (100 per second), V = 338 vertices.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import interpolate

from models import checkpoint
from models.motion.layers import DROPOUT, Attention, stack
from models.motion.resample import resample_with, sinc_filters
from models.motion.speech import (
    SAMPLE_RATE,
    SAMPLES_PER_FRAME,
    SPEECH_RATE,
    ConvStack,
    between,
    no_progress,
    scale_frequencies,
)

if TYPE_CHECKING:
    from pathlib import Path

    from models.motion.speech import Progress

CHUNK_FRAMES = 120  # lips are regressed in independent chunks of 4 s
UNIT_KERNEL = 3  # of the regressor of face units
CLOSED = 1  # columns after those of the units: probability of closed lips
OPENING = ("jawOpen", "mouthLowerDown", "mouthUpperUp")  # starts of units that louder frames open
MOST_LOUDER = 0.5  # largest change of an opening
COMPRESSION = 1 / 3  # exponent of the level; perceived loudness grows about like this
NEAR_FRAMES, LOUD = 6, 0.85  # each way, and of their highest level: lips begin to be kept open
EXCERPT = 120  # frames of a clip, its loudest, in which phones are told apart
CONTRAST = 4.0  # of loud to quiet rows in the two means of a clip
CROSSTALK = 0.1  # of the partner's level: a quieter sound in the person's channel is the partner
PARTNER_FRAMES, OWN_FRAMES, EASE_FRAMES = 6, 8, 2  # each way: levels, voice, and its ends
LEAD = 320  # leading zeros at 16 kHz, for exactly 100 rows per second


@dataclass(frozen=True)
class LipConfig:
    """Sizes of wav2vec-large (arXiv 1904.05862) and the small transformer on top."""

    layers: tuple[tuple[int, int, int], ...] = (
        (512, 10, 5), (512, 8, 4), (512, 4, 2), (512, 4, 2), (512, 4, 2), (512, 1, 1), (512, 1, 1),
    )  # fmt: skip
    context_kernels: tuple[int, ...] = tuple(range(2, 14))
    vertices: int = 338
    heads: int = 4
    hidden: int = 1024
    encoder_layers: int = 2
    decoder_layers: int = 4
    positions: int = 1024

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(tuple(layer) for layer in self.layers))
        object.__setattr__(self, "context_kernels", tuple(self.context_kernels))

    @property
    def width(self) -> int:
        """Width of a speech row."""
        return self.layers[-1][0]


class SpeechContext(nn.Module):
    """Causal convolutions with residual connections: the aggregator of wav2vec."""

    def __init__(self, width: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.convolutions = stack(nn.Conv1d(width, width, kernel) for kernel in kernels)
        self.norms = stack(nn.GroupNorm(1, width) for _ in kernels)

    def forward(self, x: Tensor, *, progress: Progress = no_progress) -> Tensor:
        """Aggregate rows [B, d, S] -> [B, d, S]."""
        for done, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            progress(done / len(self.norms))
            padded = functional.pad(x, (convolution.kernel_size[0] - 1, 0), mode="replicate")
            x = (functional.relu(norm(convolution(padded))) + x) * math.sqrt(0.5)
        return x


class PlainLayer(nn.Module):
    """Pre-norm transformer layer with ReLU and optional cross-attention to a condition."""

    def __init__(self, width: int, heads: int, hidden: int, *, crossed: bool) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(width)
        self.self_attention = Attention(width, heads)
        self.memory_norm = nn.LayerNorm(width) if crossed else None
        self.memory_attention = Attention(width, heads) if crossed else None
        self.ff_norm = nn.LayerNorm(width)
        self.ff_in = nn.Linear(width, hidden)
        self.ff_out = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Transform x [B, T, d], condition [B, S, d] -> [B, T, d]."""
        plain = self.self_norm(x)
        x = x + self.dropout(_attend(self.self_attention, plain, plain))
        if self.memory_norm is not None and self.memory_attention is not None:
            assert condition is not None
            attended = _attend(self.memory_attention, self.memory_norm(x), condition)
            x = x + self.dropout(attended)
        hidden = self.dropout(functional.relu(self.ff_in(self.ff_norm(x))))
        return x + self.dropout(self.ff_out(hidden))


def _attend(attention: Attention, x: Tensor, memory: Tensor) -> Tensor:
    return attention.attend(attention.queries(x), attention.keys_values(memory, memory))


class LipRegressor(nn.Module):
    """Regressor from the audio of channel 0 to lip vertices per frame."""

    filters: Tensor
    positions: Tensor

    def __init__(self, config: LipConfig) -> None:
        super().__init__()
        self.config = config
        width, heads, hidden = config.width, config.heads, config.hidden
        self.register_buffer("filters", sinc_filters(SAMPLE_RATE, SPEECH_RATE), persistent=False)
        table = sinusoids(config.positions, width)
        self.register_buffer("positions", table, persistent=False)
        self.stack = ConvStack(config.layers, activation="relu", log_compression=True)
        self.context = SpeechContext(width, config.context_kernels)
        self.encoder = stack(
            PlainLayer(width, heads, hidden, crossed=False) for _ in range(config.encoder_layers)
        )
        self.decoder = stack(
            PlainLayer(width, heads, hidden, crossed=True) for _ in range(config.decoder_layers)
        )
        self.out = nn.Linear(width, 3 * config.vertices)

    def speech(self, audio: Tensor, *, progress: Progress = no_progress) -> Tensor:
        """Encode normalised audio [B, n] -> speech rows [B, S, d]."""
        resampled = resample_with(audio, self.filters, SAMPLE_RATE, SPEECH_RATE)
        padded = functional.pad(resampled, (LEAD, 0))
        features = self.stack(padded, progress=between(progress, 0.0, 0.7))
        return self.context(features, progress=between(progress, 0.7, 1.0)).transpose(1, 2)

    def forward(self, audio: Tensor, *, progress: Progress = no_progress) -> Tensor:
        """Regress normalised audio [B, 1600 T] -> vertices [B, T, V, 3]."""
        condition = self.speech(audio, progress=between(progress, 0.0, 0.8))
        condition = condition + self.positions[: condition.shape[1]]
        for layer in self.encoder:
            progress(0.8)
            condition = layer(condition)
        frames = audio.shape[1] // SAMPLES_PER_FRAME
        x = self.positions[:frames].expand(len(audio), -1, -1)
        for layer in self.decoder:
            progress(0.9)
            x = layer(x, condition)
        progress(1.0)
        return self.out(x).unflatten(-1, (-1, 3))  # [B, T, d] -> [B, T, V, 3]


def sinusoids(rows: int, width: int) -> Tensor:
    """Sinusoidal position table with alternating sines and cosines, [rows, width]."""
    scale = -math.log(10000.0) / width
    angles = torch.arange(rows)[:, None] * torch.exp(torch.arange(0, width, 2) * scale)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def lip_geometry(
    regressor: LipRegressor, audio: Tensor, *, progress: Progress = no_progress
) -> Tensor:
    """Regress normalised audio [B, 1600 T, 2] in chunks of 120 frames -> [B, T, V * 3].

    Chunks of equal length form one batch; a shorter last chunk is a second batch.
    """
    person = audio[..., 0]
    chunk = CHUNK_FRAMES * SAMPLES_PER_FRAME
    whole = person.shape[1] // chunk * chunk
    share = whole / person.shape[1]
    parts = []
    if whole:
        chunks = person[:, :whole].reshape(-1, chunk)  # [B * chunks, 120 * 1600]
        vertices = regressor(chunks, progress=between(progress, 0.0, share)).flatten(2)
        parts.append(torch.unflatten(vertices, 0, (len(person), -1)).flatten(1, 2))
    if whole < person.shape[1]:
        rest = regressor(person[:, whole:], progress=between(progress, share, 1.0))
        parts.append(rest.flatten(2))
    return torch.cat(parts, dim=1)


def source_frames(frames: int, rows: int) -> Tensor:
    """Frame index of each of `rows` rows: floor((i + 0.5) T / L) as torch rounds it, [L].

    The reference resamples with torch's "nearest-exact", which computes the ratio in float32. Where
    the exact value is an integer, it may take the frame before: row 415 of 831 over 250 frames
    takes frame 124, not 125. The indices are computed on a CPU, so they are equal on all devices.
    """
    indices = torch.arange(frames, dtype=torch.float32)  # exact up to 2^24 frames
    return interpolate(indices[None, None], rows, mode="nearest-exact")[0, 0].long()


def lip_rows(geometry: Tensor, rows: int) -> Tensor:
    """Resample lip geometry [B, T, V * 3] to the rows of speech features: [B, L, V * 3]."""
    return geometry[:, source_frames(geometry.shape[1], rows).to(geometry.device)]


def load_lips(path: Path, *, device: torch.device) -> LipRegressor:
    """Load lips.safetensors.

    Raises: CheckpointError: when the file is missing, damaged or holds another network.
    """
    config, weights = checkpoint.read(path, device=device)
    network = LipRegressor(checkpoint.config_of(LipConfig, config, path))
    return checkpoint.restore(network, weights, path).to(device)


# --- the regressor of face units ---------------------------------------------------------------


@dataclass(frozen=True)
class LipUnitsConfig:
    """Sizes of the network."""

    audio_channels: int  # A; the network reads the half of the person's channel
    units: tuple[str, ...]
    width: int = 192
    first_kernel: int = 5
    dilations: tuple[int, ...] = (1, 2, 4, 8, 2, 1)  # of the blocks: 0.7 s each way
    floor: float = -1.5  # quieter rows say nothing: 50 dB below the level of the speech
    summary: bool = False  # hear the mean of loud and of quiet rows: the voice, and the noise
    dropout: float = 0.0  # in training
    members: int = 1  # networks of these sizes, whose results are averaged
    loudness: float = 0.0  # how much wider lips open in louder frames, see `louder_wider`; 0 off
    scales: tuple[float, ...] = ()  # factors of frequencies, of which a clip gets the best
    phones: int = 0  # that each member tells apart, in training and the first to choose the scale
    bands: int = 0  # of the front end, as `models.motion.speech.Bands`; only scales need them
    lowest: float = 0.0
    highest: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", tuple(self.units))
        object.__setattr__(self, "dilations", tuple(self.dilations))
        object.__setattr__(self, "scales", tuple(self.scales))
        if self.audio_channels < 2 or self.audio_channels % 2:
            raise ValueError(f"audio_channels must be even, of two channels ({self})")
        if not self.units or not self.first_kernel % 2:
            raise ValueError(f"units must not be empty, first_kernel must be odd ({self})")
        if self.members < 1 or not 0 <= self.dropout < 1 or not 0 <= self.loudness <= 1:
            raise ValueError(
                f"members must be at least 1, dropout in [0, 1), loudness in [0, 1] ({self})"
            )
        if min(self.scales, default=1.0) <= 0 or self.phones < 0:
            raise ValueError(f"scales and phones must be positive ({self})")
        known = 0 < self.bands <= self.audio_channels // 2 and 0 < self.lowest < self.highest
        if self.phones and not known:
            raise ValueError(f"phones must come with bands of the front end ({self})")


class ResidualBlock(nn.Module):
    """Residual block of a dilated convolution over time."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.dilation = dilation
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv1d(width, width, UNIT_KERNEL, dilation=dilation)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform x [B, T, d] -> [B, T, d]."""
        y = _over_time(self.convolution, self.norm(x), self.dilation)
        return x + self.out(self.dropout(functional.gelu(y)))


class LipUnits(nn.Module):
    """Temporal convolutions from speech rows, one for each frame, to lip units.

    The last layer gives units relative to their mean and spread, because small units would be lost
    in the steps of the optimiser.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, config: LipUnitsConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        bands = config.audio_channels // 2
        self.rows_in = nn.Conv1d(bands, width, config.first_kernel)
        self.summary_in = nn.Linear(2 * bands, width) if config.summary else None
        self.blocks = stack(
            ResidualBlock(width, dilation, config.dropout) for dilation in config.dilations
        )
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, len(config.units) + CLOSED)
        self.phones = nn.Linear(width, config.phones) if config.phones else None
        self.register_buffer("mean", torch.zeros(len(config.units)))
        self.register_buffer("spread", torch.ones(len(config.units)))
        alone = replace(config, members=1)
        self.others = stack(LipUnits(alone) for _ in range(config.members - 1))

    @property
    def members(self) -> tuple[LipUnits, ...]:
        """The networks whose results are averaged."""
        return (self, *self.others)

    def forward(self, rows: Tensor, clip: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Regress the person's rows [B, T, A / 2] -> units [B, T, U], logits closed [B, T].

        clip: rows of all of the clip, if these are a part of it.
        """
        clip = rows if clip is None else clip
        results = [member.units(member.hidden(rows, clip)) for member in self.members]
        if len(results) == 1:
            return results[0]
        units, closed = (torch.stack(each).mean(0) for each in zip(*results, strict=True))
        return units, closed

    def hidden(self, rows: Tensor, clip: Tensor) -> Tensor:
        """Features of the first member: [B, T, A / 2], rows of the clip -> [B, T, d]."""
        x = _over_time(self.rows_in, rows.clamp(min=self.config.floor), 1)  # [B, T, d]
        if self.summary_in is not None:
            x = x + self.summary_in(summary(clip.clamp(min=self.config.floor)))[:, None]
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def units(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Last layer of the first member: [B, T, d] -> units [B, T, U], logits closed [B, T]."""
        units, closed = self.out(hidden).split([len(self.config.units), CLOSED], dim=-1)
        return self.mean + self.spread * units, closed[..., 0]

    def usual_voice(self, rows: Tensor) -> Tensor:
        """Scale the frequencies of each clip to those of a usual voice, [B, T, A / 2] of both.

        Vocal tract length normalisation: of some scales, the one in which the first member is
        surest of the phones of the loudest seconds. A voice whose s is as low as the sh of others
        would else get round lips on it.
        """
        config = self.config
        if self.phones is None or not config.scales:
            return rows
        count, scales = len(rows), rows.new_tensor(config.scales)
        factors = scales.repeat_interleave(count)  # [F B]
        clips = scale_frequencies(rows.repeat(len(scales), 1, 1), config, factors)
        loudest = _loudest(rows).repeat(len(scales), 1, 1)  # [F B, t, 1]
        heard = clips.gather(1, loudest.expand(-1, -1, clips.shape[-1]))
        odds = self.phones(self.hidden(heard, clips)).log_softmax(-1)  # [F B, t, P]
        doubts = -(odds.exp() * odds).sum(-1).mean(1).view(-1, count)  # entropies, [F, B]
        return scale_frequencies(rows, config, scales[doubts.argmin(0)])

    def lips(self, rows: Tensor) -> Tensor:
        """Units in [0, 1] and the probability of closed lips: [B, T, A] -> [B, T, U + 1].

        Raises: ValueError: when the rows of both channels have another width.
        """
        if rows.shape[-1] != self.config.audio_channels:
            raise ValueError(
                f"rows must be [B, T, {self.config.audio_channels}], got {list(rows.shape)}"
            )
        rows = rows[..., : rows.shape[-1] // 2]
        units, closed = self(self.usual_voice(rows))
        units, probability = units.clamp(0, 1), closed.sigmoid()
        if self.config.loudness:
            units = louder_wider(units, rows, self.config)
            probability = closed_in_quieter(probability, rows)
        return torch.cat([units, probability[..., None]], dim=-1)


def louder_wider(units: Tensor, rows: Tensor, config: LipUnitsConfig) -> Tensor:
    """Open lips wider in louder frames, as people do: units [B, T, U], rows [B, T, W].

    The regressor gives the mean of what is possible. With a loudness of 1 the opening would be in
    proportion to the cube root of the level. The mean opening of a clip stays the same.
    """
    opens = torch.tensor([name.startswith(OPENING) for name in config.units], device=units.device)
    # A row is in units of 20 dB.
    level = (10**rows).mean(-1, keepdim=True) ** COMPRESSION  # [B, T, 1]
    opening = (units * opens).sum(-1, keepdim=True)
    usual = (level * opening).sum(1, keepdim=True) / opening.sum(1, keepdim=True).clamp(min=1e-3)
    factor = 1 + config.loudness * (level / usual.clamp(min=1e-6) - 1)
    factor = factor.clamp(1 - MOST_LOUDER, 1 + MOST_LOUDER)
    return torch.where(opens, units * factor, units).clamp(0, 1)


def closed_in_quieter(probability: Tensor, rows: Tensor) -> Tensor:
    """Keep lips open in frames as loud as any near, and as the mean of the clip.

    probability: of closed lips [B, T]. rows: [B, T, W].
    """
    level = (10**rows).mean(-1)  # [B, T]
    highest = _highest(level, NEAR_FRAMES).maximum(level.mean(1, keepdim=True))
    quieter = 1 - level / highest.clamp(min=1e-6)
    return probability * (quieter / (1 - LOUD)).clamp(0, 1)


def _loudest(rows: Tensor) -> Tensor:
    """Numbers of the rows of the loudest excerpt of each clip: [B, T, W] -> [B, t, 1]."""
    frames = min(EXCERPT, rows.shape[1])
    level = (10**rows).mean(-1)  # [B, T]; a row is in units of 20 dB
    first = functional.avg_pool1d(level, frames, 1).argmax(1, keepdim=True)  # [B, 1]
    return (first + torch.arange(frames, device=rows.device))[..., None]


def summary(rows: Tensor) -> Tensor:
    """Mean of loud rows, which are the voice, and of quiet ones, the noise: [B, T, W] -> [B, 2 W].

    They do not depend on the order of rows, and little on the length of the clip.
    """
    level = CONTRAST * rows.mean(-1, keepdim=True)  # [B, T, 1]
    loud, quiet = (level.softmax(1) * rows).sum(1), ((-level).softmax(1) * rows).sum(1)
    return torch.cat([loud, quiet], dim=-1)


def _over_time(convolution: nn.Conv1d, x: Tensor, dilation: int) -> Tensor:
    """Convolve over time with end rows continued: [B, T, d] -> [B, T, d]."""
    reach = dilation * (convolution.kernel_size[0] // 2)
    padded = functional.pad(x.transpose(1, 2), (reach, reach), mode="replicate")
    return convolution(padded).transpose(1, 2)


def rested(lips: Tensor, audio: Tensor) -> Tensor:
    """Return lips of the regressor [T, U + 1], at rest where only the partner is heard.

    audio: [1600 T, 2]. The regressor hears levels relative to those of the person's channel. Where
    she is silent for the whole of its context, the partner's voice in her microphone is all there
    is, and would move her lips. Only its level beside that of the other channel tells it.
    """
    levels = audio.view(-1, SAMPLES_PER_FRAME, 2).square().mean(1).sqrt()  # [T, 2]
    own, partner = levels[None, :, 0], levels[None, :, 1]
    heard = (own > CROSSTALK * _highest(partner, PARTNER_FRAMES)).to(lips.dtype)
    heard = _highest(heard, OWN_FRAMES)
    size = 2 * EASE_FRAMES + 1
    share = functional.avg_pool1d(heard, size, 1, EASE_FRAMES, count_include_pad=False)[0]
    return torch.cat([lips[:, :-1] * share[:, None], lips[:, -1:]], dim=1)


def _highest(values: Tensor, reach: int) -> Tensor:
    """Highest value within some frames: [1, T] -> [1, T]."""
    return functional.max_pool1d(values, 2 * reach + 1, 1, reach)


def load_lip_units(path: Path, *, device: torch.device) -> LipUnits:
    """Load lip-units.safetensors.

    Raises: CheckpointError: when the file is missing, damaged or holds another network.
    """
    config, weights = checkpoint.read(path, device=device)
    network = LipUnits(checkpoint.config_of(LipUnitsConfig, config, path))
    return checkpoint.restore(network, weights, path).to(device)


def write_lip_units(path: Path, network: LipUnits) -> None:
    """Write lip-units.safetensors."""
    checkpoint.write(path, asdict(network.config), network.state_dict())
