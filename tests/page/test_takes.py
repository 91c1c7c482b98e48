"""Takes side by side: one sound, together in time, every file within reach, another look."""

import io
import zipfile
from pathlib import Path

from playwright.sync_api import expect

from tests.page.conftest import Service
from tests.page.studio import DESKTOP, Studio

TAKES = 6
SCREENS = 1.5
APART = 0.1  # seconds
TIMES = "[...document.querySelectorAll('#grid video')].map((video) => video.currentTime)"


def test_takes_fit_beside_each_other_and_play_together_with_one_sound(
    studio: Studio, six: str
) -> None:
    studio.open(f"#{six}")
    videos = studio.page.locator("#grid video")
    expect(videos).to_have_count(TAKES)
    bottom = studio.page.eval_on_selector("#grid", "node => node.getBoundingClientRect().bottom")
    assert bottom + studio.page.evaluate("scrollY") < SCREENS * DESKTOP["height"]

    studio.page.eval_on_selector("#grid video >> nth=2", "video => video.play()")
    studio.page.eval_on_selector("#grid video >> nth=4", "video => video.play()")
    playing = "[...document.querySelectorAll('#grid video')].map((video) => !video.paused)"
    studio.page.wait_for_function(f"() => {playing}[4] && {playing}.filter(Boolean).length === 1")

    studio.page.click("#together")
    expect(studio.page.locator("#together")).to_have_text("Pause all")
    studio.page.wait_for_function(
        f"() => {{ const times = {TIMES}; "
        f"return Math.min(...times) > 0.5 && Math.max(...times) - Math.min(...times) < {APART}; }}"
    )
    sounding = "[...document.querySelectorAll('#grid video')].filter((each) => !each.muted).length"
    assert studio.page.evaluate(sounding) == 1
    studio.page.click('#grid [aria-label="Sound of take 2"]')
    assert studio.page.evaluate(sounding) == 1
    assert not studio.page.eval_on_selector("#grid video >> nth=1", "video => video.muted")


def test_every_file_of_a_take_is_in_its_menu_and_all_come_as_one_archive(
    studio: Studio, six: str
) -> None:
    studio.open(f"#{six}")
    studio.page.click('#grid [aria-label="Files of take 3"]')
    entries = studio.page.locator('#grid [data-take="3"] .menu a').all_inner_texts()
    assert [entry.partition(" ")[0] for entry in entries] == [
        "take-3.mp4", "motion-3.npz", "motion-3.npz.c2pa",
    ]  # fmt: skip
    studio.page.keyboard.press("Escape")

    with studio.page.expect_download() as download:
        studio.page.click("#download-all")
    with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 3 * TAKES  # the manifests of motion are beside it


def test_a_wrong_look_is_said_at_its_field_and_chosen_takes_are_rendered_with_another(
    studio: Studio, service: Service, six: str
) -> None:
    studio.open(f"#{six}")
    studio.page.check('#grid [aria-label="Choose take 2"]')
    studio.page.click("#again > summary")
    expect(studio.page.locator("#again-takes")).to_contain_text("Take 2:")
    studio.page.fill("#again-form-supersampling", "9")
    studio.page.click("#again-form button[type=submit]")
    expect(studio.page.locator("#again-form-supersampling-problem")).to_contain_text("1 to 4")
    assert studio.focused() == "again-form-supersampling"

    studio.page.fill("#again-form-supersampling", "")
    studio.page.fill("#again-form-background", "#00ff00")
    studio.page.select_option("#again-form-size", "256")
    studio.page.click("#again-form button[type=submit]")
    studio.page.wait_for_url(lambda url: six not in url)
    studio.until_done()

    view = service.http.get(f"/jobs/{studio.job_id}").json()
    assert (view["request"]["size"], view["request"]["background"]) == ("256x256", "#00ff00")
    assert view["request"]["shown"] == [2]
    assert studio.page.locator("#grid video").count() == 1


def test_previews_come_first_and_chosen_ones_are_rendered_in_full(
    studio: Studio, service: Service, clip: Path
) -> None:
    studio.open()
    studio.choose(clip)
    studio.fill(takes=2)
    studio.page.click("#preview")
    studio.until_done()
    expect(studio.page.locator("#grid .badge")).to_have_count(2)
    studio.page.check('#grid [aria-label="Choose take 2"]')
    previews = studio.page.url
    studio.page.click("#full")
    studio.page.wait_for_url(lambda url: url != previews)
    studio.until_done()

    view = service.http.get(f"/jobs/{studio.job_id}").json()
    assert [output["name"] for output in view["outputs"]] == ["take-2.mp4"]
    assert studio.page.locator("#grid .badge").count() == 0
