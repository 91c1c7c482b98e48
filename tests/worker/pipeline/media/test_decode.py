"""Every accepted clip is decoded to 48 kHz and two unmixed channels of the right length."""

from pathlib import Path

import av
import numpy as np
import pytest

from jobs.sandbox.audio_formats import MediaError
from tests.audio_clips import write_clip
from tests.malicious_files import Attack
from tests.worker.fakes import stuck_ffmpeg, use_decoder
from worker.pipeline.media.decode import SAMPLE_RATE, decode
from worker.pipeline.media.ffmpeg import ChildError


def write_wav(path: Path, samples: np.ndarray, *, rate: int = SAMPLE_RATE) -> Path:
    """Write [samples, channels] as a wav of floats."""
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

    audio = decode(clip, tmp_path / "raw", max_seconds=2)

    exact = {"wav": 0, "flac": 32}.get(ending, 3000)  # lossy codecs may pad by a packet or two
    assert abs(len(audio.samples) - 24_000) <= exact
    assert (audio.samples.shape[1], audio.samples.dtype) == (2, np.float32)
    assert np.abs(audio.samples[4800:9600]).max() == pytest.approx(8000 / 32768, rel=0.1)
    assert audio.partner_speaks


def test_the_channels_of_a_stereo_clip_are_not_mixed(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (4801, 2)).astype(np.float32)
    samples[:, 1] *= 0.25

    audio = decode(write_wav(tmp_path / "c.wav", samples), tmp_path / "raw", max_seconds=1)

    np.testing.assert_array_equal(audio.samples, samples)


def test_a_mono_clip_is_the_person_alone_at_full_volume(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (4800, 1)).astype(np.float32)

    audio = decode(write_wav(tmp_path / "c.wav", samples), tmp_path / "raw", max_seconds=1)

    np.testing.assert_array_equal(audio.samples[:, :1], samples)
    assert not audio.samples[:, 1].any()
    assert not audio.partner_speaks


def test_invalid_samples_are_replaced(tmp_path: Path) -> None:
    samples = np.full((4800, 2), 3.0, np.float32)
    samples[0], samples[1], samples[2] = np.nan, np.inf, -np.inf

    audio = decode(write_wav(tmp_path / "c.wav", samples), tmp_path / "raw", max_seconds=1)

    assert audio.samples[:4, 0].tolist() == [0.0, 1.0, -1.0, 1.0]


def test_a_clip_of_a_tenth_of_a_second_is_decoded(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.wav", seconds=0.1)

    assert len(decode(clip, tmp_path / "raw", max_seconds=1).samples) == 4800


def test_a_clip_of_another_sample_rate_keeps_its_length(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.wav", seconds=1.0, rate=8000)

    audio = decode(clip, tmp_path / "raw", max_seconds=2)

    assert abs(len(audio.samples) - 48_000) <= 64
    assert audio.seconds == pytest.approx(1.0, abs=0.002)


def test_decoding_ends_at_the_longest_allowed_length(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.wav", seconds=1.0)

    assert len(decode(clip, tmp_path / "raw", max_seconds=0.25).samples) == 12_000


def test_gaps_in_the_timestamps_are_silent_up_to_the_longest_allowed_length(
    tmp_path: Path, malicious_files: dict[str, Attack]
) -> None:
    half_a_second_over_eight = malicious_files["ticks of 16 ms in webm"][0]
    (tmp_path / "clip").write_bytes(half_a_second_over_eight)

    audio = decode(tmp_path / "clip", tmp_path / "raw", max_seconds=3.0)

    assert audio.seconds == 3.0
    assert np.count_nonzero(audio.samples[:, 0]) == pytest.approx(3.0 / 16.8 * 48_000, rel=0.2)


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
def test_an_invalid_file_is_a_user_error(tmp_path: Path, make: object, code: str) -> None:
    clip = tmp_path / "clip"
    clip.write_bytes(make(tmp_path))

    with pytest.raises(MediaError) as caught:
        decode(clip, tmp_path / "raw", max_seconds=1)

    assert caught.value.code.startswith(code)
    assert len(caught.value.detail) > 20


def test_a_file_name_is_not_read_as_an_option_or_url(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.wav", seconds=0.1).rename(tmp_path / "http:%d-i -y.wav")

    assert len(decode(clip, tmp_path / "raw", max_seconds=1).samples) == 4800


def test_a_decoder_that_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_clip(tmp_path / "clip.wav")
    use_decoder(monkeypatch, stuck_ffmpeg(tmp_path))

    with pytest.raises(MediaError, match="within the time") as caught:
        decode(clip, tmp_path / "raw", max_seconds=3, wall_seconds=0.1)

    assert caught.value.code == "audio_unreadable"


def test_decoding_of_a_long_clip_can_be_canceled_early(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.wav", seconds=20.0)
    shares: list[float] = []

    def cancel_half_way(share: float) -> None:
        shares.append(share)
        if share > 0.5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        decode(clip, tmp_path / "raw", max_seconds=20.0, progress=cancel_half_way)

    assert shares == sorted(shares)
    assert len(shares) > 50
    assert (tmp_path / "raw").stat().st_size < 20.0 * SAMPLE_RATE * 8


def test_a_killed_decoder_is_not_a_user_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "killed-decoder"
    program.write_text("#!/bin/sh\nkill -9 $$\n")
    program.chmod(0o755)
    use_decoder(monkeypatch, program)
    clip = write_clip(tmp_path / "clip.wav", seconds=0.5)

    with pytest.raises(ChildError) as killed:
        decode(clip, tmp_path / "raw", max_seconds=1.0)

    assert killed.value.status == -9
    assert killed.value.__cause__ is None
