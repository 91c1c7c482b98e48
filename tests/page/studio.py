"""The page as a person uses it, and what its browser noticed meanwhile."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page, Request, ViewportSize

SECONDS = 1000  # milliseconds
PATIENCE = 90 * SECONDS
DESKTOP: ViewportSize = {"width": 1440, "height": 900}
API = ("fetch", "xhr", "eventsource")  # types of requests that scripts send
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""
LISTEN = """
window.announced = [];
new MutationObserver(() => window.announced.push(document.getElementById("said").textContent))
  .observe(document.getElementById("said"), {childList: true, characterData: true, subtree: true});
"""

expect.set_options(timeout=PATIENCE)


@dataclass
class Studio:
    """An open page."""

    page: Page
    address: str
    requests: list[Request] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def open(self, path: str = "") -> None:
        """Load the page and wait until it has drawn what it knows."""
        self.page.goto(f"{self.address.rstrip('/')}/{path}")
        self.page.locator("#main:not(.loading), #door:not([hidden])").first.wait_for()

    def choose(self, *clips: Path, lane: str = "audio") -> None:
        """Choose files for a lane and wait until they are read."""
        self.page.set_input_files(f"#{lane}", list(clips))
        name = "#name-shown" if lane == "audio" else "#name-partner"
        expect(self.page.locator(name)).to_contain_text(clips[0].name)

    def fill(self, **values: object) -> None:
        """Enter values of fields, also of folded ones."""
        self.page.eval_on_selector_all(
            "#form details", "all => all.forEach(each => each.open = true)"
        )
        for name, value in values.items():
            if self.page.locator(f"select#{name}").count():
                self.page.select_option(f"#{name}", str(value))
            else:
                self.page.fill(f"#{name}", str(value))

    def show_person(self, name: str) -> None:
        self.page.check(f'#people [value="{name}"]', force=True)

    def make(self) -> str:
        """Press the button and return the id of the new job."""
        before = self.page.url
        self.page.click("#go")
        self.page.wait_for_url(lambda url: url != before and "#" in url)
        return self.job_id

    @property
    def job_id(self) -> str:
        return self.page.url.rpartition("#")[2]

    def until_done(self) -> None:
        expect(self.page.locator("#grid")).to_be_visible()
        expect(self.page.locator("#wait")).to_be_hidden()

    def calls(self, *, since: int = 0) -> list[str]:
        """Requests of scripts to the API, without media, modules and the page's own files."""
        return [
            f"{request.method} {request.url.removeprefix(self.address.rstrip('/'))}"
            for request in self.requests[since:]
            if request.resource_type in API and "/page/" not in request.url
        ]

    def focused(self) -> str:
        found: str = self.page.evaluate(
            "document.activeElement.id || document.activeElement.tagName"
        )
        return found

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()

    def listen(self) -> None:
        """Begin to collect the sentences that a screen reader gets."""
        self.page.evaluate(LISTEN)

    def announced(self) -> list[str]:
        found: list[str] = self.page.evaluate("window.announced")
        return found

    def rows(self) -> list[str]:
        """Names in the list of videos."""
        return self.page.locator("#jobs .name").all_inner_texts()


@contextmanager
def opened(browser: Browser, address: str, **options: Any) -> Iterator[Studio]:
    """A page in a new profile; at the end it must have had no error and broken no policy."""
    usual = {"viewport": DESKTOP, "permissions": ["microphone"], "reduced_motion": "reduce"}
    options = usual | options  # without motion, because browsers here draw on the CPU
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE)
    try:
        page = context.new_page()
        page.add_init_script(WATCH)
        studio = Studio(page, address)
        page.on("request", lambda request: studio.requests.append(request))
        page.on("pageerror", lambda error: studio.errors.append(str(error)))
        yield studio
        assert studio.errors == []
        if page.url.startswith("http"):
            assert page.evaluate("window.violations") == []
    finally:
        context.close()
