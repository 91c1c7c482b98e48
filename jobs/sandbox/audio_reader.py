"""Audio of clips: any accepted file as 48 kHz float32 in two channels, on the file's timeline.

The probe, the worker and `visavis-server generate` read clips with this module, always in a child
process with limits, so they agree on the length of every file to the sample. All positions are
whole numbers of samples at 48 kHz.
"""

from __future__ import annotations

from array import array
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, NoReturn, cast

from jobs.model import JobWarning
from jobs.sandbox.audio_formats import (
    ACCEPTED,
    CONTAINERS,
    FileSection,
    MediaError,
    cut_off,
    demuxer_options,
    sections,
    short_vorbis,
    sniff,
    wav_header,
)
from jobs.sandbox.edit_lists import ascending, edit_lists, parts, silence

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    import av

    from contracts.wav import WavHeader
    from jobs.sandbox.audio_formats import MediaLimits
    from jobs.sandbox.edit_lists import Edit

SAMPLE_RATE = 48_000
SAMPLE_BYTES = 4  # of one channel
JITTER = SAMPLE_RATE * 15 // 1000  # smaller steps of timestamps are rounding of the recorder
MISSING = SAMPLE_RATE // 10  # samples short of the stated length that make a file cut off
BLOCK = 4096  # samples that are resampled before they are passed on
EMPTY_PACKETS = 1000  # successive packets without audio; more are a denial-of-service attempt
SKIP_MANUAL = 1 << 29  # AV_CODEC_FLAG2_SKIP_MANUAL
TWO_CHANNELS = "send 2 (left: the person, right: the partner) or 1 (the person)"


class ClipReader:
    """One file; its properties and warnings are complete when `stereo` has ended."""

    def __init__(self, path: Path, limits: MediaLimits) -> None:
        with path.open("rb") as file:
            self.kind, start = sniff(file)
        self._path = path
        self.limits = limits
        self.pcm: WavHeader | None = None  # of a WAV file of plain samples
        self.short = False  # Vorbis in one page
        self._edits: list[list[Edit]] = []  # of each track of a movie
        self._sections = sections(path, self.kind, start)
        self.codec = ""
        self.sample_rate = 0
        self.channels = 0  # the most of any part; 2 for two tracks
        self.stated_seconds = 0.0  # by the header, for messages
        self._warnings: dict[str, str] = {}
        self._added: tuple[JobWarning, ...] = ()

    @property
    def warnings(self) -> tuple[JobWarning, ...]:
        """Parts of the file that were not read as they are."""
        own = tuple(JobWarning(code, detail) for code, detail in self._warnings.items())
        return own + self._added

    def warn(self, code: str, detail: str) -> None:
        """Add a warning, once for each code."""
        self._warnings.setdefault(code, detail)

    def add(self, warnings: Iterable[JobWarning]) -> None:
        """Add warnings about the file of the partner."""
        self._added += tuple(warnings)

    def stereo(self) -> Generator[bytes]:
        """Yield chunks of interleaved float32 in two channels.

        Raises: MediaError: when the file is not an acceptable clip.
        """
        from av.error import FFmpegError

        for number, section in enumerate(self._sections):
            try:
                yield from self._section(section, first=number == 0)
            except (FFmpegError, ValueError, OverflowError) as error:
                if isinstance(error, MediaError):
                    raise
                if number == 0:
                    damaged(self.kind)
                self._skipped()
        if self.channels == 0:
            raise MediaError(
                "audio_empty", "the file contains no audio after its header; export it again"
            )
        if cut_off(self._path, self.kind, self._sections[-1]):
            self._incomplete()

    def _section(self, section: tuple[int, int], *, first: bool) -> Iterator[bytes]:
        if self.kind == "wav":
            section = self._located(section)
            if self.pcm is not None and not self.pcm.samples:
                return
        with self._opened(section) as container:
            count = self._checked_tracks(container)
        self.short = (
            self.codec == "vorbis" and self.kind == "ogg" and short_vorbis(self._path, section)
        )
        self._edits = self._edit_lists(section, count)
        left = self._track(section, 0, first=first)
        if count == 1:
            for channels, samples in left:
                yield samples if channels == 2 else interleaved(samples, b"")
            return
        self.warn(
            "second_track_is_partner",
            "The file has two tracks: the first is the person, the second the partner.",
        )
        # The tracks may be stored one after the other, so each is read on its own.
        yield from paired(_mono(left), _mono(self._track(section, 1, first=first)))
        self.channels = 2

    def _edit_lists(self, section: tuple[int, int], count: int) -> list[list[Edit]]:
        """Return the edits of each track; empty lists for tracks that are played as stored."""
        lists: list[list[Edit]] = []
        if self.kind == "m4a":
            with FileSection(self._path, *section) as file:
                lists = edit_lists(cast("BinaryIO", file))
        return lists if len(lists) == count else [[]] * count

    def _track(
        self, section: tuple[int, int], index: int, *, first: bool
    ) -> Iterator[tuple[int, bytes]]:
        """Yield the chunks of a track as it is played; it is decoded again for earlier parts."""
        passes = ascending(self._edits[index])
        for edits in passes:
            with self._opened(section) as container:
                track = Track(self, container, container.streams.audio[index], first=first)
                if not edits:
                    yield from track.chunks()
                    continue
                yield from parts(track.chunks(), edits, final=edits is passes[-1])
                self.end(track, whole=edits[-1].samples is None)

    def _opened(self, section: tuple[int, int]) -> av.container.InputContainer:
        import av

        demuxer, extra = CONTAINERS[self.kind].demuxer, {}
        if any(self._edits):
            extra = {"ignore_editlist": "1"}
        if self.pcm is not None:
            demuxer = str(self.pcm.pcm)
            extra = {
                "sample_rate": str(self.pcm.rate),
                "ch_layout": "mono" if self.pcm.channels == 1 else "stereo",
            }
        return av.open(
            FileSection(self._path, *section),
            "r",
            format=demuxer,
            options=demuxer_options(self.kind, demuxer) | extra,
            metadata_errors="replace",
        )

    def _located(self, section: tuple[int, int]) -> tuple[int, int]:
        """Return the bytes of the samples of a WAV file, found as training finds them.

        Compressed audio, and what only FFmpeg can read, stays the whole section.
        """
        with FileSection(self._path, *section) as file:
            header = wav_header(cast("BinaryIO", file))
        if header is not None and header.split:
            self.warn(
                "audio_cut_off",
                "The samples are in several chunks of the WAV file, and the first was used; "
                "export it again as one.",
            )
        self.pcm = header if header is not None and header.pcm else None
        if self.pcm is None:
            return section
        self.check(self.pcm.rate, self.pcm.channels)
        start = section[0] + self.pcm.offset
        return start, start + self.pcm.samples * self.pcm.block

    def _checked_tracks(self, container: av.container.InputContainer) -> int:
        streams = container.streams.audio
        if not streams:
            raise MediaError("audio_missing", "the file contains no audio; send a recording")
        self.stated_seconds = max(self.stated_seconds, (container.duration or 0) / 1_000_000)
        if len(streams) > 2:
            raise MediaError(
                "audio_channels",
                f"the file has {len(streams)} audio tracks; send one track, or two mono tracks "
                "(first: the person, second: the partner)",
            )
        for stream in streams:
            self._check_codec(stream)
        if len(streams) == 2 and any(stream.codec_context.channels > 1 for stream in streams):
            _refuse_tracks(max(stream.codec_context.channels for stream in streams))
        return len(streams)

    def _check_codec(self, stream: av.AudioStream) -> None:
        context = stream.codec_context
        codec = context.name if context else "an unknown codec"
        if codec not in CONTAINERS[self.kind].codecs:
            raise MediaError(
                "audio_type_unsupported",
                f"the codec {codec} in {self.kind} is not supported; send {ACCEPTED}",
            )
        self.check(context.sample_rate, context.channels)
        self.codec = self.codec or {"mp3float": "mp3"}.get(codec, codec)

    def check(self, sample_rate: int, channels: int) -> None:
        """Check rate and channels. Raises: MediaError: when they are outside the limits."""
        limits = self.limits
        if not limits.min_sample_rate <= sample_rate <= limits.max_sample_rate:
            raise MediaError(
                "audio_sample_rate",
                f"the audio has {sample_rate} samples per second; send {limits.min_sample_rate} "
                f"to {limits.max_sample_rate}, preferably 48000",
            )
        if not 1 <= channels <= limits.max_channels:
            raise MediaError("audio_channels", f"the audio has {channels} channels; {TWO_CHANNELS}")

    def accept(self, frame: av.AudioFrame) -> None:
        """Check a decoded frame and record its properties."""
        channels = frame.layout.nb_channels
        self.check(frame.sample_rate, channels)
        self.sample_rate = self.sample_rate or frame.sample_rate
        self.channels = max(self.channels, channels)

    def end(self, track: Track, *, whole: bool = True) -> None:
        """Record the end of a track, or of its part that is played.

        Raises: MediaError: when too much of it is damaged.
        """
        if track.bad > 2 + track.good // 10 or (track.bad and not track.good) or track.flooded:
            damaged(self.kind)
        short = whole and track.good and track.end + MISSING < track.stated_end
        if track.broken or short:
            self._incomplete()
        elif track.bad:
            self._skipped()

    def _incomplete(self) -> None:
        self.warn(
            "audio_cut_off", "The file ends before its audio is complete; the part before was used."
        )

    def _skipped(self) -> None:
        self.warn(
            "audio_packets_damaged",
            "Damaged parts of the file could not be decoded; they are silent or missing.",
        )


class Track:
    """One audio stream of a file, placed by its timestamps.

    Timestamps that jump ahead leave silence, and audio that the timestamps repeat is dropped.
    """

    def __init__(
        self,
        reader: ClipReader,
        container: av.container.InputContainer,
        stream: av.AudioStream,
        *,
        first: bool,  # of joined recordings
    ) -> None:
        form = CONTAINERS[reader.kind]
        self._reader = reader
        self._container = container
        self._stream = stream
        self._timed = form.timed
        short = reader.short and not stream.start_time
        # Later recordings in these formats may count time from the first one.
        later = not first and reader.kind in ("ogg", "webm")
        self._origin = None if later or short else 0
        self.good = self.bad = 0  # frames and packets
        self._begun = False  # a frame was placed
        self._last_duration = 0  # of the packet of the last frame
        self.flooded = False
        self.broken = False  # its last packet could not be read
        self.end = 0  # samples at 48 kHz
        self._tick = stream.time_base or Fraction(1, SAMPLE_RATE)
        self._rounding = self._position(2)
        self._measured = form.measured and reader.pcm is None
        self._whole = self._stated_samples() if self._measured or short else None
        stream.codec_context.thread_count = 1
        # Of ALAC in CAF, FFmpeg removes the padding twice, and of WMA two frames instead of one.
        self._primed = reader.kind == "wma" and stream.codec_context.name in ("wmav1", "wmav2")
        if self._primed or (reader.kind, stream.codec_context.name) == ("caf", "alac"):
            stream.codec_context.flags2 |= SKIP_MANUAL

    @property
    def stated_end(self) -> int:
        """End by the header, or 0."""
        if self._measured:
            return self._whole or 0
        if self._reader.kind == "mp3" and self._container.duration:
            return self._container.duration * SAMPLE_RATE // 1_000_000
        return 0

    def _stated_samples(self) -> int | None:
        stream = self._stream
        if not stream.duration or stream.time_base is None:
            return None
        start = (stream.start_time or 0) if self._timed else 0
        return self._position(start + stream.duration)

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """Yield (channels, interleaved float32) at 48 kHz without gaps."""
        run: Run | None = None
        for frame, last, pause in self._frames():
            self._reader.accept(frame)
            step = self._step(frame, pause)
            if step < 0 and resampled(frame.samples, frame.sample_rate) <= -step:
                continue
            if run is None or step or not run.takes(frame):
                if run is not None:
                    yield from run.rest()
                if step > 0:
                    yield from silence(step)
                run = Run(frame, start=self.end + max(0, step), skip=max(0, -step))
            yield from run.push(frame, self._kept(frame, run) if last else frame.samples)
            self.end, self._begun = run.end, True
        if run is not None:
            yield from run.rest()
        self._reader.end(self)

    def _step(self, frame: av.AudioFrame, pause: int) -> int:
        """Return the samples between the end so far and this frame; negative ones overlap."""
        if not self._timed:
            return pause
        if frame.pts is None:
            return 0
        at = self._position(frame.pts)
        length = resampled(frame.samples, frame.sample_rate)
        if self._origin is None:
            self._origin = at
        if self._primed:  # the first frame is the encoder's delay
            self._origin, self._primed = self._origin + length, False
        step = at - self._origin - self.end
        if abs(step) <= (JITTER if self._begun else self._rounding):
            return 0
        if self._begun and step > 0 and self._rounding > 2:
            # Whole packets are missing, and the timestamps are rounded.
            rest = (step + length // 2) % length - length // 2
            return step - rest if abs(rest) <= self._rounding else step
        return step

    def _position(self, ticks: int) -> int:
        """Return a timestamp as samples at 48 kHz, rounded."""
        numerator, denominator = self._tick.numerator, self._tick.denominator
        return (2 * SAMPLE_RATE * numerator * ticks + denominator) // (2 * denominator)

    def _kept(self, frame: av.AudioFrame, run: Run) -> int:
        """Return the samples of the last frame without the padding of the encoder."""
        kept = frame.samples
        if self._whole is not None:
            excess = self.end + resampled(kept, run.rate) - self._whole
            kept -= max(0, excess) * run.rate // SAMPLE_RATE
        stated, rounding = self._last_duration * self._tick * run.rate, self._tick * run.rate
        if self._timed and stated and frame.samples > stated + rounding:
            kept = min(kept, round(stated))
        return kept if kept > 0 else frame.samples

    def _frames(self) -> Iterator[tuple[av.AudioFrame, bool, int]]:
        """Yield (frame, if it is the last, samples of silence before it for damaged packets)."""
        waiting: tuple[av.AudioFrame, int] | None = None
        lost = 0
        for packet_duration, frames in self._decoded():
            if frames is None:
                lost += packet_duration if self.good else 0
                continue
            for frame in frames:
                if waiting is not None:
                    yield waiting[0], False, waiting[1]
                waiting, lost = (frame, lost and self._position(lost)), 0
                self.good += 1
                self._last_duration = packet_duration
        if waiting is not None:
            yield waiting[0], True, waiting[1]

    def _decoded(self) -> Iterator[tuple[int, list[av.AudioFrame] | None]]:
        """Yield duration and frames of each packet; None for a damaged one."""
        from av.error import FFmpegError

        packets = self._container.demux(self._stream)
        empty = 0
        while empty <= EMPTY_PACKETS:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except FFmpegError:  # the packets before count
                self.bad += 1
                self.broken = True
                return
            empty += 1
            try:
                frames = packet.decode()
            except FFmpegError:
                self.bad += 1
                self.broken = True
                yield packet.duration or 0, None
                continue
            if frames:
                empty, self.broken = 0, False
            yield packet.duration or 0, frames
        self.flooded = True


class Run:
    """Successive frames of one rate and layout, resampled together.

    Its length is the rounded length of its frames, whatever the resampler returns.
    """

    def __init__(self, frame: av.AudioFrame, *, start: int, skip: int) -> None:
        self.rate = frame.sample_rate
        self._channels = frame.layout.nb_channels
        self._form = (self.rate, frame.format.name, frame.layout.name)
        self._start = start - skip
        self._done = 0  # samples that were pulled, with those skipped
        self._skip = skip  # samples at the start that repeat earlier audio
        self._samples = 0  # received, at the rate of the frames
        self._pending = 0  # of them not pulled yet
        self._graph = _graph(frame)

    def takes(self, frame: av.AudioFrame) -> bool:
        """Check if the frame has the form of this run."""
        return (frame.sample_rate, frame.format.name, frame.layout.name) == self._form

    @property
    def _length(self) -> int:
        return resampled(self._samples, self.rate)

    @property
    def end(self) -> int:
        """Position of the end of all frames."""
        return self._start + max(self._length, self._skip)

    def push(self, frame: av.AudioFrame, kept: int) -> Iterator[tuple[int, bytes]]:
        """Resample a frame, of which the first `kept` samples count."""
        frame.pts = None  # else the graph would compare timestamps
        self._graph.push(frame)
        self._samples += kept
        self._pending += frame.samples
        if self._pending >= BLOCK:
            self._pending = 0
            yield from self._pull()

    def rest(self) -> Iterator[tuple[int, bytes]]:
        """Yield what the resampler holds, up to the length of the frames."""
        self._graph.push(None)
        yield from self._pull()
        missing = self._length - max(self._done, self._skip)
        if missing > 0:
            yield self._channels, bytes(missing * self._channels * SAMPLE_BYTES)
            self._done = self._length

    def _pull(self) -> Iterator[tuple[int, bytes]]:
        from av.error import BlockingIOError, EOFError

        while True:
            try:
                frame = cast("av.AudioFrame", self._graph.pull())
            except (BlockingIOError, EOFError):
                return
            first = max(0, self._skip - self._done)
            count = min(frame.samples, self._length - self._done)
            self._done += frame.samples
            if count > first:
                size = self._channels * SAMPLE_BYTES
                yield (
                    self._channels,
                    bytes(memoryview(frame.planes[0])[first * size : count * size]),
                )


def interleaved(left: bytes, right: bytes) -> bytes:
    """Interleave two channels of float32; a shorter one is padded with silence."""
    count = max(len(left), len(right)) // SAMPLE_BYTES
    both = array("f", bytes(2 * count * SAMPLE_BYTES))
    both[0 : 2 * (len(left) // SAMPLE_BYTES) : 2] = array("f", left)
    both[1 : 2 * (len(right) // SAMPLE_BYTES) : 2] = array("f", right)
    return both.tobytes()


def paired(left: Iterator[bytes], right: Iterator[bytes]) -> Iterator[bytes]:
    """Yield two mono channels as one of two; the shorter one is padded with silence."""
    first, second = next(left, None), next(right, None)
    while first is not None and second is not None:
        size = min(len(first), len(second))
        yield interleaved(first[:size], second[:size])
        first = first[size:] or next(left, None)
        second = second[size:] or next(right, None)
    for chunk in chain([first] if first else [], left):
        yield interleaved(chunk, b"")
    for chunk in chain([second] if second else [], right):
        yield interleaved(b"", chunk)


def damaged(kind: str) -> NoReturn:
    """Raise the error of a damaged file. Raises: MediaError: always."""
    raise MediaError(
        "audio_damaged", f"the file begins like {kind} but cannot be decoded; export it again"
    )


def _mono(track: Iterator[tuple[int, bytes]]) -> Iterator[bytes]:
    for channels, samples in track:
        if channels > 1:
            _refuse_tracks(channels)
        if samples:
            yield samples


def _refuse_tracks(channels: int) -> NoReturn:
    raise MediaError(
        "audio_channels",
        f"the file has two audio tracks, one of them with {channels} channels; send two mono "
        "tracks (first: the person, second: the partner), or one track",
    )


def _graph(frame: av.AudioFrame) -> av.filter.Graph:
    """Return a filter graph that resamples to 48 kHz float32 and mixes no channels."""
    import av.filter

    graph = av.filter.Graph()
    graph.threads = 1
    nodes = [
        graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format.name,
            layout=frame.layout.name,
            time_base=Fraction(1, frame.sample_rate),
        ),
        graph.add("aresample", str(SAMPLE_RATE)),
        graph.add("aformat", "sample_fmts=flt"),
        graph.add("asetnsamples", f"n={BLOCK}:p=0"),
        graph.add("abuffersink"),
    ]
    graph.link_nodes(*nodes).configure()
    return graph


def resampled(samples: int, rate: int) -> int:
    """Return the number of samples at 48 kHz for a number at another rate, rounded."""
    return (2 * SAMPLE_RATE * samples + rate) // (2 * rate)
