"""No violation that axe-core finds, in every state of the page, light and dark."""

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.page.conftest import IDLE, Guarded, Service
from tests.page.studio import Studio, opened

AXE = Path(__file__).parents[2] / "tools/node_modules/axe-core/axe.min.js"
PHONE = {"width": 390, "height": 844}


def violations(studio: Studio, *rules: str) -> list[str]:
    """Return what axe finds by all of its rules, or by some."""
    assert AXE.exists(), f"{AXE} not found; run `make tools/node_modules/.done`"
    studio.page.evaluate(AXE.read_text())  # not a script tag, which the policy forbids
    options = {"runOnly": list(rules)} if rules else {}
    found = studio.page.evaluate("async (given) => (await axe.run(given)).violations", options)
    return [f"{each['id']}: {node['html']}" for each in found for node in each["nodes"]]


def home(studio: Studio, _six: str, _clip: Path) -> None:
    studio.open()


def options(studio: Studio, _six: str, clip: Path) -> None:
    studio.open()
    studio.choose(clip)
    studio.fill(takes=2)


def recording(studio: Studio, _six: str, _clip: Path) -> None:
    studio.open()
    studio.page.click("#record-shown")
    expect(studio.page.locator("#clock")).to_have_text("0:01")


def waiting(studio: Studio, _six: str, clip: Path) -> None:
    studio.open()
    studio.choose(clip)
    studio.show_person(IDLE)
    studio.make()
    expect(studio.page.locator("#left")).to_contain_text("queue")
    studio.page.click("#stages-fold > summary")


def canceled(studio: Studio, _six: str, _clip: Path) -> None:
    """After `waiting`."""
    studio.page.click("#job-actions >> text=Cancel")
    expect(studio.page.locator("#outcome-title")).to_be_visible()


def done(studio: Studio, six: str, _clip: Path) -> None:
    studio.open(f"#{six}")
    expect(studio.page.locator("#grid video")).to_have_count(6)
    studio.page.click("#again > summary")
    studio.page.click('#grid [aria-label="Files of take 1"]')


def problem(studio: Studio, _six: str, _clip: Path) -> None:
    studio.open()
    studio.fill(takes=11)
    studio.page.click("#go")
    expect(studio.page.locator("#takes-problem")).to_be_visible()


def origin(studio: Studio, _six: str, clip: Path) -> None:
    studio.page.goto(f"{studio.address.rstrip('/')}/page/detect.html")
    studio.page.set_input_files("#files", clip)
    studio.page.click("#examine")
    expect(studio.page.locator("#result")).to_be_visible()


STATES = (home, options, recording, waiting, canceled, done, problem, origin)  # in this order


def test_no_state_has_a_violation_in_light_and_dark(
    browser: Browser,
    service: Service,
    six: str,
    clip: Path,
) -> None:
    """One test with one page, because opening pages takes most of the time."""
    found = {}
    with opened(browser, service.address, viewport=PHONE) as studio:
        for state in STATES:
            studio.page.emulate_media(color_scheme="light")
            state(studio, six, clip)
            found[state.__name__, "light"] = violations(studio)
            width = studio.page.evaluate("document.documentElement.scrollWidth")
            assert width <= PHONE["width"], state.__name__
            studio.page.emulate_media(color_scheme="dark")
            found[state.__name__, "dark"] = violations(studio, "color-contrast")

    assert {state: each for state, each in found.items() if each} == {}


def test_the_door_has_no_violation(browser: Browser, guarded: Guarded) -> None:
    with opened(browser, guarded.address) as studio:
        studio.open()
        assert violations(studio) == []
