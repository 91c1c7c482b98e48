"""Audio probe: accepted formats, limits, and errors of invalid files."""

import json
import struct
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from jobs.model import JobWarning
from jobs.sandbox.audio_formats import MediaError, MediaLimits
from jobs.sandbox.audio_probe import inspect_clip, probe
from tests.audio_clips import write_clip

LIMITS = MediaLimits(max_seconds=5.0)


def header_without_audio(path: Path) -> Path:
    body = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 2, 48_000, 192_000, 4, 16)
    body += b"data" + struct.pack("<I", 0)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def with_noise_for_a_body(path: Path, *, after: int) -> Path:
    content = write_clip(path).read_bytes()
    noise = bytes((37 * i * i + 11 * i) % 251 for i in range(len(content) - after))
    path.write_bytes(content[:after] + noise)
    return path


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("suffix", "container", "codec"),
    [
        ("wav", "wav", "pcm_s16le"),
        ("flac", "flac", "flac"),
        ("mp3", "mp3", "mp3"),
        ("ogg", "ogg", "vorbis"),
        ("opus", "ogg", "opus"),
        ("m4a", "m4a", "aac"),
        ("webm", "webm", "opus"),
    ],
)
def test_every_documented_format_is_read(
    tmp_path: Path, suffix: str, container: str, codec: str, channels: int
) -> None:
    path = write_clip(tmp_path / f"clip.{suffix}", seconds=1.5, channels=channels)

    info = inspect_clip(path, LIMITS)

    assert (info.container, info.codec, info.channels) == (container, codec, channels)
    assert info.seconds == pytest.approx(1.5, abs=0.06)


def test_warnings_come_from_the_child_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warning = JobWarning("audio_cut_off", "The file is cut off.")
    info = replace(inspect_clip(write_clip(tmp_path / "clip.wav"), LIMITS), warnings=(warning,))
    answer = json.dumps(asdict(info)).encode()
    monkeypatch.setattr("jobs.sandbox.audio_probe._output", lambda command, timeout: answer)

    assert probe(tmp_path / "clip.wav", limits=LIMITS) == info


def test_the_file_name_has_no_effect(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.flac").rename(tmp_path / "playlist.m3u8")

    assert inspect_clip(path, LIMITS).container == "flac"


def test_a_relative_path_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "clip.wav")
    monkeypatch.chdir(tmp_path)

    assert probe(Path("clip.wav"), limits=LIMITS).container == "wav"


@pytest.mark.parametrize("kind", ["m4a", "wav"])
def test_the_length_is_measured_and_not_read_from_the_header(tmp_path: Path, kind: str) -> None:
    content = bytearray(write_clip(tmp_path / f"clip.{kind}", seconds=1.0).read_bytes())
    if kind == "wav":
        at = content.index(b"data") + 4
        content[at : at + 4] = struct.pack("<I", 2**31)
    else:  # the duration in the movie header
        at = content.index(b"mvhd") + 20
        content[at : at + 4] = struct.pack(">I", 2**31 - 1)
    path = tmp_path / "liar"
    path.write_bytes(content)

    assert inspect_clip(path, LIMITS).seconds == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
def test_a_truncated_recording_has_the_length_of_its_audio(tmp_path: Path, suffix: str) -> None:
    path = write_clip(tmp_path / f"clip.{suffix}", seconds=4.0)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])

    seconds = inspect_clip(path, LIMITS).seconds
    assert 0.9 < seconds < 2.6  # Ogg loses its last page, which is a second of audio


def invalid_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Return invalid files with the expected error codes: {description: (file, code)}."""

    def raw(name: str, content: bytes) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    concat = b"ffconcat version 1.0\nfile /etc/passwd\n"
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n"
    whole = write_clip(folder / "whole.m4a").read_bytes()
    return {
        "an empty file": (raw("empty.wav", b""), "audio_empty"),
        "a header without audio": (header_without_audio(folder / "head.wav"), "audio_empty"),
        "a text named wav": (raw("text.wav", b"dear diary, " * 50), "audio_type_unsupported"),
        "garbage": (raw("noise.mp3", bytes(range(7, 256)) * 40), "audio_type_unsupported"),
        "a concat script": (raw("concat.wav", concat), "audio_type_unsupported"),
        "a playlist": (raw("list.wav", playlist), "audio_type_unsupported"),
        "a concat script behind a wav's first bytes": (
            raw("riff.wav", b"RIFF\0\0\0\0WAVE" + concat),
            "audio_damaged",
        ),
        "a flac header before noise": (
            with_noise_for_a_body(folder / "noise.flac", after=200),
            "audio_empty",
        ),
        "an m4a without its index": (raw("half.m4a", whole[: len(whole) // 2]), "audio_damaged"),
        "three channels": (write_clip(folder / "three.wav", channels=3), "audio_channels"),
        "a very low rate": (write_clip(folder / "low.wav", rate=2_000), "audio_sample_rate"),
        "a very high rate": (write_clip(folder / "high.wav", rate=384_000), "audio_sample_rate"),
        "too short": (write_clip(folder / "short.wav", seconds=0.05), "clip_too_short"),
        "too long": (write_clip(folder / "long.flac", seconds=6.0), "clip_too_long"),
    }


def test_invalid_clips_are_rejected_with_a_code_and_a_sentence(tmp_path: Path) -> None:
    for name, (path, code) in invalid_files(tmp_path).items():
        with pytest.raises(MediaError) as caught:
            inspect_clip(path, LIMITS)
        assert caught.value.code == code, name
        assert len(caught.value.detail) > 20, name


def test_the_error_for_a_long_clip_contains_length_and_limit(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "long.wav", seconds=6.25)

    with pytest.raises(MediaError, match=r"the clip is 6\.25 s, and the limit is 5 s"):
        inspect_clip(path, LIMITS)


def test_a_wav_with_an_unsupported_codec_is_rejected(tmp_path: Path) -> None:
    content = bytearray(write_clip(tmp_path / "clip.wav").read_bytes())
    at = content.index(b"fmt ") + 8
    content[at : at + 2] = struct.pack("<H", 0x0270)  # ATRAC3
    path = tmp_path / "atrac.wav"
    path.write_bytes(content)

    with pytest.raises(MediaError) as caught:
        inspect_clip(path, LIMITS)

    assert caught.value.code == "audio_type_unsupported"
    assert "atrac3" in caught.value.detail


def test_the_probe_returns_the_result_of_its_child_process(tmp_path: Path) -> None:
    good = write_clip(tmp_path / "clip.webm", seconds=1.0)
    bad = tmp_path / "text.wav"
    bad.write_text("text without any audio")

    assert probe(good, limits=LIMITS).codec == "opus"
    with pytest.raises(MediaError, match="no supported audio format"):
        probe(bad, limits=LIMITS)


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not limit address space")
def test_a_file_that_needs_too_much_memory_is_rejected(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.flac")

    with pytest.raises(MediaError) as caught:
        probe(path, limits=replace(LIMITS, memory_bytes=40 << 20))

    assert caught.value.code == "audio_unreadable"


def test_a_child_process_that_takes_too_long_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo = tmp_path / "clip.wav"
    subprocess.run(["mkfifo", str(fifo)], check=True)  # opening it blocks, because it has no writer
    monkeypatch.setattr("jobs.sandbox.audio_probe.GRACE_SECONDS", 0.3)
    began = time.monotonic()

    with pytest.raises(MediaError) as caught:
        probe(fifo, limits=replace(LIMITS, wall_seconds=0.2))

    assert caught.value.code == "audio_unreadable"
    assert time.monotonic() - began < 5


def test_a_limited_child_process_cannot_write_a_file(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom jobs.sandbox.rlimits import apply_limits\napply_limits({'FSIZE': 0})\n"
        f"file = open({str(tmp_path / 'out')!r}, 'wb', buffering=0)\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "try: file.write(b'x')\nexcept OSError: sys.exit(7)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path.cwd())

    assert done.returncode == 7


def test_probing_imports_no_web_framework_and_no_torch() -> None:
    code = (
        "import sys, jobs.sandbox.audio_probe\n"
        "heavy = {'torch', 'numpy', 'fastapi', 'sqlalchemy', 'celery', 'pydantic'}\n"
        "sys.exit(','.join(heavy & set(sys.modules)) or None)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
