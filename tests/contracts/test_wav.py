"""WAV headers of many programs: clips and scenes have the same samples, or one sentence."""

import struct
from pathlib import Path

import numpy as np
import pytest

from contracts.wav import STREAMED, float_header, read_wav_header
from jobs.sandbox.audio_formats import MediaError, MediaLimits
from jobs.sandbox.audio_probe import write_audio
from models.formats.wav import WavError, open_wav

SAMPLES = np.random.default_rng(0).integers(-(2**14), 2**14, (4800, 2)).astype("<i2")
S16, SIZE = SAMPLES.tobytes(), SAMPLES.nbytes
S24 = (SAMPLES.astype("<i4") << 8).view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
S32 = (SAMPLES.astype("<i4") << 16).tobytes()
FLOATS = SAMPLES / np.float32(32768)
LIST = b"LIST" + struct.pack("<I", 4) + b"INFO"
UNKNOWN = 0xFFFF_FFFF


def fmt(tag: int, bits: int, *, valid: int = 0, channels: int = 2, rate: int = 48_000) -> bytes:
    """Return the chunk with the format; with `valid` bits in the extensible form."""
    block = channels * bits // 8
    chunk = struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, bits)
    if valid:
        guid = bytes.fromhex("000000001000800000aa00389b71")
        chunk = b"\xfe\xff" + chunk[2:] + struct.pack("<HHIH", 22, valid, 3, tag) + guid
    return b"fmt " + struct.pack("<I", len(chunk)) + chunk


def wav(
    content: bytes = S16,
    form: bytes = fmt(1, 16),
    *,
    size: int | None = None,
    name: bytes = b"RIFF",
) -> bytes:
    data = b"data" + struct.pack("<I", len(content) if size is None else size) + content
    return name + struct.pack("<I", 4 + len(form) + len(data)) + b"WAVE" + form + data


def rf64(size: int, *, field: int = UNKNOWN, name: bytes = b"RF64") -> bytes:
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, size, size, size // 4, 0)
    return wav(form=ds64 + fmt(1, 16), size=field, name=name)


WHOLE = {
    "16 bit": wav(),
    "24 bit": wav(S24, fmt(1, 24)),
    "32 bit": wav(S32, fmt(1, 32)),
    "floats": wav(FLOATS.astype("<f4").tobytes(), fmt(3, 32)),
    "doubles": wav(FLOATS.astype("<f8").tobytes(), fmt(3, 64)),
    "extensible": wav(S24, fmt(1, 24, valid=24)),
    "24 bit in 32": wav(S32, fmt(1, 32, valid=24)),
    "20 bit in 24": wav(S24, fmt(1, 24, valid=20)),
    "extensible floats": wav(FLOATS.astype("<f4").tobytes(), fmt(3, 32, valid=32)),
    "chunks around": wav(form=LIST + fmt(1, 16) + LIST) + LIST,
    "half a sample more": wav(S16 + b"\1\2\3"),
    "no size": wav(size=0),
    "the size of a pipe": wav(size=UNKNOWN),
    "another size of a pipe": wav(size=0x7FFF_FFFF),
    "the size of a pipe without the header": wav(size=UNKNOWN - 36),
    "RF64": rf64(SIZE),
    "BW64": rf64(SIZE, name=b"BW64"),
    "RF64 with a size of 32 bits": rf64(0, field=SIZE),
    "RF64 of a pipe": rf64(0),
    "RF64 of another pipe": rf64(2**64 - 1),
    "RIFF with ds64": rf64(5, field=SIZE, name=b"RIFF"),
}


def clip(path: Path) -> tuple[np.ndarray, list[str]]:
    """Read samples and warnings as API, worker and `generate` do."""
    with path.with_suffix(".raw").open("w+b") as file:
        info = write_audio(path, MediaLimits(min_seconds=0.0), file)
        file.seek(0)
        samples = np.frombuffer(file.read(), np.float32).reshape(-1, 2)
    assert round(info.seconds * 48_000) == len(samples)
    return samples, [warning.code for warning in info.warnings]


@pytest.mark.parametrize("content", WHOLE.values(), ids=WHOLE.keys())
def test_clips_and_scenes_have_the_same_samples(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(content)

    samples, warnings = clip(tmp_path / "a.wav")

    np.testing.assert_array_equal(samples, FLOATS)
    np.testing.assert_array_equal(open_wav(tmp_path / "a.wav").read(), FLOATS)
    assert warnings == []


@pytest.mark.parametrize(
    ("content", "samples", "warnings", "sentence"),
    [
        (wav()[:-5001], 3549, ["audio_cut_off"], "truncated, 14199 of 19200 bytes of audio; copy"),
        (rf64(SIZE)[:-5000], 3550, ["audio_cut_off"], "truncated, 14200 of 19200 bytes"),
        (wav(size=STREAMED - 4), 4800, ["audio_cut_off"], "truncated, 19200 of 2147418108 bytes"),
        (wav(size=SIZE - 400) + LIST, 4700, [], None),
        (wav() + wav()[36:], 4800, ["audio_cut_off"], "the samples are in several chunks; export"),
        (wav() + LIST + wav()[36:], 4800, ["audio_cut_off"], "the samples are in several chunks"),
        (wav() + wav(), 9600, [], "another WAV file is appended to it; convert it by"),
        (wav() + LIST + rf64(SIZE), 9600, [], "another WAV file is appended to it; convert it by"),
        (wav(bytes(SIZE // 2), fmt(1, 8)), 4800, [], "2 channels of 8 bit, format tag 1"),
        (wav(bytes(SIZE // 2), fmt(7, 8)), 4800, [], "2 channels of 8 bit, format tag 7"),
    ],
)
def test_defects_are_the_same_length_or_one_sentence(
    content: bytes, samples: int, warnings: list[str], sentence: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)

    read, found = clip(path)

    assert (len(read), found) == (samples, warnings)
    if sentence is None:
        assert len(open_wav(path)) == samples
    else:
        with pytest.raises(WavError, match=f"^{path}: .*{sentence}"):
            open_wav(path)


@pytest.mark.parametrize(
    ("content", "code", "sentence"),
    [
        (wav(b""), "audio_empty", None),
        (wav()[:30], "audio_damaged", "truncated or not a WAV file"),
        (wav(form=LIST * 2000), "audio_damaged", "more than 1000 chunks precede the samples"),
        (wav(form=b"fmt \4\0\0\0\1\0\2\0"), "audio_damaged", "the format of the samples is missi"),
        (wav(form=fmt(1, 0)), "audio_type_unsupported", "2 channels of 0 bit"),
        (wav(form=fmt(1, 16, channels=3)), "audio_channels", None),
        (wav(form=fmt(1, 16, rate=0)), "audio_sample_rate", None),
    ],
)
def test_files_without_audio_have_an_error(
    content: bytes, code: str, sentence: str | None, tmp_path: Path
) -> None:
    (tmp_path / "a.wav").write_bytes(content)

    with pytest.raises(MediaError) as caught:
        clip(tmp_path / "a.wav")
    assert caught.value.code == code
    if sentence is not None:
        with pytest.raises(WavError, match=sentence):
            open_wav(tmp_path / "a.wav")


@pytest.mark.parametrize("samples", [0, 1000, 2**29, 2**40])
def test_a_written_header_states_the_size_also_where_32_bits_are_too_few(
    samples: int, tmp_path: Path
) -> None:
    (tmp_path / "a.wav").write_bytes(float_header(2, 48_000, samples))

    with (tmp_path / "a.wav").open("rb") as file:
        header = read_wav_header(file)

    assert (header.pcm, header.rate, header.channels) == ("f32le", 48_000, 2)
    assert (header.stated, header.present) == (8 * samples, 0)
