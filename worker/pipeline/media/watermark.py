"""Watermark of a take: in its frames and in its audio, before they are encoded."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from models.watermark.code import watermark_id
from models.watermark.picture import FrameMarker
from models.watermark.sound import SoundMarker
from worker.pipeline.media.decode import CHANNELS

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from contracts.provenance import Origin
    from jobs.request.model import GenerateRequest
    from jobs.settings import Settings
    from worker.pipeline.media.decode import Audio
    from worker.pipeline.take import Frames


def watermark_of(settings: Settings, request: GenerateRequest, origin: Origin) -> Watermark | None:
    """Return the mark of a request's files; None where operator and request agree on none."""
    if settings.watermark == "optional" and not request.watermark:
        return None
    key = settings.marking_key()
    return None if key is None else Watermark.of(key, origin)


@dataclass(frozen=True)
class Watermark:
    """The mark of one request under the operator's key."""

    id: int  # 64 bits
    key: bytes = field(repr=False)

    @classmethod
    def of(cls, key: bytes, origin: Origin) -> Watermark:
        """Return the mark of the request's digest."""
        return cls(watermark_id(key, origin.request), key)

    @property
    def name(self) -> str:
        """The id as 16 hex digits."""
        return f"{self.id:016x}"

    def frames(self, batches: Generator[Frames, None, None]) -> Generator[Frames, None, None]:
        """Yield batches of frames with the mark; closing it closes `batches`."""
        marker = FrameMarker(self.key, self.id)
        with closing(batches):
            for batch in batches:
                yield marker.mark(batch)

    def audio(self, audio: Audio) -> Audio:
        """Return the audio with the mark, in a file beside it ."""
        path, draft = (audio.path.with_name(name) for name in ("marked.f32", "marked.part"))
        with draft.open("wb") as file:
            for part in SoundMarker(self.key, self.id).seconds(audio.chunks()):
                part.tofile(file)
        draft.replace(path)  # an earlier take of the recording may still read the former one
        samples: NDArray[np.float32] = np.memmap(path, np.float32, mode="c").reshape(-1, CHANNELS)
        return replace(audio, path=path, samples=samples)
