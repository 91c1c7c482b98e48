"""The microphone: it stops at the limit, and what was said is sent. Long files are cut."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.audio_clips import write_clip
from tests.page.conftest import LIMIT, Service
from tests.page.studio import Studio

pytestmark = pytest.mark.slow


def clip_seconds(service: Service, job: str) -> float:
    return float(service.http.get(f"/jobs/{job}").json()["clip_seconds"])


def test_a_recording_stops_at_the_limit_and_is_accepted(studio: Studio, service: Service) -> None:
    studio.open()
    studio.page.click("#record-shown")
    expect(studio.page.locator("#clock")).to_have_text("0:02")
    assert float(studio.page.locator("#level").evaluate("level => level.max")) == 1
    expect(studio.page.locator("#clock-left")).to_contain_text("left")
    expect(studio.page.locator("#record-shown")).to_have_text("Record again")

    expect(studio.page.locator("#part")).to_contain_text(f"{LIMIT:.1f} s of up to {LIMIT:.0f} s")
    job = studio.make()
    assert clip_seconds(service, job) == pytest.approx(LIMIT, abs=0.001)


def test_the_button_ends_a_recording_and_sends_it_instead_of_the_file_before(
    studio: Studio, service: Service, tmp_path: Path
) -> None:
    studio.open()
    studio.choose(write_clip(tmp_path / "before.wav", seconds=7))
    studio.page.click("#record-shown")
    expect(studio.page.locator("#clock")).to_have_text("0:04")
    job = studio.make()

    assert clip_seconds(service, job) == pytest.approx(4.5, abs=0.9)
    expect(studio.page.locator("#live")).to_be_hidden()
    assert studio.focused() == "go"


def test_a_long_file_is_cut_with_handles_and_accepted(
    studio: Studio, service: Service, tmp_path: Path
) -> None:
    studio.open()
    studio.choose(write_clip(tmp_path / "long.mp3", seconds=LIMIT + 5))
    expect(studio.page.locator("#trim-note")).to_contain_text(f"0:{LIMIT + 5:.0f} long")
    studio.page.locator("#to").focus()
    studio.page.keyboard.press("End")
    expect(studio.page.locator("#part")).to_contain_text(f"0:05.0 – 0:{LIMIT + 5:.1f}")
    studio.page.locator("#from").focus()
    for _ in range(5):
        studio.page.keyboard.press("ArrowRight")
    assert studio.page.get_attribute("#from", "aria-valuetext") == "5.5 seconds"
    job = studio.make()

    assert clip_seconds(service, job) == pytest.approx(LIMIT - 0.5, abs=0.05)
