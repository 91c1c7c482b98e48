"""Watermark of a take: frames, audio, and the files that are written of them."""

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

from contracts.provenance import Origin
from jobs.request.model import GenerateRequest
from jobs.request.values import WatermarkRefused, check_watermark
from jobs.settings import Settings
from models.watermark.detect import detect
from worker.pipeline.media.decode import Audio
from worker.pipeline.media.encode import encode
from worker.pipeline.media.watermark import Watermark, watermark_of
from worker.pipeline.outputs.mp4 import CONTAINER

KEY = b"a key of the operator"
ORIGIN = Origin("digest of a request", "demo", "digest of a person")


def batches(count: int = 12, side: int = 192) -> Generator[np.ndarray, None, None]:
    """Yield smooth frames."""
    y, x = np.mgrid[:side, :side]
    shade = (80 + 60 * x / side + 20 * np.sin(y / 30)).astype(np.uint8)
    for _ in range(count // 4):
        yield np.repeat(np.repeat(shade[None, ..., None], 4, 0), 3, -1)


def sound(folder: Path, seconds: float = 2.0) -> Audio:
    count = int(48_000 * seconds)
    samples = np.random.default_rng(0).normal(0, 0.05, (count, 2)).astype(np.float32)
    path = folder / "sound.f32"
    samples.tofile(path)
    return Audio(path, samples, partner_speaks=True)


def test_a_video_is_found_by_picture_and_sound_and_leads_to_its_request(tmp_path: Path) -> None:
    mark, video = Watermark.of(KEY, ORIGIN), tmp_path / "video.mp4"
    audio = mark.audio(sound(tmp_path))
    encode(mark.frames(batches()), audio, video, container=CONTAINER)

    found = detect(video, [b"another key of somebody", KEY])

    assert found.found
    assert found.where == ("picture", "sound")
    assert found.id == mark.name
    assert found.certainty > 0.99999


def test_an_unmarked_video_and_another_key_are_not_found(tmp_path: Path) -> None:
    video = tmp_path / "video.mp4"
    encode(batches(), sound(tmp_path), video, container=CONTAINER)

    found = detect(video, [KEY])

    assert not found.found
    assert found.id is None
    assert found.certainty < 0.99999


def test_other_files_have_no_watermark(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no media")
    (tmp_path / "zip").write_bytes(b"PK\x03\x04 broken")

    assert not detect(tmp_path / "text", [KEY]).found
    assert not detect(tmp_path / "zip", [KEY]).found


def test_the_marked_audio_is_a_file_beside_the_audio_of_the_same_length(tmp_path: Path) -> None:
    audio = sound(tmp_path)
    marked = Watermark.of(KEY, ORIGIN).audio(audio)

    assert marked.path != audio.path
    assert marked.samples.shape == audio.samples.shape
    assert (marked.samples != audio.samples).any()
    assert marked.partner_speaks


def test_only_an_operator_who_allows_it_gets_unmarked_files(tmp_path: Path) -> None:
    without = GenerateRequest(watermark=False)
    settings = {name: Settings(data=tmp_path, watermark=name) for name in ("on", "optional", "off")}

    assert watermark_of(settings["on"], without, ORIGIN) is not None
    assert watermark_of(settings["optional"], without, ORIGIN) is None
    assert watermark_of(settings["optional"], GenerateRequest(), ORIGIN) is not None
    assert watermark_of(settings["off"], GenerateRequest(), ORIGIN) is None
    with pytest.raises(WatermarkRefused, match="watermark: this service marks all"):
        check_watermark(wanted=False, setting="on")
    check_watermark(wanted=False, setting="optional")


def test_the_key_is_made_once_for_its_owner_and_is_not_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "of-the-user"))
    settings = Settings(data=tmp_path)
    mark = watermark_of(settings, GenerateRequest(), ORIGIN)

    assert mark is not None
    assert mark == watermark_of(settings, GenerateRequest(), ORIGIN)
    assert (tmp_path / "watermark").stat().st_mode & 0o777 == 0o600
    assert settings.marking_keys() == [mark.key]
    assert mark.key.decode() not in f"{mark} {mark!r} {settings!r}"
