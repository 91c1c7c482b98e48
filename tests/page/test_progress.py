"""A running job: one bar, one announcement for a stage, and the focus stays where it was."""

from collections import Counter
from pathlib import Path

from playwright.sync_api import expect

from tests.page.conftest import Service
from tests.page.studio import Studio


def test_a_job_is_followed_quietly(studio: Studio, service: Service, clip: Path) -> None:
    labels = service.http.get("/openapi.json").json()["x-visavis"]["stages"]
    studio.open()
    studio.choose(clip)
    studio.fill(steps=60, takes=2)
    studio.listen()
    studio.page.focus("#go")
    studio.page.keyboard.press("Enter")
    studio.page.wait_for_function("() => /^[1-9][0-9]? % /.test(document.title)")
    assert studio.page.locator("#wait progress").count() == 1
    assert not studio.page.locator("#stages").is_visible()  # folded away
    assert studio.focused() == "go"
    studio.until_done()

    said = Counter(studio.announced())
    assert set(said) <= {
        "Sending",
        "",
        *labels.values(),
        "talk.wav: done",
        "Recording of 1.0 s: done",
    }
    assert max(said.values()) == 1
    assert any(sentence.endswith("done") for sentence in said)
    assert studio.focused() == "go"
    assert studio.page.title().startswith("Done")


def test_a_second_press_makes_no_second_job(studio: Studio, clip: Path) -> None:
    studio.open()
    studio.choose(clip)
    before = len(studio.requests)
    studio.page.dblclick("#go")
    studio.until_done()

    assert studio.calls(since=before).count("POST /generate") == 1
    expect(studio.page.locator("#go")).to_be_enabled()
