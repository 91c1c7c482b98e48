"""Recordings and results on S3 and in folders."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from contracts.errors import InputError
from jobs.storage.errors import ObjectMissing
from worker.bulk.locations import Destination, fetch, open_destination, stamp


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="calls")
        monkeypatch.setattr("worker.bulk.locations._client", lambda endpoint, region: client)
        yield client


@pytest.fixture(params=["folder", "s3"])
def destination(request: pytest.FixtureRequest, tmp_path: Path, bucket: Any) -> Destination:
    return open_destination(
        str(tmp_path / "results") if request.param == "folder" else "s3://calls/results/"
    )


def test_a_destination_stores_and_removes_files(destination: Destination, tmp_path: Path) -> None:
    made = destination.folder("items/a", tmp_path) / "take-1.mp4"
    made.write_text("video")

    destination.put("items/a/take-1.mp4", made)
    destination.write("items/a/result.json", b"{}")

    assert destination.size("items/a/take-1.mp4") == 5
    assert destination.read("items/a/result.json") == b"{}"
    assert destination.read("items/b/result.json") is None
    destination.remove(["items/a/take-1.mp4", "items/a/none"])
    assert destination.size("items/a/take-1.mp4") is None


def test_a_recording_is_downloaded_and_its_stamp_follows_its_content(
    bucket: Any, tmp_path: Path
) -> None:
    bucket.put_object(Bucket="calls", Key="day #1/ä%20.wav", Body=b"sound")
    place = "s3://calls/day #1/ä%20.wav"

    copy, before = fetch(place, tmp_path), stamp(place)
    bucket.put_object(Bucket="calls", Key="day #1/ä%20.wav", Body=b"other")

    assert (copy.read_bytes(), copy.suffix) == (b"sound", ".wav")
    assert before is not None and stamp(place) != before


@pytest.mark.parametrize("place", ["s3://calls/none.wav", "none.wav"])
def test_a_missing_recording_has_no_stamp(bucket: Any, tmp_path: Path, place: str) -> None:
    assert stamp(place) is None
    with pytest.raises(ObjectMissing):
        fetch(place, tmp_path)


@pytest.mark.parametrize("place", ["s3://", "s3://calls", "s3://calls/a.wav?endpoint=http://x"])
def test_an_invalid_url_is_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(InputError, match="invalid S3 URL"):
        fetch(place, tmp_path)
