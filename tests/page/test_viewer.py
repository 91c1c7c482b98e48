"""A take in 3D: loaded on demand, in time with the video, and closed again."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.page.conftest import Service
from tests.page.studio import Studio

BUTTON = '#grid [aria-label="Take 1 in 3D"]'


@pytest.fixture(scope="module")
def solid(service: Service, clip: Path) -> str:
    """A finished job with video and glTF."""
    job = service.stack.submit(clip, outputs="video,glb", size="64")
    service.stack.until(job, lambda view: view["state"] == "succeeded", seconds=90)
    return job


def test_a_take_is_shown_in_3d_in_time_with_its_video(studio: Studio, solid: str) -> None:
    loaded: list[str] = []
    studio.page.on("request", lambda request: loaded.append(request.url))
    studio.open(f"#{solid}")
    expect(studio.page.locator(BUTTON)).to_be_visible()
    assert not any("three.min.js" in url for url in loaded)

    studio.page.click(BUTTON)
    canvas = studio.page.locator("#grid canvas")
    expect(canvas).to_be_visible()
    assert sum("three.min.js" in url for url in loaded) == 1
    studio.page.eval_on_selector("#grid video", "video => { video.currentTime = 0.5; }")
    studio.page.wait_for_function(
        "() => document.querySelector('#grid canvas').dataset.seconds === '0.50'"
    )
    picture = np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB"))
    assert picture.std(axis=(0, 1)).max() > 10  # the person before the background

    studio.page.click(BUTTON)
    expect(canvas).to_have_count(0)
