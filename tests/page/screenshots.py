"""Pictures of the page's states for the documentation: `make screenshots`.

The demo person makes the videos, so it takes some minutes. Each state is shown on a phone, a tablet
and a desktop, light and dark.
"""

import io
import os
import sys
import tempfile
import time
import wave
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from tests.e2e.conftest import Stack, service_environment, started
from tests.page.conftest import chromium
from tests.page.studio import Studio, opened

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "conversation.wav"
SIZES = {390: 844, 820: 1180, 1440: 900}
SCHEMES = ("light", "dark")
QUALITY = 72
RUN_SECONDS = 3600.0
REPEATS = 10  # of the sample: a job that runs for longer than its pictures take
MIDDLE = "videos => videos.forEach(video => { video.currentTime = 3.6; })"


def finished(stack: Stack, clip: Path, **fields: object) -> str:
    """Submit a clip and wait for the end of the job."""
    job = submitted(stack, clip, **fields)
    _wait(stack, job, lambda view: view["state"] not in ("queued", "running"))
    return job


def submitted(stack: Stack, clip: Path, name: str | None = None, **fields: object) -> str:
    """Submit a clip, under the name of its file or another one."""
    files = {"audio": (name or clip.name, clip.read_bytes())}
    answer = stack.http.post("/generate", data=fields, files=files)
    return str(answer.json()["id"])


def long_clip(folder: Path) -> Path:
    """Write the sample several times in a row."""
    path = folder / "call-with-grace.wav"
    with wave.open(str(SAMPLE)) as sample, wave.open(str(path), "wb") as clip:
        clip.setparams(sample.getparams())
        clip.writeframes(REPEATS * sample.readframes(sample.getnframes()))
    return path


def _wait(stack: Stack, job: str, ready: Callable[[dict], bool]) -> None:
    deadline = time.monotonic() + RUN_SECONDS
    while not ready(stack.job(job)):
        assert time.monotonic() < deadline, stack.job(job)
        time.sleep(1)


def home(studio: Studio) -> None:
    studio.open()
    studio.page.wait_for_timeout(700)  # the loop has started


def recording(studio: Studio) -> None:
    studio.open()
    studio.page.click("#record-shown")
    expect(studio.page.locator("#clock")).to_have_text("0:07")


def two_voices(studio: Studio) -> None:
    studio.open()
    studio.choose(SAMPLE)
    studio.page.wait_for_timeout(300)


def error(studio: Studio) -> None:
    two_voices(studio)
    studio.fill(takes=11)
    studio.page.eval_on_selector_all(
        "#form details", "all => all.forEach(each => each.open = false)"
    )
    studio.page.click("#go")


def my_jobs(studio: Studio) -> None:
    studio.open()
    studio.page.eval_on_selector("#jobs-title", "node => node.scrollIntoView({block: 'start'})")
    studio.page.wait_for_timeout(2500)  # pictures of the videos


def of_job(job: str) -> Callable[[Studio], None]:
    def show(studio: Studio) -> None:
        studio.open(f"#{job}")
        expect(studio.page.locator("#job-facts")).not_to_be_empty()
        studio.page.eval_on_selector_all("#grid video", MIDDLE)
        studio.page.wait_for_timeout(2500)

    return show


def shoot(
    browser: Browser, address: str, name: str, state: Callable[[Studio], None], out: Path
) -> None:
    """Save six pictures of a state."""
    for scheme in SCHEMES:
        for width, height in SIZES.items():
            size = {"width": width, "height": height}
            with opened(
                browser, address, viewport=size, color_scheme=scheme, reduced_motion="no-preference"
            ) as studio:
                state(studio)
                picture = Image.open(io.BytesIO(studio.page.screenshot()))
                picture.convert("RGB").save(
                    out / f"{name}-{width}-{scheme}.webp", quality=QUALITY, method=6
                )


def main(out: Path) -> None:
    """Make all pictures, with a service of the demo person in a temporary folder."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(service_environment(ROOT / "people", Path(folder, "data")))
        environment["VISAVIS_LEASE_SECONDS"] = "60"
        del environment["VISAVIS_MAX_UPLOAD_BYTES"]  # that of tests is small
        environment["OMP_NUM_THREADS"] = str(os.cpu_count())
        with started(environment, Path(folder)) as stack, sync_playwright() as playwright:
            options = [
                "--no-sandbox",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={SAMPLE}",
            ]
            browser = playwright.chromium.launch(executable_path=chromium(), args=options)
            _states(browser, stack, long_clip(Path(folder)), out)
            browser.close()


def _states(browser: Browser, stack: Stack, long: Path, out: Path) -> None:
    address = str(stack.http.base_url)
    for state in (home, recording, two_voices, error):
        shoot(browser, address, state.__name__.replace("_", "-"), state, out)
    six = finished(stack, SAMPLE, takes=6, size=256, seed=3, quality="draft")
    shoot(browser, address, "done", of_job(six), out)
    again = stack.http.post(
        f"/jobs/{six}/render", json={"takes": [2], "background": "#24405a", "size": "384"}
    )
    _wait(stack, again.json()["id"], lambda view: view["state"] == "succeeded")
    canceled = submitted(stack, SAMPLE, "interview.wav")
    stack.http.post(f"/jobs/{canceled}/cancel")
    running, following = submitted(stack, long), submitted(stack, SAMPLE, "next.wav")
    _wait(stack, running, lambda view: view["progress"] > 0.3)
    shoot(browser, address, "running", of_job(running), out)
    shoot(browser, address, "my-jobs", my_jobs, out)
    assert stack.job(running)["state"] == "running", "it ended too early: raise REPEATS"
    for job in (following, running):
        stack.http.post(f"/jobs/{job}/cancel")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
