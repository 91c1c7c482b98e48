"""Input of the writers of outputs: one take of a job."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.animation.figure import AnimationError
from models.animation.rows import MotionRows
from models.avatar.appearance import OWN, RenderOptions
from models.motion.speech import FRAME_RATE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from contracts.provenance import Origin
    from models.animation.figure import Figure
    from models.animation.rows import Floats
    from models.avatar.avatar import Avatar
    from worker.pipeline.media.container import Encoder
    from worker.pipeline.media.decode import Audio
    from worker.pipeline.motion_stream import TakeMotion

    # A batch, [N, H, W, 3] RGB, or [N, H, W, 4] RGBA with straight alpha.
    Frames = NDArray[np.uint8]


def no_frames() -> Generator[Frames, None, None]:
    """Yield nothing."""
    yield from ()


@dataclass(frozen=True)
class Take:
    """Motion and audio of one take; frames are rendered when an output reads them.

    Its frames may show several persons, of whom `motion`, `person` and `avatar` are the first.
    """

    motion: TakeMotion
    audio: Audio
    render: Callable[[], Generator[Frames, None, None]]  # all frames in order, in batches
    encoder: Encoder  # of MP4 files on this machine
    progress: Callable[[float], None]  # called with 0..1
    person: str = ""
    seed: int = 0
    avatar: Avatar | None = None
    options: RenderOptions = OWN
    preview: Callable[[], Generator[Frames, None, None]] = no_frames  # small, at a lower rate
    seeds: tuple[int, ...] = ()  # of all persons in its pictures, from left to right
    watermark: str | None = None  # id in frames and audio, 16 hex digits
    origin: Origin | None = None  # of manifest and watermark; None in tests of writers

    def figure(self) -> Figure:
        """Describe the person for animation files.

        Raises: AnimationError: when the kind of avatar has no skeleton to describe.
        """
        describe = getattr(self.avatar, "figure", None)
        if describe is None:
            raise AnimationError(
                f"outputs: the avatar of {self.person or 'this person'} has no skeleton to export; "
                "ask for video or motion"
            )
        figure: Figure = describe(self.person or "person")
        return figure

    def rows(self) -> MotionRows:
        """Motion of the take in pieces, each once it is sampled."""

        def read(start: int, stop: int) -> tuple[Floats, Floats]:
            motion = self.motion.between(start, stop)
            return motion.face.numpy(), motion.pose.numpy()

        return MotionRows(self.motion.frames, FRAME_RATE, read, self.progress)

    @contextmanager
    def frames(self) -> Iterator[Generator[Frames, None, None]]:
        """Yield batches of frames; the renderer's threads end with the block."""
        with closing(self.render()) as batches:
            yield batches

    def frames_written(self, count: int) -> None:
        """Report the number of frames that the file contains so far."""
        self.progress(min(1.0, count / self.motion.frames))
