"""Problems stay beside their field until it is edited, in words for people."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.page.conftest import IDLE
from tests.page.studio import Studio


def test_a_wrong_number_stays_at_its_field_while_a_job_runs(studio: Studio, clip: Path) -> None:
    studio.open()
    studio.choose(clip)
    studio.fill(takes=9, steps=400)
    studio.make()
    expect(studio.page.locator("#wait")).to_be_visible()

    studio.fill(takes=11)
    studio.page.click("#go")
    problem = "#takes-problem"
    expect(studio.page.locator(problem)).to_contain_text("from 1 to 10")
    assert studio.focused() == "takes"
    percent = studio.text("#percent")
    expect(studio.page.locator("#percent")).not_to_have_text(percent)  # an event came

    assert studio.page.locator(problem).is_visible()
    studio.fill(takes=2)
    expect(studio.page.locator(problem)).to_be_hidden()
    studio.page.click("#job-actions >> text=Cancel")
    expect(studio.page.locator("#outcome-title")).to_have_text("Canceled")


def test_a_problem_that_the_service_finds_stands_at_its_field(studio: Studio, clip: Path) -> None:
    studio.open()
    studio.choose(clip)
    studio.fill(supersampling=4, size=1024)
    studio.page.select_option("#format", "mp4")
    studio.page.fill("#background", "transparent")
    studio.page.click("#go")

    expect(studio.page.locator("#background-problem")).to_contain_text("transparent")
    assert studio.page.get_attribute("#background", "aria-invalid") == "true"
    assert studio.focused() == "background"
    studio.page.fill("#background", "#222")
    expect(studio.page.locator("#background-problem")).to_be_hidden()
    assert studio.page.get_attribute("#background", "aria-invalid") is None


def test_nothing_to_send_and_files_that_are_no_recordings_are_problems_of_the_lane(
    studio: Studio, tmp_path: Path
) -> None:
    studio.open()
    studio.page.click("#go")

    expect(studio.page.locator("#audio-problem")).to_contain_text("Choose a file or record")
    assert studio.focused() == "audio"

    notes = tmp_path / "notes.txt"
    notes.write_text("not a recording")
    studio.page.set_input_files("#audio", notes)

    expect(studio.page.locator("#audio-problem")).to_contain_text("notes.txt is not a recording")
    assert studio.page.locator("audio").count() == 0


def test_a_file_that_the_service_cannot_read_is_a_problem_of_its_lane(
    studio: Studio, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.amr"
    broken.write_bytes(b"#!AMR\n" + bytes(64))
    studio.open()
    studio.choose(broken)
    expect(studio.page.locator("#track-shown")).to_contain_text("sent as it is")
    studio.page.click("#go")

    expect(studio.page.locator("#audio-problem")).not_to_be_empty()
    assert studio.focused() == "audio"


@pytest.mark.parametrize("what", ["**/events", "**/generate"])
def test_a_lost_connection_is_said_in_plain_words(studio: Studio, clip: Path, what: str) -> None:
    studio.open()
    studio.choose(clip)
    studio.show_person(IDLE)
    studio.page.route(what, lambda route: route.abort())
    studio.page.click("#go")

    if what == "**/events":
        expect(studio.page.locator("#connection")).to_have_text("Connection lost, trying again …")
    else:
        expect(studio.page.locator("#problem")).to_contain_text("Connection lost")
    assert "fetch" not in studio.text("#main")
    studio.page.unroute(what)
    if what == "**/generate":
        studio.page.click("#go")
    expect(studio.page.locator("#left")).to_contain_text("queue")
    expect(studio.page.locator("#connection")).to_be_hidden()
    studio.page.click("#job-actions >> text=Cancel")
    expect(studio.page.locator("#outcome-title")).to_have_text("Canceled")
