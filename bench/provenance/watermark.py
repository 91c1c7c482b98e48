"""Cost of the watermark beside that of rendering: `python -m bench watermark`.

CPU milliseconds of a frame of the demo person, rendered and marked in the same run on one thread,
and of the audio of a frame. Motion and encoding, which a job also needs, are left out, so that the
share of a job is smaller.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from bench.avatar import PERSON, sample_motion
from models.watermark.picture import FrameMarker
from models.watermark.sound import MARKED_RATE, SoundMarker
from training.commands.options import output_file, positive_int

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable

KEY, ID = b"key of the benchmark", 1
FRAME_RATE = 30


@dataclass(frozen=True)
class Report:
    """CPU milliseconds of a frame."""

    size: str
    frames: int
    render: float
    picture: float
    sound: float
    load: float

    @property
    def share(self) -> float:
        """Share of the marks, of rendering and marking."""
        marks = self.picture + self.sound
        return marks / (self.render + marks)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--sizes", nargs="+", type=positive_int, default=[512], metavar="N")
    parser.add_argument("--frames", type=positive_int, default=120, help="measured frames")
    parser.add_argument("--json", type=output_file, metavar="PATH", help="JSON report")


def run(arguments: argparse.Namespace) -> None:
    """Print a line for each size."""
    torch.set_num_threads(1)
    reports = [measure(size, arguments.frames) for size in arguments.sizes]
    for report in reports:
        print(
            f"{report.size}: render {report.render:.2f}, picture {report.picture:.3f}, sound "
            f"{report.sound:.3f} CPU ms a frame; marks {100 * report.share:.2f} %; load "
            f"{report.load:.1f}"
        )
    if arguments.json:
        text = json.dumps([asdict(each) | {"share": each.share} for each in reports], indent=1)
        arguments.json.write_text(text + "\n", encoding="utf-8")


def measure(size: int, frames: int) -> Report:
    """Render frames of one size, mark each batch, and mark as much noise as sound."""
    from models.avatar.blendshape.kind import load_blendshape_avatar

    avatar = load_blendshape_avatar(PERSON, device=torch.device("cpu"), samples=2, threads=1)
    camera = avatar.camera().resized(size, size)
    motion = sample_motion(avatar, frames)
    marker, sound = FrameMarker(KEY, ID), SoundMarker(KEY, ID)
    marker.mark(np.zeros((1, size, size, 3), np.uint8))  # the pattern of a size is made once
    for _ in avatar.render(motion.face[:2], motion.pose[:2], [camera]):
        pass
    began, picture = time.process_time(), 0.0
    for batch in avatar.render(motion.face, motion.pose, [camera], batch=8):
        picture += _spent(partial(marker.mark, batch))
    render = time.process_time() - began - picture
    random = np.random.default_rng(0)
    count = frames * MARKED_RATE // FRAME_RATE
    noise = random.uniform(-0.1, 0.1, (count, 2)).astype(np.float32)
    audible = _spent(lambda: _exhaust(sound.seconds(noise)))
    scale = 1e3 / frames
    return Report(
        f"{size}x{size}",
        frames,
        render * scale,
        picture * scale,
        audible * scale,
        os.getloadavg()[0],
    )


def _spent(work: Callable[[], object]) -> float:
    """Return the CPU seconds of this thread."""
    began = time.thread_time()
    work()
    return time.thread_time() - began


def _exhaust(parts: Iterable[object]) -> None:
    for _ in parts:
        pass
