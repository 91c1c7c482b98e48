"""Table of the first second of a live video, with a tiny person; no time is asserted."""

import json
import wave
from argparse import Namespace
from pathlib import Path

from bench.__main__ import parser
from bench.latency.first_second import choices, decoded_frames, measure, repeated, table
from bench.timing import as_json
from tests.audio_clips import write_clip
from tests.tiny_person import write_tiny_person


def arguments(people: Path, clip: Path, seconds: str) -> Namespace:
    options = ["--people", str(people), "--clip", str(clip), "--seconds", seconds]
    return parser().parse_args(["first-second", *options, "--size", "64x64", "--repeats", "1"])


def test_the_first_pieces_of_a_live_video_are_a_second_of_pictures(tmp_path: Path) -> None:
    write_tiny_person(tmp_path / "people", max_seconds=60.0)
    clip = write_clip(tmp_path / "tone.wav", seconds=5)

    report = measure(arguments(tmp_path / "people", clip, "24"))

    assert [(row.choice, row.person) for row in report.rows] == [
        ("draft", "cold"), ("draft", "warm"), ("standard", "cold"), ("standard", "warm"),
    ]  # fmt: skip
    assert all(30 <= row.frames < 24 * 30 for row in report.rows)
    assert all(0 < row.first_piece < row.wall and row.cpu > 0 for row in report.rows)
    assert "| draft | warm |" in table(report)
    assert json.loads(as_json(report))["rows"][0]["choice"] == "draft"


def test_incomplete_bytes_are_no_frames() -> None:
    assert decoded_frames(b"") == decoded_frames(b"\0\0\0\x08moof") == 0


def test_a_person_without_a_student_is_measured_without(tmp_path: Path) -> None:
    assert list(choices(write_tiny_person(tmp_path))) == ["draft", "standard"]


def test_a_short_recording_is_repeated(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "tone.wav", seconds=1)
    with wave.open(str(repeated(clip, tmp_path / "long.wav", 2.5))) as file:
        assert file.getnframes() == round(2.5 * file.getframerate())
