"""Motion of clips of any length, in windows that overlap and agree.

A window continues the one before: its first frames start from the same noise, and its predictions
for them are drawn to the motion that exists, exactly at first and then less and less. The last
second of a window, in which the body has no next key pose to move to, is not used. The guide
continues its tokens. The first window is shorter, so that its motion exists soon. Features are
computed from the audio of the window and of some time before it, or after it
where the clip begins. Memory does not depend on the length of a clip.

Letters: N takes, T frames of a window, K key poses, R tokens of a key pose.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.motion.denoiser import KEY_FRAMES
from models.motion.lips import CHUNK_FRAMES
from models.motion.sampling import (
    BodyStart,
    ClipFeatures,
    MotionError,
    Past,
    Segment,
    Start,
    no_progress,
    noise_of,
    take_generators,
)
from models.motion.speech import FRAME_RATE, SAMPLES_PER_FRAME
from models.motion.tokenizer import REACH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from models.motion.sampling import (
        Motion,
        MotionSampler,
        Progress,
        Sampling,
        SegmentMotion,
    )


LIP_FADE = 15  # frames


@dataclass(frozen=True)
class WindowConfig:
    """Lengths in frames, multiples of a second so that key poses coincide."""

    frames: int = 300
    first: int = 150  # of the first window
    overlap: int = 60
    kept: int = 15  # frames of the overlap whose motion does not change
    fading: int = 15  # frames after those; the rest of the overlap is not used

    def __post_init__(self) -> None:
        for name in ("frames", "first", "overlap"):
            if getattr(self, name) % KEY_FRAMES:
                raise ValueError(f"{name} must be a multiple of {KEY_FRAMES} ({self})")
        if not (
            min(self.kept, self.fading) >= 0
            and self.kept + self.fading <= self.overlap < self.first <= self.frames
        ):
            raise ValueError(
                "kept and fading must be at least 0 and at most overlap together, overlap less "
                f"than first, first at most frames ({self})"
            )

    @property
    def longest(self) -> int:
        """Most frames of a window: the last one ends with the clip."""
        return self.frames + KEY_FRAMES - 1

    @property
    def changing(self) -> int:
        """Frames at the end of a window whose motion the next window changes."""
        return self.overlap - self.kept

    def weights(self, count: int, device: torch.device) -> Tensor:
        """Return the weights of `count` frames that exist: 1, a fall, and 0 for unused ones."""
        weights = torch.zeros(count, device=device)
        kept = count - self.changing
        weights[:kept] = 1
        weights[kept : kept + self.fading] = 1 - shares(self.fading, device)
        return weights


def shares(count: int, device: torch.device) -> Tensor:
    """Return the share of what begins, in the frames between what ends and what begins, [count].

    A linear one would change speed at both of its ends, which shows where motion is smooth.
    """
    return ease(torch.linspace(0, 1, count + 2, device=device)[1:-1])


def ease(x: Tensor) -> Tensor:
    """Minimum-jerk transition from 0 to 1."""
    return x**3 * (10 - 15 * x + 6 * x**2)


WINDOWS = WindowConfig()


@dataclass(frozen=True)
class Track:
    """The newest frames of one network's motion, normalised, with their noise."""

    motion: Tensor  # [N, P, C]
    noise: Tensor  # [N, P, C]

    def last(self, frames: int) -> Track:
        """Return the last frames."""
        start = self.motion.shape[1] - frames
        return Track(self.motion[:, start:], self.noise[:, start:])


@dataclass(frozen=True)
class Window:
    """A part of the clip: frames [start, stop)."""

    start: int
    stop: int
    last: bool = False  # it ends with the clip


class MotionStream:
    """Motion of one clip, window by window: `segment`, sample it, `finish`."""

    def __init__(
        self, animator: MotionSampler, sampling: Sampling, config: WindowConfig = WINDOWS
    ) -> None:
        """Start at the beginning of a clip. Raises: ValueError: when a network is too small."""
        if config.longest > animator.max_frames:
            raise MotionError(
                f"the clip is longer than {animator.max_frames / FRAME_RATE:g} s, and windows of "
                f"{config.longest / FRAME_RATE:g} s do not fit this person's networks; cut it"
            )
        animator.students(sampling)
        self._animator, self._sampling, self._config = animator, sampling, config
        self._generators = take_generators(sampling)
        self._face: Track | None = None
        self._body: Track | None = None
        self._tokens: Tensor | None = None  # [N, K, R] of the newest key poses
        self._end = 0  # frames sampled so far
        self._given = 0  # frames returned so far
        self._lips: Tensor | None = None  # [T, U + 1] of the last window after those returned

    @torch.inference_mode()
    def segment(
        self,
        audio: Tensor,
        window: Window,
        *,
        later: int = 0,
        progress: Progress = no_progress,
    ) -> Segment:
        """Return the window as a segment.

        audio: [n, 2], ends `later` frames after the window, and may begin before it.
        """
        features = self._features(audio, window, later, progress)
        channels = self._animator.networks.face.config.channels
        face = self._continued(self._face, channels, window)
        start_body = partial(self._start_body, features, window)
        return Segment(features, face, start_body, self._generators)

    def finish(self, segment: Segment, motion: SegmentMotion, window: Window) -> list[Motion]:
        """Return the next frames of each take, which no later window changes."""
        body = segment.body(no_progress).start
        self._face = Track(motion.face, segment.face.noise)
        self._body = Track(motion.pose, body.noise)
        self._end = window.stop
        stop = window.stop if window.last else window.stop - self._config.changing
        part = slice(self._given - window.start, stop - window.start)
        self._given = stop
        lips = self._joined_lips(segment.features.lips, part)
        return self._animator.takes(motion, part.start, part.stop, lips)

    def _joined_lips(self, lips: Tensor | None, part: slice) -> Tensor | None:
        """Lips of the frames that are returned, faded from those of the window before.

        Levels of speech are those of a window, so lips of two windows differ a little.
        """
        if lips is None:
            return None
        before, self._lips = self._lips, lips[part.stop :]
        result = lips[part].clone()
        if before is not None:
            count = min(LIP_FADE, len(before), len(result))
            share = shares(count, lips.device)[:, None]
            result[:count] = torch.lerp(before[:count], result[:count], share)
        return result

    def _features(
        self, audio: Tensor, window: Window, later: int, progress: Progress
    ) -> ClipFeatures:
        """Features of the window, from all of the audio."""
        animator, frames = self._animator, window.stop - window.start
        before = len(audio) // SAMPLES_PER_FRAME - frames - later
        front_end = animator.networks.speech
        context = min(before, front_end.context)
        total = context + frames + later
        rows = animator.speech_rows(_last(audio, total), total, progress)
        speech = rows[:, -front_end.rows(frames + later) :][:, : front_end.rows(frames)]
        own = audio[: len(audio) - later * SAMPLES_PER_FRAME]
        with_lips = animator.lip_rows(
            speech, _last(own, frames + window.start % CHUNK_FRAMES), frames, progress
        )
        lips = animator.lip_units(rows)
        if lips is not None:
            lips = lips[context : context + frames]
        first = self._position(window) if speech.shape[1] == frames else 0
        return ClipFeatures(frames, frames, speech, with_lips, lips, first)

    def _position(self, window: Window) -> int:
        """Return the position of a window's first frame in the longest clip of the networks.

        It is that in the clip, as far as positions reach. Motion of the face depends a little on
        its position, so windows that all began at 0 would show where they begin.
        """
        longest = self._animator.max_frames // KEY_FRAMES * KEY_FRAMES
        return window.start % max(KEY_FRAMES, longest - self._config.frames)

    def _start_body(self, features: ClipFeatures, window: Window, progress: Progress) -> BodyStart:
        animator = self._animator
        known = self._tokens
        seconds = window.start // KEY_FRAMES
        if known is not None:  # the key poses from the start of the window on
            known = known[:, -(self._end // KEY_FRAMES - seconds) :]
        tokens = animator.key_tokens(
            features,
            self._sampling.diversity,
            self._generators,
            known=known,
            progress=progress,
        )
        keys = animator.networks.tokenizer.decode(self._with_history(tokens, known))
        channels = animator.networks.body.config.channels
        start = self._continued(self._body, channels, window)
        return BodyStart(keys[:, -tokens.shape[1] :], start)

    def _with_history(self, tokens: Tensor, known: Tensor | None) -> Tensor:
        """Put the tokens of earlier key poses in front, which the decoder reaches."""
        before = None if known is None or self._tokens is None else self._tokens
        if before is not None and known is not None:
            tokens_before = before[:, : before.shape[1] - known.shape[1]]
            joined = torch.cat([tokens_before, tokens], dim=1)
        else:
            joined = tokens
        self._tokens = joined[:, -(tokens.shape[1] + REACH) :]
        return joined

    def _continued(self, track: Track | None, channels: int, window: Window) -> Start:
        """Return the noise of a window, and the motion that it continues."""
        known = self._end - window.start if track is not None else 0
        fresh = window.stop - window.start - known
        noise = noise_of(self._generators, fresh, channels, self._animator.device)
        if track is None:
            return Start(noise)
        past = track.last(known)
        weights = self._config.weights(known, self._animator.device)
        return Start(torch.cat([past.noise, noise], dim=1), Past(past.motion, weights))


def _last(audio: Tensor, frames: int) -> Tensor:
    return audio[max(0, len(audio) - frames * SAMPLES_PER_FRAME) :]


class ClipSampling:
    """A clip of any length on its way through its segments: `segment`, sample it, `finish`.

    Between the segments of a clip, those of other clips can be sampled, or all at once.
    """

    def __init__(
        self,
        animator: MotionSampler,
        chunks: Iterable[Tensor],
        sampling: Sampling,
        *,
        windows: WindowConfig = WINDOWS,
        whole: int | None = None,
        progress: Progress = no_progress,
    ) -> None:
        """chunks: audio [n, 2] in [-1, 1], of any lengths.

        whole: most frames of a clip that is one segment; None: all that the networks take.
        progress: that of each segment.
        """
        self.sampling, self.progress = sampling, progress
        self._animator, self._windows = animator, windows
        self._whole = animator.max_frames if whole is None else whole
        self._buffer = AudioBuffer(chunks)
        self._segments = self._planned()
        self._finish: Callable[[SegmentMotion], list[Motion]] | None = None

    def segment(self) -> Segment | None:
        """Read the audio of the next segment and compute its features; None after the last one.

        Raises: MotionError: for an empty clip, or options that do not suit the person.
        """
        return next(self._segments, None)

    def finish(self, motion: SegmentMotion) -> list[Motion]:
        """Return the frames that are complete, one motion for each seed.

        motion: of the segment that `segment` returned last.
        """
        assert self._finish is not None
        return self._finish(motion)

    def _planned(self) -> Iterator[Segment]:
        if self._buffer.fill(self._whole + 1) <= self._whole:
            yield self._clip()
        else:
            yield from self._clip_in_windows()

    def _clip(self) -> Segment:
        segment = self._animator.whole_segment(
            self._buffer.audio(0, None), self.sampling, progress=self.progress
        )
        self._finish = partial(self._animator.clip_takes, segment)
        return segment

    def _clip_in_windows(self) -> Iterator[Segment]:
        windows, buffer = self._windows, self._buffer
        motion = MotionStream(self._animator, self.sampling, windows)
        level = self._animator.networks.speech.context
        context = max(level, CHUNK_FRAMES)
        for window in planned(windows, buffer.fill):
            # As much audio as later windows hear, or the features of the first ones have another
            # level.
            heard = min(buffer.fill(windows.frames + level), windows.frames + level)
            stop = max(window.stop, heard)
            segment = motion.segment(
                buffer.audio(max(0, window.start - context), stop),
                window,
                later=stop - window.stop,
                progress=self.progress,
            )
            self._finish = partial(motion.finish, segment, window=window)
            yield segment
            buffer.forget(window.stop - windows.overlap - windows.frames - context)


def stream(
    animator: MotionSampler,
    chunks: Iterable[Tensor],
    sampling: Sampling,
    *,
    windows: WindowConfig = WINDOWS,
    progress: Progress = no_progress,
) -> Iterator[list[Motion]]:
    """Yield the motion of a clip of any length, in parts of one motion for each seed.

    chunks: audio [n, 2] in [-1, 1], of any lengths. A clip that the networks take whole gives one
    part, which is that of `animate`. Progress is that of each window.
    Raises: MotionError: for an empty clip.
    """
    clip = ClipSampling(animator, chunks, sampling, windows=windows, progress=progress)
    while (segment := clip.segment()) is not None:
        yield clip.finish(animator.sample(segment, sampling, progress))


def planned(windows: WindowConfig, fill: Callable[[int], int]) -> Iterator[Window]:
    """Yield the windows of a clip that is longer than one of them.

    fill: reads the clip up to so many frames, and returns how many there are, fewer if it ends.
    """
    start, size, before = 0, windows.first, 0
    while (frames := fill(start + size + 1)) > start + size:
        yield Window(start, start + size)
        before, start = start, start + size - windows.overlap
        size = min(2 * size, windows.frames)
    # A full window that ends with the clip.
    start = max(before, (frames - windows.frames) // KEY_FRAMES * KEY_FRAMES)
    yield Window(start, frames, last=True)


def borders(frames: int, windows: WindowConfig = WINDOWS) -> list[int]:
    """Return the frames in whose middle the motion passes from one window to the next."""
    found = planned(windows, lambda _: frames)
    middle = windows.changing - windows.fading // 2
    return [each.stop - middle for each in found if not each.last]


def count_parts(frames: int, whole: int, windows: WindowConfig = WINDOWS) -> int:
    """Return how many parts `stream` yields for a clip; whole: frames that networks take whole."""
    if frames <= whole:
        return 1
    return sum(1 for _ in planned(windows, lambda _: frames))


class AudioBuffer:
    """The newest part of a stream of audio, by frames of motion."""

    def __init__(self, chunks: Iterable[Tensor]) -> None:
        self._chunks = iter(chunks)
        self._kept: list[Tensor] = []
        self._first = 0  # frame of the first sample that is kept
        self._samples = 0  # of the whole stream so far

    def fill(self, frames: int) -> int:
        """Read until there are `frames`, or the end; return how many there are, rounded up."""
        while self._samples < frames * SAMPLES_PER_FRAME:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._kept.append(chunk)
            self._samples += len(chunk)
        return -(-self._samples // SAMPLES_PER_FRAME)

    def audio(self, start: int, stop: int | None) -> Tensor:
        """Return the samples of frames [start, stop), with silence after the end."""
        if not self._kept:
            raise MotionError("the clip has no samples; send a recording")
        self._kept = [torch.cat(self._kept)]
        first = (start - self._first) * SAMPLES_PER_FRAME
        if stop is None:
            return self._kept[0][first:]
        part = self._kept[0][first : (stop - self._first) * SAMPLES_PER_FRAME]
        missing = (stop - start) * SAMPLES_PER_FRAME - len(part)
        return torch.nn.functional.pad(part, (0, 0, 0, missing)) if missing else part

    def forget(self, start: int) -> None:
        """Drop the frames before `start`."""
        if start > self._first:
            kept = torch.cat(self._kept)
            self._kept = [kept[(start - self._first) * SAMPLES_PER_FRAME :].clone()]
            self._first = start
