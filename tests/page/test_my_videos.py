"""My videos: every job stays within reach, with what can be done with it."""

from pathlib import Path

from playwright.sync_api import Locator, expect

from tests.page.conftest import IDLE, Service
from tests.page.studio import Studio


def row(studio: Studio, job: str) -> Locator:
    return studio.page.locator(f'#jobs > [data-id="{job}"]')


def press(studio: Studio, job: str, entry: str) -> None:
    row(studio, job).locator(".menu > summary").click()
    row(studio, job).locator(f'.menu button:has-text("{entry}")').click()


def test_jobs_stay_in_the_list_and_can_be_canceled_retried_reused_and_deleted(
    studio: Studio, service: Service, clip: Path
) -> None:
    studio.open()
    studio.choose(clip)
    studio.show_person(IDLE)
    studio.fill(takes=3, size=256)
    jobs = [studio.make() for _ in range(3)]
    for job in jobs:
        expect(row(studio, job)).to_contain_text("Waiting")

    studio.page.reload()
    for job in jobs:
        expect(row(studio, job)).to_contain_text("Waiting")
    expect(studio.page.locator("#job-facts")).to_contain_text("3 takes")  # the last one is open

    press(studio, jobs[0], "Cancel")
    expect(row(studio, jobs[0])).to_contain_text("Canceled")
    press(studio, jobs[0], "Try again")
    expect(row(studio, jobs[0])).to_contain_text("Waiting")
    assert studio.job_id == jobs[0]

    press(studio, jobs[1], "Again with these settings")
    expect(studio.page.locator("#size")).to_have_value("256")
    assert studio.page.input_value("#takes") == "3"
    assert studio.focused() == "audio"

    for job in jobs:
        press(studio, job, "Delete")
        row(studio, job).locator('.menu button:has-text("Delete for good?")').click()
        expect(row(studio, job)).to_have_count(0)
    assert all(service.http.get(f"/jobs/{job}").status_code == 404 for job in jobs)


def test_an_address_opens_its_job_also_in_an_open_tab(
    studio: Studio, service: Service, clip: Path
) -> None:
    answers = [
        service.http.post("/generate", data={"person": IDLE}, files={"audio": clip.read_bytes()})
        for _ in range(2)
    ]
    first, second = (answer.json()["id"] for answer in answers)
    studio.open(f"#{first}")
    expect(row(studio, first)).to_have_class("open")
    studio.page.evaluate(f"location.hash = '{second}'")
    expect(row(studio, second)).to_have_class("open")
    assert studio.focused() == "job-title"

    studio.page.evaluate("location.hash = '0123456789abcdef0123456789abcdef'")
    expect(studio.page.locator("#outcome-title")).to_have_text("This video does not exist")
    studio.page.click("text=New video")
    expect(studio.page.locator("#idle")).to_be_visible()
    for job in (first, second):
        service.http.delete(f"/jobs/{job}")


def test_downloads_are_named_after_the_recording(studio: Studio, clip: Path) -> None:
    studio.open()
    studio.choose(clip)
    studio.make()
    studio.until_done()
    with studio.page.expect_download() as download:
        studio.page.click("#grid a[download] >> nth=0")

    assert download.value.suggested_filename == "talk-take-1.mp4"
    expect(studio.page.locator("#job-title")).to_have_text("talk.wav")
