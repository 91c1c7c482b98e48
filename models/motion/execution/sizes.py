"""Sizes of batches of clips: from a measured table, and by free memory."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from models.motion.denoiser import DenoiserConfig
    from models.motion.sampling import Networks

MOST_PADDING = 0.25  # longest segment of a batch over its shortest, less 1
FLOAT = 4  # bytes
# Most frames of a batch on a CPU, by the width of the face denoiser: the fastest row of
# `python -m bench motion --jobs 8`, of a person and of the released sizes (ADR 33).
FRAMES_ON_CPU = {128: 600, 512: 960}
SHARE_OF_FREE = 0.5  # of memory that is free, for a batch


@dataclass(frozen=True)
class BatchSizes:
    """Limits of the batches of one person on one device."""

    frames: int  # most frames of a batch, padding included; a segment alone may have more
    clips: int  # most segments

    def batches(self, segments: Mapping[int, int]) -> list[list[int]]:
        """Group segments, given by their frames, into batches of similar lengths and sizes."""
        ordered = sorted(segments, key=lambda name: (-segments[name], name))  # longest first
        runs: list[list[int]] = []
        for name in ordered:
            if runs and segments[runs[-1][0]] <= (1 + MOST_PADDING) * segments[name]:
                runs[-1].append(name)
            else:
                runs.append([name])
        return [batch for run in runs for batch in self._split(run, segments[run[0]])]

    def _split(self, run: list[int], longest: int) -> list[list[int]]:
        """Split segments of similar lengths into as few batches as possible, equally large."""
        most = max(1, min(self.clips, self.frames // longest))
        count = -(-len(run) // most)
        ends = [len(run) * number // count for number in range(count + 1)]
        return [run[start:stop] for start, stop in pairwise(ends)]


def frame_bytes(networks: Networks) -> int:
    """Return an upper estimate of the memory of a frame of a segment in a batch, guidance included.

    Face and body are sampled beside each other.
    """
    rows = networks.speech.rows(1000) / 1000
    return sum(_frame_bytes(network.config, rows) for network in (networks.face, networks.body))


def _frame_bytes(config: DenoiserConfig, rows: float) -> int:
    """Keys and values of the speech rows, alone and joined, and the activations of a layer."""
    memory = 2 * config.layers * 2 * rows * config.width
    features = rows * (config.audio_channels + 2 * config.width)
    activations = 12 * config.width + 2 * config.hidden + 12 * config.channels
    return int(FLOAT * 2 * (memory + features + activations))


def sizes_within(
    networks: Networks, device: torch.device, most: int, free_bytes: float
) -> BatchSizes:
    """Return the sizes for some networks on a device with so much free memory.

    most: segments of a batch. On a CPU, batches that were slower than clips one after another are
    not made. Sizes on a GPU are limited by memory only, until they are measured.
    """
    frames = int(SHARE_OF_FREE * free_bytes / frame_bytes(networks))
    if device.type == "cpu":
        widths = [width for width in FRAMES_ON_CPU if width <= networks.face.config.width]
        frames = min(frames, FRAMES_ON_CPU[max(widths, default=min(FRAMES_ON_CPU))])
    return BatchSizes(frames=frames, clips=most)
