"""Motion of clips of any length, in windows that overlap and agree.

Each call of a network predicts the frames of a window that moves back from call to call
(`models.motion.execution.lanes`), so no place of the motion is a border in all of them. Over the
border of a call, its predictions pass smoothly from those of the window before to its own. The
guide continues its tokens. Features of each frame are computed once, from its audio and some time
before and after it. Memory does not depend on the length of a clip.

Letters: N takes, T frames of a window, K key poses, R tokens of a key pose.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from models.motion.denoiser import KEY_FRAMES
from models.motion.execution.lanes import Call, Lane, shares
from models.motion.lips import CHUNK_FRAMES
from models.motion.sampling import (
    BodyStart,
    ClipFeatures,
    MotionError,
    Segment,
    Start,
    no_progress,
    noise_of,
    take_generators,
)
from models.motion.speech import FRAME_RATE, SAMPLES_PER_FRAME
from models.motion.tokenizer import REACH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from models.motion.sampling import (
        Motion,
        MotionSampler,
        Progress,
        Sampling,
        SegmentMotion,
    )
    from models.motion.speech import FrontEnd


FEW_MOVES = 3  # where the condition of a call costs as much as the call
LIP_FADE = 15  # frames
LATER = 60  # frames of audio after those whose features are computed


@dataclass(frozen=True)
class WindowConfig:
    """Lengths in frames, multiples of a second so that key poses coincide."""

    hop: int = 240  # frames that a window adds to the motion
    overlap: int = 60  # frames over which predictions pass from those of the window before
    moves: int = 10  # times that a window moves back by its overlap, over its calls
    start: int = 120  # frames of the first part of the motion that is not empty

    def __post_init__(self) -> None:
        for name in ("hop", "overlap", "start"):
            if getattr(self, name) % KEY_FRAMES:
                raise ValueError(f"{name} must be a multiple of {KEY_FRAMES} ({self})")
        if not (0 < self.overlap <= self.hop and self.moves >= 0):
            raise ValueError(f"overlap must be 30 to hop, moves must be at least 0 ({self})")
        if not self.least - self.overlap <= self.start <= self.hop:
            raise ValueError(f"start must be {self.least - self.overlap} to {self.hop} ({self})")

    @property
    def least(self) -> int:
        """Fewest frames of a call, but for the last ones of a clip."""
        return (self.hop + self.overlap) // 2

    @property
    def longest(self) -> int:
        """Most frames of a call."""
        return self.hop + self.least

    def first(self, calls: int) -> int:
        """Return where the first window ends.

        It is chosen so that as few calls as possible are made before the first motion is complete.
        """
        end = self.start + self.overlap + self.back(calls - 1, calls)  # of the window that ends it
        return end - self.hop * max(0, -(-(end - self.longest) // self.hop))

    def back(self, place: int, calls: int) -> int:
        """Return how far a call lies before the first one.

        It is the whole overlap for each move. So what a call sees after its own frames has all
        been predicted in the call before by two windows, where two predict it.
        """
        moves = min(self.moves, calls - 1)
        return self.overlap * round(place * moves / max(1, calls - 1))

    def complete(self, end: int, calls: int) -> int:
        """Return how many frames no window after one with this end changes."""
        last = end - self.back(calls - 1, calls)
        return last - self.overlap if last >= self.least else 0


WINDOWS = WindowConfig()


@dataclass(frozen=True)
class Window:
    """A part of the clip: frames [start, stop)."""

    start: int  # the first frame that is not complete yet
    fresh: int  # the first frame that no window before has
    stop: int
    end: int  # where it would stop in a clip without end
    complete: int  # frames of the clip that no later window changes

    def calls(self, count: int, windows: WindowConfig) -> list[Call]:
        """Return the frames of each of `count` calls, from the start of the window.

        A call has no frames where the clip begins too late for it, or has ended before.
        """
        result = []
        for place in range(count):
            end = self.end - windows.back(place, count)
            before = end - windows.hop  # where the window before stopped
            stop = min(end, self.stop)
            if end < windows.least:
                start = stop = self.start
            elif before < windows.least:
                start = self.start
            elif before >= stop:
                start = stop
            else:  # not a few frames alone, at the end of the clip
                start = min(before - windows.overlap, stop - windows.least)
                start = max(self.start, start // KEY_FRAMES * KEY_FRAMES)
            result.append(Call(start - self.start, stop - self.start))
        return result


class Features(NamedTuple):
    """Features of the frames of a window."""

    speech: Tensor  # [1, L, A]
    with_lips: Tensor  # [1, L, A + lips]
    lips: Tensor | None  # [T, U + 1]


@dataclass(frozen=True)
class Track:
    """Noise and predictions of one network that the next window starts from."""

    noise: Tensor  # [N, P, C] of the frames that both have
    predictions: Mapping[int, Tensor]  # of each call, as `Lane.known`

    @classmethod
    def after(cls, start: Start, frames: int) -> Track:
        """Return that of a sampled window to a window that starts `frames` later."""
        assert start.lane is not None
        return cls(start.noise[:, frames:], start.lane.made())


class MotionStream:
    """Motion of one clip, window by window: `segment`, sample it, `finish`."""

    def __init__(
        self, animator: MotionSampler, sampling: Sampling, config: WindowConfig = WINDOWS
    ) -> None:
        """Start at the beginning of a clip. Raises: MotionError: when a network is too small."""
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
        self._features: Features | None = None  # of the newest window
        self._start = 0  # of the newest window
        self._end = 0  # frames sampled so far
        self._later: Tensor | None = None  # [LATER, U + 1] lips after the newest window

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

        audio: [n, 2], ends `later` frames after the window, and may begin before its fresh frames.
        """
        fresh = None
        if window.stop > window.fresh:
            fresh = self._fresh(audio, window, later, progress)
        progress("speech", 1.0)  # also without fresh frames
        features = self._joined(fresh, window)
        count = window.stop - window.start
        clip = ClipFeatures(count, count, *features, *self._positions(window, features))
        channels = self._animator.networks.face.config.channels
        face = self._continued(self._face, channels, window)
        start_body = partial(self._start_body, clip, window)
        return Segment(clip, face, start_body, self._generators)

    def finish(self, segment: Segment, motion: SegmentMotion, window: Window) -> list[Motion]:
        """Return the next frames of each take, which no later window changes."""
        count = window.complete - window.start
        self._face = Track.after(segment.face, count)
        self._body = Track.after(segment.body(no_progress).start, count)
        self._start, self._end = window.start, window.stop
        lips = segment.features.lips
        return self._animator.takes(motion, 0, count, None if lips is None else lips[:count])

    def _positions(self, window: Window, features: Features) -> tuple[int, int]:
        """Return the position of a window's first frame, and the frames of a lap of positions.

        They are those in the clip, as far as positions reach. Motion of the face depends a little
        on its position, so calls that all began at 0 would show where they begin.
        """
        lap = self._animator.max_frames - self._config.longest
        if lap < KEY_FRAMES or features.speech.shape[1] != window.stop - window.start:
            return 0, 0
        return window.start, lap // KEY_FRAMES * KEY_FRAMES

    def _fresh(self, audio: Tensor, window: Window, later: int, progress: Progress) -> Features:
        """Features of the fresh frames of a window."""
        animator, frames = self._animator, window.stop - window.fresh
        front_end = animator.networks.speech
        before = len(audio) // SAMPLES_PER_FRAME - frames - later
        context = min(before, front_end.context)
        total = context + frames + later
        rows = animator.speech_rows(_last(audio, total), total, progress)
        # A clip has a few rows less than its frames; they are missing at its end only.
        count = front_end.rows(frames + later)
        speech = rows[:, rows.shape[1] - count :]
        if window.end == window.stop:
            speech = speech[:, : rows_per(front_end, frames)]
        own = audio[: len(audio) - later * SAMPLES_PER_FRAME]
        with_lips = animator.lip_rows(
            speech, _last(own, frames + window.fresh % CHUNK_FRAMES), frames, progress
        )
        lips = animator.lip_units(rows, _last(audio, total))
        if lips is not None:
            lips = self._faded(lips[context:], frames)
        return Features(speech, with_lips, lips)

    def _faded(self, lips: Tensor, frames: int) -> Tensor:
        """Lips of the first `frames`, faded from those of the frames before.

        Levels of speech are those of some seconds, so lips of the same frames differ a little.
        """
        before, self._later = self._later, lips[frames:]
        result = lips[:frames].clone()
        if before is not None:
            count = min(LIP_FADE, len(before), len(result))
            share = shares(count, lips.device)[:, None]
            result[:count] = torch.lerp(before[:count], result[:count], share)
        return result

    def _joined(self, fresh: Features | None, window: Window) -> Features:
        """Features of all frames of a window."""
        before = self._features
        if before is None:
            assert fresh is not None
            self._features = fresh
            return fresh
        cut = window.start - self._start
        row = rows_per(self._animator.networks.speech, cut)
        lips = None if before.lips is None else before.lips[cut:]
        kept = Features(before.speech[:, row:], before.with_lips[:, row:], lips)
        if fresh is not None:
            kept = Features(
                torch.cat([kept.speech, fresh.speech], dim=1),
                torch.cat([kept.with_lips, fresh.with_lips], dim=1),
                None if lips is None or fresh.lips is None else torch.cat([lips, fresh.lips]),
            )
        self._features = kept
        return kept

    def _start_body(self, features: ClipFeatures, window: Window, progress: Progress) -> BodyStart:
        animator = self._animator
        known = self._tokens
        if known is not None:  # the key poses from the start of the window on
            count = -(-self._end // KEY_FRAMES) - window.start // KEY_FRAMES
            known = known[:, -count:]
        tokens = known
        if known is None or known.shape[1] < features.key_poses:
            tokens = self._key_tokens(features, known, progress)
        assert tokens is not None
        progress("guide", 1.0)  # also without new ones
        keys = animator.networks.tokenizer.decode(self._with_history(tokens, known))
        channels = animator.networks.body.config.channels
        start = self._continued(self._body, channels, window)
        return BodyStart(keys[:, -tokens.shape[1] :], start)

    def _key_tokens(
        self, features: ClipFeatures, known: Tensor | None, progress: Progress
    ) -> Tensor:
        """Return the tokens of a window [N, K, R], from as much of it as the guide takes."""
        most = self._animator.max_frames // KEY_FRAMES
        first = max(0, features.key_poses - most)
        if known is None or first == 0:
            earlier = known[:, :0] if known is not None else None
        else:
            earlier, known = known[:, :first], known[:, first:]
            row = rows_per(self._animator.networks.speech, first * KEY_FRAMES)
            frames = features.frames - first * KEY_FRAMES
            speech = features.speech[:, row:]
            features = ClipFeatures(frames, frames, speech, speech)
        tokens = self._animator.key_tokens(
            features,
            self._sampling.diversity,
            self._generators,
            known=known,
            progress=progress,
        )
        return tokens if earlier is None else torch.cat([earlier, tokens], dim=1)

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

    def _continued(self, before: Track | None, channels: int, window: Window) -> Start:
        """Return the noise of a window, and what the one before predicted."""
        count = window.stop - window.fresh
        noise = noise_of(self._generators, count, channels, self._animator.device)
        calls = window.calls(self._sampling.steps, self._config)
        more = window.complete < window.stop
        lane = Lane(calls, next_start=window.complete - window.start if more else None)
        if before is None:
            return Start(noise, lane)
        lane = replace(lane, known=before.predictions, overlap=self._config.overlap)
        return Start(torch.cat([before.noise, noise], dim=1), lane)


def rows_per(front_end: FrontEnd, frames: int) -> int:
    """Return the rows of some seconds within a longer clip, of `frames` that are whole seconds."""
    return front_end.rows(frames + KEY_FRAMES) - front_end.rows(KEY_FRAMES)


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

    def parts(self) -> Iterator[list[Motion]]:
        """Yield the frames that are complete, after sampling each segment."""
        while (segment := self.segment()) is not None:
            yield self.finish(self._animator.sample(segment, self.sampling, self.progress))

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
        buffer = self._buffer
        windows = suited_windows(self._animator, self._windows)
        motion = MotionStream(self._animator, self.sampling, windows)
        level = self._animator.networks.speech.context
        context = max(level, CHUNK_FRAMES)
        for window in planned(windows, self.sampling.steps, buffer.fill):
            # As much audio as later windows hear, or the features of the first ones have another
            # level.
            wanted = max(windows.longest + level, window.stop + LATER)
            stop = max(window.stop, min(buffer.fill(wanted), wanted))
            segment = motion.segment(
                buffer.audio(max(0, window.fresh - context), stop),
                window,
                later=stop - window.stop,
                progress=self.progress,
            )
            self._finish = partial(motion.finish, segment, window=window)
            yield segment
            buffer.forget(window.stop - context)


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
    yield from ClipSampling(animator, chunks, sampling, windows=windows, progress=progress).parts()


def planned(windows: WindowConfig, calls: int, fill: Callable[[int], int]) -> Iterator[Window]:
    """Yield the windows of a clip that is longer than the first of them.

    calls: of a network in a window.
    fill: reads the clip up to so many frames, and returns how many there are, fewer if it ends.
    """
    start, fresh, end = 0, 0, windows.first(calls)
    while True:
        frames = fill(end + 1)
        stop = min(end, frames)
        complete = min(stop, windows.complete(end, calls))
        yield Window(start, fresh, stop, end, complete)
        if complete == frames:
            return
        start, fresh, end = complete, stop, end + windows.hop


def borders(frames: int, calls: int, windows: WindowConfig = WINDOWS) -> list[int]:
    """Return the frames in whose middle the motion passes from one window to the next.

    These are the borders of the last call.
    """
    half = windows.overlap // 2
    found = (each.complete for each in planned(windows, calls, lambda _: frames))
    return [frame + half for frame in found if 0 < frame < frames - windows.overlap]


def count_parts(
    animator: MotionSampler, frames: int, sampling: Sampling, windows: WindowConfig = WINDOWS
) -> int:
    """Return how many parts `stream` yields for a clip."""
    if frames <= animator.max_frames:
        return 1
    suited = suited_windows(animator, windows)
    return sum(1 for _ in planned(suited, sampling.steps, lambda _: frames))


def suited_windows(animator: MotionSampler, windows: WindowConfig) -> WindowConfig:
    """Return windows with few moves where the condition of a call costs as much as the call.

    That is so for a person whose speech rows are those of convolutions, three for each frame.
    """
    few = animator.networks.speech.rows(KEY_FRAMES) > KEY_FRAMES
    return replace(windows, moves=min(windows.moves, FEW_MOVES)) if few else windows


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
