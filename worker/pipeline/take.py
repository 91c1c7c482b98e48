"""Input of the writers of outputs: one take of a job."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from models.motion.pipeline import Motion
    from worker.pipeline.container import Encoder
    from worker.pipeline.decode import Audio

    # A batch, [N, H, W, 3] RGB, or [N, H, W, 4] RGBA with straight alpha.
    Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Take:
    """Motion and audio of one take; frames are rendered when an output reads them."""

    motion: Motion
    audio: Audio
    render: Callable[[], Generator[Frames, None, None]]  # all frames in order, in batches
    encoder: Encoder  # of MP4 files on this machine
    progress: Callable[[float], None]  # called with 0..1
    person: str = ""
    seed: int = 0

    @contextmanager
    def frames(self) -> Iterator[Generator[Frames, None, None]]:
        """Yield batches of frames; the renderer's threads end with the block."""
        with closing(self.render()) as batches:
            yield batches

    def frames_written(self, count: int) -> None:
        """Report the number of frames that the file contains so far."""
        self.progress(count / len(self.motion.face))
