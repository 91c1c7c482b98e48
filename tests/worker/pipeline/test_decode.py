"""Every clip that is accepted becomes 48 kHz, two channels, unmixed and of the right length."""

from pathlib import Path

import av
import numpy as np
import pytest

from jobs.sandbox.audio_probe import MediaError
from tests.audio_clips import write_clip
from tests.malicious_files import Attack
from tests.worker.toys import stuck_ffmpeg
from worker.pipeline.decode import SAMPLE_RATE, decode
from worker.pipeline.ffmpeg import FfmpegError


def write_wav(path: Path, samples: np.ndarray, *, rate: int = SAMPLE_RATE) -> Path:
    """[samples, channels] as float wav."""
    layout = {1: "mono", 2: "stereo"}[samples.shape[1]]
    with av.open(str(path), "w", format="wav") as container:
        stream = container.add_stream("pcm_f32le", rate=rate, layout=layout)
        interleaved = samples.astype(np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3", "ogg", "opus", "m4a", "webm"])
def test_every_accepted_format_is_decoded(tmp_path: Path, ending: str) -> None:
    clip = write_clip(tmp_path / f"clip.{ending}", seconds=0.5)

    sound = decode(clip, tmp_path / "raw", max_seconds=2)

    exact = {"wav": 0, "flac": 32}.get(ending, 3000)  # lossy ones may pad, by a packet or two
    assert abs(len(sound.samples) - 24_000) <= exact
    assert (sound.samples.shape[1], sound.samples.dtype) == (2, np.float32)
    assert np.abs(sound.samples[4800:9600]).max() == pytest.approx(8000 / 32768, rel=0.1)
    assert sound.partner_speaks


def test_the_channels_of_a_stereo_clip_are_kept_and_never_mixed(tmp_path: Path) -> None:
    given = np.random.default_rng(0).uniform(-1, 1, (4801, 2)).astype(np.float32)
    given[:, 1] *= 0.25

    sound = decode(write_wav(tmp_path / "c.wav", given), tmp_path / "raw", max_seconds=1)

    np.testing.assert_array_equal(sound.samples, given)


def test_a_mono_clip_is_the_person_alone_at_full_loudness(tmp_path: Path) -> None:
    given = np.random.default_rng(0).uniform(-1, 1, (4800, 1)).astype(np.float32)

    sound = decode(write_wav(tmp_path / "c.wav", given), tmp_path / "raw", max_seconds=1)

    np.testing.assert_array_equal(sound.samples[:, :1], given)
    assert not sound.samples[:, 1].any()
    assert not sound.partner_speaks


def test_numbers_that_are_no_sound_are_made_sound(tmp_path: Path) -> None:
    given = np.full((4800, 2), 3.0, np.float32)
    given[0], given[1], given[2] = np.nan, np.inf, -np.inf

    sound = decode(write_wav(tmp_path / "c.wav", given), tmp_path / "raw", max_seconds=1)

    assert sound.samples[:4, 0].tolist() == [0.0, 1.0, -1.0, 1.0]


def test_a_tenth_of_a_second_is_a_clip(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.wav", seconds=0.1)

    assert len(decode(clip, tmp_path / "raw", max_seconds=1).samples) == 4800


def test_other_sample_rates_keep_the_length(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.wav", seconds=1.0, rate=8000)

    sound = decode(clip, tmp_path / "raw", max_seconds=2)

    assert abs(len(sound.samples) - 48_000) <= 64
    assert sound.seconds == pytest.approx(1.0, abs=0.002)


def test_no_more_is_decoded_than_is_allowed(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.wav", seconds=1.0)

    assert len(decode(clip, tmp_path / "raw", max_seconds=0.25).samples) == 12_000


def test_a_gap_in_the_timestamps_costs_no_sound(
    tmp_path: Path, malicious_files: dict[str, Attack]
) -> None:
    half_a_second = malicious_files["ticks of 16 ms in webm"][0]
    (tmp_path / "clip").write_bytes(half_a_second)

    sound = decode(tmp_path / "clip", tmp_path / "raw", max_seconds=0.6)

    assert sound.seconds == pytest.approx(0.5, abs=0.02)


def broken_flac(tmp_path: Path) -> bytes:
    return b"fLaC" + bytes(2000)


def empty_wav(tmp_path: Path) -> bytes:
    return write_clip(tmp_path / "whole.wav").read_bytes()[:44]


def playlist(tmp_path: Path) -> bytes:
    return b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n"


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (broken_flac, "audio_damaged"),
        (empty_wav, "audio_"),
        (playlist, "audio_type_unsupported"),
    ],
)
def test_a_file_that_is_no_clip_is_the_callers_fault(
    tmp_path: Path, make: object, code: str
) -> None:
    clip = tmp_path / "clip"
    clip.write_bytes(make(tmp_path))

    with pytest.raises(MediaError) as caught:
        decode(clip, tmp_path / "raw", max_seconds=1)

    assert caught.value.code.startswith(code)
    assert len(caught.value.detail) > 20


def test_a_name_is_never_read_as_an_option_or_an_address(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.wav", seconds=0.1).rename(tmp_path / "http:%d-i -y.wav")

    assert len(decode(clip, tmp_path / "raw", max_seconds=1).samples) == 4800


def test_a_decoder_that_does_not_come_to_an_end_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_clip(tmp_path / "clip.wav")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(stuck_ffmpeg(tmp_path)))

    with pytest.raises(MediaError, match="in the time") as caught:
        decode(clip, tmp_path / "raw", max_seconds=3, wall_seconds=0.1)

    assert caught.value.code == "audio_unreadable"


def test_whoever_cancels_does_not_wait_for_all_of_a_long_clip(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.wav", seconds=20.0)
    told: list[float] = []

    def cancel_half_way(share: float) -> None:
        told.append(share)
        if share > 0.5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        decode(clip, tmp_path / "raw", max_seconds=20.0, progress=cancel_half_way)

    assert told == sorted(told)
    assert len(told) > 50
    assert (tmp_path / "raw").stat().st_size < 20.0 * SAMPLE_RATE * 8


def test_a_decoder_that_is_killed_is_no_fault_of_the_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "killed-ffmpeg"
    program.write_text("#!/bin/sh\nkill -9 $$\n")
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    clip = write_clip(tmp_path / "clip.wav", seconds=0.5)

    with pytest.raises(FfmpegError) as killed:
        decode(clip, tmp_path / "raw", max_seconds=1.0)

    assert killed.value.status == -9
    assert killed.value.__cause__ is None
