"""First visit: somebody to see, a sample by one click, little to load, a key where it is needed."""

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.page.conftest import Guarded, Service
from tests.page.studio import Studio, opened

MOST_BYTES = 150 * 1024
MOST_CALLS = 5


def test_one_click_makes_a_video_of_the_sample_conversation(studio: Studio) -> None:
    studio.page.emulate_media(reduced_motion="no-preference")
    studio.open()
    picture = studio.page.get_by_role("img", name="Demo person")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 0
    studio.page.wait_for_function("() => !document.querySelector('#portrait video')?.paused")
    studio.page.click("#still")
    assert studio.page.evaluate("document.querySelector('#portrait video').paused")

    studio.page.click("#sample")
    studio.until_done()

    video = studio.page.locator("#grid video")
    assert video.count() == 1
    studio.page.wait_for_function("() => document.querySelector('#grid video').duration > 11")
    assert studio.page.locator("#track-partner canvas").get_attribute("aria-label")


def test_the_page_is_small_comes_from_one_host_and_a_job_costs_few_requests(
    studio: Studio, clip: Path
) -> None:
    studio.open()
    studio.page.wait_for_load_state("networkidle")

    address = studio.address.rstrip("/")
    assert all(request.url.startswith(address) for request in studio.requests)
    sizes = {
        request.url: request.sizes()["responseBodySize"]
        for request in studio.requests
        if "/people/" not in request.url and request.resource_type != "media"
    }
    assert sum(sizes.values()) < MOST_BYTES, sizes

    before = len(studio.requests)
    studio.choose(clip)
    job = studio.make()
    studio.until_done()
    calls = studio.calls(since=before)
    assert calls == ["POST /generate", f"GET /jobs/{job}/events"]
    assert len(calls) <= MOST_CALLS


def test_public_text_is_sent_compressed_and_answers_about_jobs_are_not(service: Service) -> None:
    def encoding(path: str) -> str | None:
        return service.http.get(path).headers.get("content-encoding")

    assert {encoding(path) for path in ("/", "/openapi.json", "/docs", "/page/page.js")} == {"gzip"}
    assert encoding("/people") is None
    assert encoding("/page/conversation.m4a") is None


def test_the_note_for_browsers_without_javascript_comes_first(
    browser: Browser, service: Service
) -> None:
    with opened(browser, service.address, java_script_enabled=False) as studio:
        studio.page.goto(service.address)
        assert "needs JavaScript" in studio.text("noscript")
        assert not studio.page.locator("#main").is_visible()
        studio.page.goto("about:blank")


def test_the_key_is_asked_for_alone_and_a_job_is_followed_with_it(
    browser: Browser, guarded: Guarded, clip: Path
) -> None:
    with opened(browser, guarded.address) as studio:
        studio.open()
        expect(studio.page.locator("#door")).to_be_visible()
        assert studio.focused() == "key"
        assert not studio.page.locator("#main").is_visible()
        assert not studio.page.locator("#key-problem").is_visible()

        studio.page.fill("#key", "vv_wrong")
        studio.page.keyboard.press("Enter")
        expect(studio.page.locator("#key-problem")).to_contain_text("unknown")
        studio.page.fill("#key", guarded.token)
        studio.page.keyboard.press("Enter")
        expect(studio.page.locator("#main")).to_be_visible()

        before = len(studio.requests)
        studio.choose(clip)
        job = studio.make()
        studio.until_done()
        assert studio.calls(since=before) == ["POST /generate", f"GET /jobs/{job}/events"]
        studio.page.wait_for_function("() => document.querySelector('#grid video').duration > 0.9")


def test_the_reference_obeys_its_policy_and_has_the_typeface_of_the_page(studio: Studio) -> None:
    studio.page.goto(f"{studio.address.rstrip('/')}/docs")

    assert studio.page.evaluate("() => document.fonts.ready.then(() => document.fonts.size)") > 0
    assert studio.page.evaluate("() => document.fonts.check('16px Figtree')")
