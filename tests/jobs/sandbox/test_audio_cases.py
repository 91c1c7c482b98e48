"""Recordings of many kinds: probe and decoder agree to the sample, on the file's timeline."""

import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from jobs.sandbox.audio_formats import CONTAINERS, MediaError, MediaLimits
from jobs.sandbox.audio_probe import ClipInfo, probe
from jobs.sandbox.audio_reader import ClipReader
from jobs.storage.base import CONTENT_TYPES
from tests.clip_readers import read_in_process
from tests.malicious_files import encoded
from worker.pipeline.media.decode import SAMPLE_RATE, Audio, decode

CASES = Path(__file__).parent / "cases"
LIMITS = MediaLimits(max_seconds=20.0)
NOISE = "anoisesrc=r=48000:d=2:seed=1:a=0.5,lowpass=f=1500"


@dataclass(frozen=True)
class Case:
    """The right result of one file: its properties, and seconds that are silent or sound."""

    name: str
    container: str
    codec: str
    channels: int
    samples: int
    left: tuple[float, float] | None  # sounds here ...
    silent: tuple[float, float] | None = None  # ... and not here
    right: tuple[float, float] | None = None
    warnings: tuple[str, ...] = ()


FILES = [
    Case("exact_0.1s.wav", "wav", "pcm_s16le", 1, 4_800, (0.0, 0.1)),
    Case("exact20_8k.wav", "wav", "pcm_u8", 1, 960_000, (0.0, 20.0)),
    Case("dtx_gap.webm", "webm", "opus", 2, 384_000, (5.5, 8.0), (1.8, 5.4)),
    Case(
        "chained_mono_stereo.opus", "ogg", "opus", 2, 384_000, (4.0, 5.9), (6.1, 8.0), (6.1, 8.0)
    ),
    Case(
        "two_tracks.m4a", "m4a", "aac", 2, 192_000, (0.0, 1.9), (2.1, 4.0), (2.1, 4.0),
        ("second_track_is_partner",),
    ),
    Case("late_start.mp4", "m4a", "aac", 2, 288_000, (2.0, 3.9), (0.0, 1.97), (4.1, 6.0)),
    Case("id3.flac", "flac", "flac", 1, 48_000, (0.0, 1.0)),
    # The encoder's delay stays in files that do not contain its length.
    Case("leading_zeros.mp3", "mp3", "mp3", 2, 193_536, (0.0, 1.9), (2.2, 4.0), (2.2, 4.0)),
    Case("raw_adts.aac", "aac", "aac", 2, 193_536, (0.0, 1.9), (2.2, 4.0), (2.2, 4.0)),
    Case("adpcm_ms.wav", "wav", "adpcm_ms", 2, 192_000, (0.0, 1.9), (2.1, 4.0), (2.1, 4.0)),
    Case("gsm610.wav", "wav", "gsm_ms", 1, 192_000, (0.0, 4.0)),
]  # fmt: skip


@pytest.fixture(autouse=True)
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in this process, except the files above: their tests are about the child processes."""
    if "case" not in request.fixturenames:
        read_in_process(monkeypatch)


def peak_in(samples: np.ndarray, span: tuple[float, float]) -> float:
    """Peak of one channel between two times in seconds."""
    first, last = (round(seconds * SAMPLE_RATE) for seconds in span)
    return float(np.abs(samples[first:last]).max())


def peak(audio: Audio, channel: int, span: tuple[float, float]) -> float:
    return peak_in(audio.samples[:, channel], span)


@pytest.mark.parametrize("case", FILES, ids=lambda case: case.name)
def test_each_recording_has_its_length_and_its_places(case: Case, tmp_path: Path) -> None:
    info = probe(CASES / case.name, limits=LIMITS)
    audio = decode(CASES / case.name, tmp_path / "raw", max_seconds=30.0)

    assert (info.container, info.codec, info.channels) == (
        case.container, case.codec, case.channels
    )  # fmt: skip
    assert round(info.seconds * SAMPLE_RATE) == case.samples
    assert len(audio.samples) == case.samples
    assert case.left is None or peak(audio, 0, case.left) > 0.1
    assert case.silent is None or peak(audio, 0, case.silent) < 0.002
    assert audio.partner_speaks == (case.right is not None) or case.name == "dtx_gap.webm"
    assert case.right is None or peak(audio, 1, case.right) > 0.1
    for warnings in (info.warnings, audio.warnings):
        assert tuple(warning.code for warning in warnings) == case.warnings
        assert all(warning.detail.endswith(".") for warning in warnings)


def test_speech_after_a_pause_without_packets_keeps_its_time(tmp_path: Path) -> None:
    """Both parts are the same recording: the second begins 5.5 s after the first."""
    samples = decode(CASES / "dtx_gap.webm", tmp_path / "raw", max_seconds=9.0).samples[:, 0]
    part = samples[288_000:336_000]
    source = Path(__file__).parents[3] / "examples" / "conversation.wav"
    whole = decode(source, tmp_path / "whole", max_seconds=12.0).samples[:, 0]

    assert offset_in(whole, part) == 288_000 - 24_000
    assert offset_in(whole, samples[:48_000]) == 240_000


def offset_in(whole: np.ndarray, part: np.ndarray) -> int:
    """Position of `part` in `whole`, by cross-correlation."""
    size = 2 * len(whole)
    spectrum = np.fft.rfft(whole, size) * np.conj(np.fft.rfft(part, size))
    return int(np.argmax(np.fft.irfft(spectrum, size)[: len(whole)]))


# (file, options, container, codec, samples that the file holds beyond the two seconds)
ENCODINGS = [
    ("ima.wav", ("-c:a", "adpcm_ima_wav"), "wav", "adpcm_ima_wav", 0),
    ("g722.wav", ("-c:a", "g722", "-ar", "16000"), "wav", "g722", 0),
    ("mp3.wav", ("-c:a", "libmp3lame"), "wav", "mp3", 1105),
    ("alaw.wav", ("-c:a", "pcm_alaw", "-ar", "8000"), "wav", "pcm_alaw", 0),
    ("clip.w64", (), "w64", "pcm_s16le", 0),
    ("clip.aiff", (), "aiff", "pcm_s16be", 0),
    ("pcm.caf", ("-c:a", "pcm_s16le"), "caf", "pcm_s16le", 0),
    ("alac.caf", ("-c:a", "alac", "-ar", "44100"), "caf", "alac", 0),
    ("ima.caf", ("-c:a", "adpcm_ima_qt"), "caf", "adpcm_ima_qt", 0),
    ("be.mov", ("-c:a", "pcm_s16be"), "m4a", "pcm_s16be", 0),
    ("s24.mov", ("-c:a", "pcm_s24le"), "m4a", "pcm_s24le", 0),
    ("opus.mp4", ("-c:a", "libopus"), "m4a", "opus", 0),
    ("aac44.m4a", ("-c:a", "aac", "-ar", "44100"), "m4a", "aac", 0),
    ("amr.3gp", ("-c:a", "libopencore_amrnb", "-ar", "8000"), "m4a", "amrnb", 0),
    ("clip.amr", ("-c:a", "libopencore_amrnb", "-ar", "8000"), "amr", "amrnb", 960),
    ("wma2.wma", ("-c:a", "wmav2"), "wma", "wmav2", 256),
    ("wma1.wma", ("-c:a", "wmav1"), "wma", "wmav1", 256),
    ("aac.mkv", ("-c:a", "aac"), "webm", "aac", 0),
    ("pcm.mkv", ("-c:a", "pcm_s16le"), "webm", "pcm_s16le", 0),
    ("mp3.mkv", ("-c:a", "libmp3lame"), "webm", "mp3", 0),
    ("flac.mkv", ("-c:a", "flac"), "webm", "flac", 0),
    ("vorbis.webm", ("-c:a", "libvorbis", "-ar", "44100"), "webm", "vorbis", 0),
    ("lame.mp3", ("-c:a", "libmp3lame", "-ar", "44100"), "mp3", "mp3", 0),
    ("clip.aac", (), "aac", "aac", 1280),
]


@pytest.mark.parametrize(("name", "options", "container", "codec", "padding"), ENCODINGS)
def test_formats_of_phones_recorders_and_editors_are_read(
    name: str, options: tuple[str, ...], container: str, codec: str, padding: int, tmp_path: Path
) -> None:
    encoded(tmp_path / name, NOISE, 2.0, "-ac", "1", *options)

    info = probe(tmp_path / name, limits=LIMITS)
    samples, warnings = decoded(tmp_path / name)

    assert (info.container, info.codec, info.channels) == (container, codec, 1)
    assert len(samples) == round(info.seconds * SAMPLE_RATE) == 96_000 + padding
    assert (info.warnings, warnings) == ((), [])


def test_every_format_has_a_content_type() -> None:
    assert {f".{kind}" for kind in CONTAINERS} <= CONTENT_TYPES.keys()


def ffmpeg(*arguments: str | Path) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True)


def read(path: Path, folder: Path) -> tuple[ClipInfo, Audio]:
    """Probe and decode a file; both must agree on its length."""
    info = probe(path, limits=LIMITS)
    audio = decode(path, folder / "raw", max_seconds=30.0)
    assert len(audio.samples) == round(info.seconds * SAMPLE_RATE)
    return info, audio


def codes(audio: Audio) -> list[str]:
    return [warning.code for warning in audio.warnings]


def test_the_audio_of_a_video_is_read(tmp_path: Path) -> None:
    picture = ("-f", "lavfi", "-i", "testsrc=s=64x64:r=10:d=2", "-f", "lavfi", "-i", NOISE)
    for name, options in {"a.mp4": (), "a.mov": (), "a.mkv": ("-c:a", "libopus")}.items():
        ffmpeg(*picture, "-pix_fmt", "yuv420p", "-c:v", "libx264", *options, tmp_path / name)

        assert len(read(tmp_path / name, tmp_path)[1].samples) == 96_000, name


def test_an_edit_list_removes_delay_and_padding_of_a_late_track(tmp_path: Path) -> None:
    """An empty edit of 1.5 s, then the media from tick 1024 on, as editors write it."""
    ffmpeg("-itsoffset", "1.5", "-f", "lavfi", "-i", NOISE, tmp_path / "a.m4a")
    content = bytearray((tmp_path / "a.m4a").read_bytes())
    edits = content.index(b"elst") + 12
    content[edits : edits + 24] = struct.pack(">IiiIii", 72_000, -1, 1 << 16, 96_000, 1024, 1 << 16)
    (tmp_path / "a.m4a").write_bytes(content)

    audio = read(tmp_path / "a.m4a", tmp_path)[1]

    assert len(audio.samples) == 168_000
    assert np.flatnonzero(audio.samples[:, 0])[0] == pytest.approx(72_000, abs=2)


@pytest.mark.parametrize("name", ["a.m4a", "a.mov", "a.mkv", "a.ogg", "a.wma"])
def test_a_late_start_is_silence(name: str, tmp_path: Path) -> None:
    ffmpeg("-itsoffset", "1.5", "-f", "lavfi", "-i", NOISE, tmp_path / name)

    audio = read(tmp_path / name, tmp_path)[1]

    assert len(audio.samples) == pytest.approx(168_000, abs=2100)  # wma pads to whole packets
    assert peak(audio, 0, (0.0, 1.4)) < 0.01  # the codec spreads the start
    assert peak(audio, 0, (1.5, 1.6)) > 0.1


def decoded(path: Path) -> tuple[np.ndarray, list[str]]:
    """Read a file in this process: its samples [n, 2] and the codes of its warnings."""
    reader = ClipReader(path, MediaLimits(min_seconds=0.0))
    samples = np.frombuffer(b"".join(reader.stereo()), np.float32).reshape(-1, 2)
    return samples, [warning.code for warning in reader.warnings]


@pytest.mark.parametrize(
    ("kind", "codec"),
    [
        ("wav", "pcm_s16le"), ("w64", "pcm_s16le"), ("aiff", "pcm_s16be"), ("caf", "alac"),
        ("flac", "flac"), ("mp3", "libmp3lame"), ("aac", "aac"), ("m4a", "aac"), ("wma", "wmav2"),
        ("ogg", "libvorbis"), ("webm", "libopus"), ("mkv", "flac"),
    ],
)  # fmt: skip
def test_joined_recordings_of_other_rates_and_channels_follow_each_other(
    kind: str, codec: str, tmp_path: Path
) -> None:
    mono, stereo, both = (tmp_path / f"{part}.{kind}" for part in ("mono", "stereo", "both"))
    encoded(mono, NOISE, 0.5, "-c:a", codec, "-ac", "1", "-ar", "24000")
    encoded(stereo, NOISE, 0.5, "-c:a", codec, "-ac", "2", "-ar", "48000")
    both.write_bytes(mono.read_bytes() + stereo.read_bytes() + mono.read_bytes())
    first, second = (len(decoded(part)[0]) for part in (mono, stereo))
    assert kind in ("aac", "wma") or (first, second) == (24_000, 24_000)

    samples, warnings = decoded(both)

    # Raw AAC has no header where the rate changes, so the resampler starts at a rounded sample.
    assert abs(len(samples) - (2 * first + second)) <= (600 if kind == "aac" else 0)
    assert warnings == []
    middle = slice(first + 4000, first + second - 4000)
    assert np.abs(samples[middle, 1]).max() > 0.1
    assert not samples[: first - 1200, 1].any()
    assert not samples[first + second + 1200 :, 1].any()


def test_a_tag_between_joined_files_is_not_audio(tmp_path: Path) -> None:
    flac = encoded(tmp_path / "a.flac", NOISE, 0.5)
    mp3 = encoded(tmp_path / "a.mp3", NOISE, 0.5, "-id3v2_version", "0", "-write_id3v1", "1")
    tag = b"ID3\4\0\0\0\0\0\x20" + bytes(32)
    for name, content in {"b.flac": flac, "b.mp3": mp3}.items():
        (tmp_path / name).write_bytes(tag + tag + content + tag + content)

        samples, warnings = decoded(tmp_path / name)

        assert (len(samples), warnings) == (48_000, []), name


def test_junk_before_the_first_frame_is_skipped(tmp_path: Path) -> None:
    for name in ("clip.mp3", "clip.aac"):
        content = encoded(tmp_path / name, NOISE, 1.0)
        plain = len(decoded(tmp_path / name)[0])
        for junk in (bytes(5000), b"junk" * 400, content[-150:], b"ID3\4\0\0\0\0\0\0" + bytes(99)):
            (tmp_path / "junk").write_bytes(junk + content)
            assert probe(tmp_path / "junk", limits=LIMITS).container == name[-3:]
            assert len(decoded(tmp_path / "junk")[0]) == pytest.approx(plain, abs=3000)


def test_samples_that_look_like_frames_of_mp3_are_not_mp3(tmp_path: Path) -> None:
    source = Path(__file__).parents[3] / "examples" / "conversation.wav"
    ffmpeg("-t", "6", "-i", source, tmp_path / "a.au")

    with pytest.raises(MediaError) as caught:
        decoded(tmp_path / "a.au")
    assert caught.value.code == "audio_type_unsupported"


CUT = ["a.wav", "a.w64", "a.aiff", "a.caf", "a.flac", "a.mp3", "a.mkv", "a.opus", "a.aac"]


@pytest.mark.parametrize("name", CUT)
def test_a_cut_off_file_has_a_warning(name: str, tmp_path: Path) -> None:
    content = encoded(tmp_path / name, NOISE, 2.0)
    (tmp_path / name).write_bytes(content[: len(content) * 7 // 10])

    info, audio = read(tmp_path / name, tmp_path)

    assert 0.8 < info.seconds < 1.7
    assert [warning.code for warning in info.warnings] == ["audio_cut_off"]
    assert codes(audio) == ["audio_cut_off"]


@pytest.mark.parametrize("name", ["a.caf", "a.w64", "a.wav"])
def test_sizes_that_no_file_can_have_end_no_search(name: str, tmp_path: Path) -> None:
    content = encoded(tmp_path / name, NOISE, 1.0)
    at = content.index(b"data")
    for size in (b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\xff" * 7 + b"\x7f", b"\x80" + bytes(7)):
        (tmp_path / name).write_bytes(content[: at + 4] + size + content[at + 4 :])
        try:
            decoded(tmp_path / name)
        except MediaError as error:
            assert error.code in ("audio_damaged", "audio_empty")


def test_a_box_that_no_file_can_hold_ends_a_movie(tmp_path: Path) -> None:
    content = encoded(tmp_path / "a.m4a", NOISE, 0.5)
    (tmp_path / "a.m4a").write_bytes(content + struct.pack(">I4sQ", 1, b"free", 1 << 62))

    assert len(decoded(tmp_path / "a.m4a")[0]) == 24_000


def test_damaged_packets_are_skipped_with_a_warning(tmp_path: Path) -> None:
    content = bytearray(encoded(tmp_path / "a.m4a", NOISE, 2.0))
    middle = len(content) // 2
    content[middle : middle + 400] = b"\xff" * 400
    (tmp_path / "a.m4a").write_bytes(content)

    info, _ = read(tmp_path / "a.m4a", tmp_path)

    assert info.seconds == 2.0
    assert [warning.code for warning in info.warnings] == ["audio_packets_damaged"]


def two_files(folder: Path, left: float, right: float) -> tuple[Path, Path]:
    encoded(folder / "left.wav", NOISE, left, "-ac", "1")
    encoded(folder / "right.mp3", "sine=f=200:r=44100", right, "-ac", "1")
    return folder / "left.wav", folder / "right.mp3"


def test_two_mono_tracks_of_other_lengths_are_person_and_partner(tmp_path: Path) -> None:
    left, right = two_files(tmp_path, 2.0, 0.5)
    ffmpeg("-i", left, "-i", right, "-map", "0", "-map", "1", "-c:a", "flac", tmp_path / "a.mkv")

    info, audio = read(tmp_path / "a.mkv", tmp_path)

    assert (info.channels, len(audio.samples)) == (2, 96_000)
    assert codes(audio) == ["second_track_is_partner"]
    assert peak(audio, 1, (0.1, 0.4)) > 0.1
    assert peak(audio, 1, (0.6, 2.0)) == 0


@pytest.mark.parametrize(
    ("maps", "channels", "message"),
    [
        (3, "1", "the file has 3 audio tracks; send one track, or two mono tracks"),
        (2, "2", "two audio tracks, one of them with 2 channels; send two mono tracks"),
    ],
)
def test_other_tracks_are_refused_with_what_to_send(
    maps: int, channels: str, message: str, tmp_path: Path
) -> None:
    tracks = ["-map", "0"] * maps
    ffmpeg("-f", "lavfi", "-i", NOISE, *tracks, "-ac", channels, tmp_path / "a.mkv")

    for reading in (
        lambda: probe(tmp_path / "a.mkv", limits=LIMITS),
        lambda: decode(tmp_path / "a.mkv", tmp_path / "raw", max_seconds=3.0),
    ):
        with pytest.raises(MediaError, match=message) as caught:
            reading()
        assert caught.value.code == "audio_channels"


def test_a_second_file_is_the_partner(tmp_path: Path) -> None:
    left, right = two_files(tmp_path, 2.0, 1.5)

    audio = decode(left, tmp_path / "raw", max_seconds=3.0, partner=right)
    swapped = decode(
        left, tmp_path / "raw2", max_seconds=3.0, partner=right, person_channel="right"
    )

    assert len(audio.samples) == 96_000
    assert audio.partner_speaks
    assert peak(audio, 1, (0.1, 1.4)) > 0.1
    assert peak(audio, 1, (1.55, 2.0)) == 0
    assert audio.warnings == ()
    np.testing.assert_array_equal(swapped.samples, audio.samples[:, ::-1])


def test_a_second_file_of_another_length_has_a_warning(tmp_path: Path) -> None:
    left, right = two_files(tmp_path, 0.5, 2.0)

    audio = decode(left, tmp_path / "raw", max_seconds=3.0, partner=right)

    assert len(audio.samples) == 96_000
    assert codes(audio) == ["lengths_differ"]
    assert "The file in audio is 1.50 s shorter" in audio.warnings[0].detail


def test_a_second_file_needs_mono_files(tmp_path: Path) -> None:
    left, right = two_files(tmp_path, 1.0, 1.0)
    encoded(tmp_path / "both.wav", NOISE, 1.0, "-ac", "2")

    for clip, partner, named in (
        (tmp_path / "both.wav", right, "audio has 2 channels and partner 1 channel"),
        (left, tmp_path / "both.wav", "audio has 1 channel and partner 2 channels"),
    ):
        with pytest.raises(MediaError, match=f"{named}; send two mono files"):
            decode(clip, tmp_path / "raw", max_seconds=3.0, partner=partner)


def test_the_person_may_be_the_right_channel(tmp_path: Path) -> None:
    clip = CASES / "two_tracks.m4a"

    usual = decode(clip, tmp_path / "raw", max_seconds=5.0)
    swapped = decode(clip, tmp_path / "raw2", max_seconds=5.0, person_channel="right")

    np.testing.assert_array_equal(swapped.samples, usual.samples[:, ::-1])
    with pytest.raises(MediaError, match="has 1 channel and person_channel is right"):
        decode(CASES / "id3.flac", tmp_path / "raw", max_seconds=5.0, person_channel="right")


def loudness(path: Path, expression: str) -> Path:
    """Write two seconds of stereo by formulas of ffmpeg for left and right."""
    encoded(path, f"aevalsrc={expression}:s=48000:d=2", 2.0, "-c:a", "pcm_s16le")
    return path


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0.3*sin(1400*t)|0.3*sin(900*t)", []),
        ("sin(1400*t)|0.3*sin(900*t)", []),
        ("3*sin(1400*t)|0.3*sin(900*t)", ["audio_clipped"]),
        ("0|0.3*sin(900*t)", ["left_channel_silent"]),
        ("0.3*sin(900*t)|0.3*sin(900*t)", ["channels_identical"]),
        ("0.2+0.3*sin(1400*t)|0.3*sin(900*t)", ["dc_offset_removed"]),
        ("0.005+0.3*sin(1400*t)|0.3*sin(900*t)", []),
    ],
)
def test_faults_of_a_recording_are_warnings(
    expression: str, expected: list[str], tmp_path: Path
) -> None:
    audio = decode(loudness(tmp_path / "a.wav", expression), tmp_path / "raw", max_seconds=3.0)

    assert codes(audio) == expected


def test_a_constant_offset_is_removed_except_in_silence(tmp_path: Path) -> None:
    clip = loudness(tmp_path / "a.wav", "if(lt(t\\,1.5)\\,0.2+0.3*sin(1400*t)\\,0)|0")

    audio = decode(clip, tmp_path / "raw", max_seconds=3.0)

    assert abs(float(audio.samples[:72_000, 0].mean())) < 0.001
    assert not audio.samples[72_100:].any()
    assert "0.200" in audio.warnings[0].detail


def test_a_limit_is_inclusive_and_counted_in_samples(tmp_path: Path) -> None:
    limits = MediaLimits(max_seconds=2.0)
    encoded(tmp_path / "a.wav", NOISE, 2.0, "-ar", "44100")
    encoded(tmp_path / "b.wav", "anullsrc=r=48000", 2.0 + 1 / 48_000)

    assert probe(tmp_path / "a.wav", limits=limits).seconds == 2.0
    with pytest.raises(MediaError, match="limit is 2 s"):
        probe(tmp_path / "b.wav", limits=limits)
