"""Two voices: one file of two channels, two files, swap."""

import io
from pathlib import Path

import numpy as np
from playwright.sync_api import expect
from scipy.io import wavfile

from tests.page.conftest import Service
from tests.page.studio import Studio

RATE = 48_000
SEED = 7


def noise(seconds: float, seed: int) -> np.ndarray:
    return (3000 * np.random.default_rng(seed).standard_normal(int(seconds * RATE))).astype(
        np.int16
    )


def write(folder: Path, **channels: np.ndarray) -> list[Path]:
    paths = []
    for name, samples in channels.items():
        paths.append(folder / f"{name}.wav")
        wavfile.write(paths[-1], RATE, samples)
    return paths


def motion_of(studio: Studio, service: Service) -> dict[str, bytes]:
    """The motion of what the page sends now, at one seed."""
    studio.fill(seed=SEED)
    for kind in ("video", "motion"):
        chosen = studio.page.locator(f'#outputs [value="{kind}"]')
        chosen.set_checked(kind == "motion", force=True)
    job = studio.make()
    expect(studio.page.locator("#wait")).to_be_hidden()
    view = service.http.get(f"/jobs/{job}").json()
    assert view["state"] == "succeeded", view
    (output,) = [each for each in view["outputs"] if each["name"].endswith(".npz")]
    with np.load(io.BytesIO(service.http.get(output["path"]).content)) as arrays:
        return {name: array.tobytes() for name, array in arrays.items() if array.ndim > 1}


def test_two_files_are_one_conversation_and_swap_shows_the_other(
    studio: Studio, service: Service, tmp_path: Path
) -> None:
    me, partner = noise(1.5, 1), noise(1.5, 2)
    files = write(tmp_path, me=me, partner=partner, both=np.stack([me, partner], 1))
    studio.open()
    studio.choose(files[2])
    expect(studio.page.locator("#name-shown")).to_have_text("both.wav, left channel")
    expect(studio.page.locator("#name-partner")).to_have_text("both.wav, right channel")
    stereo = motion_of(studio, service)
    studio.page.click("#swap")
    expect(studio.page.locator("#name-shown")).to_have_text("both.wav, right channel")
    swapped = motion_of(studio, service)

    studio.open()
    studio.choose(files[0], files[1])
    expect(studio.page.locator("#name-partner")).to_have_text("partner.wav")
    assert motion_of(studio, service) == stereo
    studio.page.click("#swap")
    assert motion_of(studio, service) == swapped != stereo


def test_files_of_different_lengths_get_a_sentence_on_the_page_and_a_warning(
    studio: Studio, tmp_path: Path
) -> None:
    files = write(tmp_path, me=noise(3, 1), partner=noise(1, 2))
    studio.open()
    studio.choose(files[0])
    studio.choose(files[1], lane="partner")
    expect(studio.page.locator("#trim-note")).to_contain_text("2.0 s shorter; it ends in silence")
    studio.make()

    expect(studio.page.locator("#warnings")).to_contain_text("2.00 s shorter than the other")


def test_a_partner_from_another_file_takes_the_place_of_the_right_channel(
    studio: Studio, service: Service, tmp_path: Path
) -> None:
    me = noise(1, 1)
    files = write(tmp_path, stereo=np.stack([me, me], 1), partner=noise(1, 2))
    studio.open()
    studio.choose(files[0])
    studio.choose(files[1], lane="partner")
    expect(studio.page.locator("#name-shown")).to_have_text("stereo.wav, left channel")
    job = studio.make()

    assert service.http.get(f"/jobs/{job}").json()["clip_seconds"] == 1.0


def test_a_file_dropped_anywhere_is_taken(studio: Studio, tmp_path: Path) -> None:
    (short,) = write(tmp_path, short=noise(0.1, 1))
    studio.open()
    studio.page.evaluate(
        """async (bytes) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], "dropped.wav", {type: "audio/wav"}));
          document.querySelector("header").dispatchEvent(
            new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer: transfer}));
        }""",
        list(short.read_bytes()),
    )

    expect(studio.page.locator("#name-shown")).to_contain_text("dropped.wav")


def test_both_people_have_a_video_each_and_the_partner_is_chosen(
    studio: Studio, service: Service, clip: Path
) -> None:
    studio.open()
    studio.choose(clip)
    partner, layout = studio.page.locator("#partner_person"), studio.page.locator("#layout")
    expect(partner).to_be_hidden()
    studio.page.check("#both")
    expect(partner.locator("option")).to_have_text(["The same person", "Demo person", "Zoe person"])
    partner.select_option("demo")
    layout.select_option("files")

    job = studio.make()
    studio.until_done()

    request = service.http.get(f"/jobs/{job}").json()["request"]
    assert (request["partner_person"], request["layout"]) == ("demo", "files")
    names = studio.page.locator("#grid figcaption .pick")
    expect(names).to_have_text(["Take 1", "Take 1, partner"])
    expect(studio.page.locator("#grid video")).to_have_count(2)
    expect(studio.page.locator("#job-facts")).to_contain_text("Demo person and Demo person")
    studio.page.click("#again > summary")
    expect(studio.page.locator("#again-form [data-needs]")).to_be_visible()
    studio.page.click(".job-head .button")
    studio.page.uncheck("#both")
    expect(layout).to_be_hidden()
