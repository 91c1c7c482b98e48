"""Honest clients are answered beside hostile ones; `make hostile` does it at full size."""

import logging
from pathlib import Path

import pytest

from jobs.settings import Settings
from tests.api_server import serving, write_person
from tests.audio_clips import write_clip
from tests.hostile.load import Plan
from tests.hostile.run import hanging_server, keys, load, wrong_answers


def test_hostile_clients_cost_only_their_tenant(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{tmp_path}/visavis.db"
    hostile, honest = keys(url)
    settings = Settings(
        data=tmp_path / "data",
        database_url=url,
        people=write_person(tmp_path / "people"),
        access="keys",
        audio_urls=True,
        outbound_allow=("127.0.0.0/8",),
        audio_url_seconds=1.0,
        uploads_at_once=8,
        waits_at_once=20,
        reads_per_minute=0,
        writes_per_minute=0,
    )
    with serving(settings) as served, hanging_server() as hanging_port:
        port = served.http.base_url.port
        assert port is not None
        clip = write_clip(tmp_path / "clip.wav")
        plan = Plan(
            (port,),
            hostile,
            honest[:2],
            hanging_port,
            str(clip),
            seconds=3.0,
            slow_uploads=12,
            slow_headers=20,
            streams=25,
            large_bodies=2,
            large_mib=20,
            hanging_urls=8,
            polls=5.0,
            submits=1.0,
        )
        measured = load(plan)

    assert wrong_answers(measured) == []
    assert len(measured["polls"]) > 5
    assert len(measured["submits"]) > 1
    of_hostile = measured["statuses"]["hostile"]
    assert of_hostile["503"] > 0  # beyond the share of its tenant
    assert of_hostile["413"] > 0, measured["statuses"]
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []
