"""A video that is watched while its worker makes it: played from its first second, then whole."""

import io
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from playwright.sync_api import expect

from tests.audio_clips import write_clip
from tests.e2e.conftest import Stack
from tests.page.conftest import Service
from tests.page.studio import PATIENCE, Studio

SECONDS = 6.0
VIDEO = "#grid video"


@contextmanager
def encoder_stopped(stack: Stack, job: str) -> Iterator[None]:
    """Suspend the encoder once the first fragment of the video is whole: the second has begun."""
    seen = stack.until(job, lambda view: view["live"] or view["state"] == "succeeded", seconds=90)
    received = b""
    with stack.http.stream("GET", seen["live"][0]["path"]) as answer:
        for chunk in answer.iter_bytes():
            received += chunk
            if received.count(b"moof") > 1:
                break
    family = psutil.Process(stack.process.pid).children(recursive=True)
    (encoder,) = (each for each in family if "ffmpeg" in each.name())
    encoder.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        encoder.send_signal(signal.SIGCONT)


def test_a_video_is_played_while_it_is_made(
    studio: Studio, service: Service, tmp_path: Path
) -> None:
    studio.open()
    studio.choose(write_clip(tmp_path / "talk.wav", seconds=SECONDS))
    studio.fill(format="fmp4", size="512")
    job = studio.make()
    with encoder_stopped(service.stack, job):
        expect(studio.page.locator(f"{VIDEO}[data-state=open]")).to_be_visible()
        expect(studio.page.locator("#grid .badge")).to_have_text("Being made")
        studio.page.eval_on_selector(VIDEO, "video => { video.muted = true; video.play(); }")
        studio.page.wait_for_function(
            f"() => document.querySelector('{VIDEO}').currentTime > 0.3", timeout=PATIENCE
        )
        made = studio.page.eval_on_selector(VIDEO, "video => video.buffered.end(0)")
        picture = Image.open(io.BytesIO(studio.page.locator(VIDEO).screenshot())).convert("RGB")
        assert service.stack.job(job)["state"] == "running"
    assert made < SECONDS - 0.5
    assert np.asarray(picture).std(axis=(0, 1)).max() > 10  # the person before the background
    studio.until_done()

    expect(studio.page.locator(f"{VIDEO}[data-state=whole]")).to_be_visible()
    ends = studio.page.eval_on_selector(VIDEO, "video => [video.buffered.end(0), video.duration]")
    assert np.allclose(ends, SECONDS, atol=0.1)
